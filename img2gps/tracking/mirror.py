"""What a W&B run shows, as plain values out of a run folder. Knows nothing of W&B."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from img2gps.config.schema import LoggerConfig, LoggerKind
from img2gps.core.errors import BadInput
from img2gps.core.files import read_json
from img2gps.runs.folder import CONFIG, PREDICTIONS_BEST, RESULT

FLAT = ("lr", "batch_size", "depth", "model", "seed", "split")  # always at the config's root
DEFAULT_NAME = ("model", "lr", "batch_size", "seed")  # where no study says what differs
JOB_TYPE = "train"
_NOT_SHOWN = ("schema", "run_id", "study", "reason")  # `reason` only where there is one
MEAN_PREDICTOR = "mean_predictor/rmse_m"


@dataclass(frozen=True)
class Description:
    """A run as W&B lists it."""

    run_id: str
    study: str
    config: dict[str, Any]  # resolved
    swept: dict[str, Any]

    @property
    def synthetic(self) -> bool:
        """Whether the photos are the built-in quad's."""
        data = self.config.get("data")
        return isinstance(data, dict) and data.get("kind") == "quad"

    def flat_config(self) -> dict[str, Any]:
        """Flat keys to group and filter by, and the whole configuration below `config`."""
        flat = {key: self.swept.get(key) for key in (*FLAT, *self.swept)}
        return {**flat, "study": self.study, "run_id": self.run_id, "config": self.config}

    def logger(self) -> LoggerConfig:
        """Group `logger` of the configuration, with defaults for what it does not say."""
        saved = self.config.get("logger")
        known = {item.name for item in fields(LoggerConfig)}
        kept = {k: v for k, v in saved.items() if k in known} if isinstance(saved, dict) else {}
        return LoggerConfig(**{**kept, "kind": LoggerKind(kept.get("kind", LoggerKind.wandb))})

    def name(self, study_folder: Path) -> str:
        """What differs between the runs of the study, such as "lr=0.001, batch_size=8, seed=0"."""
        study = read_json(study_folder / "study.json") or {}
        cells = [cell for cell in study.get("cells", []) if isinstance(cell, dict)]
        own = next((cell for cell in cells if cell.get("run_id") == self.run_id), None)
        if own is None:
            values = {key: self.swept.get(key) for key in DEFAULT_NAME}
        else:
            values = {**(own.get("params") or {}), "seed": own.get("seed")}
            every = [{**(cell.get("params") or {}), "seed": cell.get("seed")} for cell in cells]
            differing = {
                key: value
                for key, value in values.items()
                if any(other.get(key) != value for other in every)
            }
            values = differing or values
        return ", ".join(f"{key}={value}" for key, value in values.items())


def read(folder: Path) -> Description:
    """The description of a run whose folder is all that is left of it.

    Raises:
        BadInput: no readable config.yaml.
    """
    try:
        config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise BadInput("no keys in it")
    except (OSError, UnicodeDecodeError, yaml.YAMLError, BadInput) as error:
        raise BadInput(f"{folder}: no readable {CONFIG} ({error}); name a run folder") from error
    result = read_json(folder / RESULT) or {}
    study = str(result.get("study") or folder.parent.name)
    swept = result.get("swept") or _swept(config)
    return Description(str(result.get("run_id") or folder.name), study, config, dict(swept))


def of_study(folder: Path) -> Description | None:
    """The first run of a study that has a readable configuration: it stands for the others."""
    for config in sorted(folder.glob(f"*/{CONFIG}")):
        try:
            return read(config.parent)
        except BadInput:
            continue
    return None


def mean_predictor_m(folder: Path, result: Mapping[str, Any]) -> float | None:
    """RMSE of the mean predictor in metres, also of a run that is not over; None if unknown."""
    if (known := result.get(MEAN_PREDICTOR)) is not None:
        return float(known)
    try:
        with (folder / PREDICTIONS_BEST).open(encoding="utf-8", newline="") as file:
            errors = [float(row["mean_error_m"]) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError):
        return None
    return math.hypot(*errors) / math.sqrt(len(errors)) if errors else None


def rows(
    history: Iterable[Mapping[str, float]], mean_predictor_m: float | None
) -> list[dict[str, Any]]:
    """History rows as W&B gets them: whole epochs, and the mean predictor as a line beside them."""
    line = {} if mean_predictor_m is None else {MEAN_PREDICTOR: mean_predictor_m}
    return [{**row, "epoch": int(row["epoch"]), **line} for row in history]


def summary(result: Mapping[str, Any], history: Iterable[Mapping[str, float]]) -> dict[str, Any]:
    """Flat figures of the finished run: `val/rmse_m`, `best/val_rmse_m`, `cost/seconds`, ...

    What is unknown or not a finite number is left out, because one NaN spoils W&B's sorting.

    >>> summary({"state": "finished", "best": {"epoch": 2}, "skill": None},
    ...         [{"epoch": 1, "val/rmse_m": math.nan}, {"epoch": 2, "val/rmse_m": 58.0}])
    {'best/epoch': 2, 'best/val_rmse_m': 58.0, 'state': 'finished'}
    """
    known = [row for row in history if math.isfinite(row.get("val/rmse_m", math.nan))]
    flat: dict[str, Any] = {}
    if known:
        best = min(known, key=lambda row: row["val/rmse_m"])
        flat = {"best/epoch": int(best["epoch"]), "best/val_rmse_m": best["val/rmse_m"]}
    flat |= {
        key: value
        for key, value in result.items()
        if not isinstance(value, Mapping | list)
        and key not in ("schema", "run_id", "study", "reason")
    }
    flat |= result.get("metrics") or {}
    for part in ("data", "cost", "baselines", "split", "model", "weights", "code", "hardware"):
        flat |= {f"{part}/{key}": value for key, value in _leaves(result.get(part) or {})}
    flat |= {"reason": result.get("reason")} if result.get("reason") else {}
    return {key: value for key, value in flat.items() if _sound(value)}


def _sound(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _leaves(tree: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            for rest, leaf in _leaves(value):
                yield f"{key}/{rest}".replace("/val/", "/val_"), leaf
        else:
            yield key, value


def _swept(config: Mapping[str, Any]) -> dict[str, Any]:
    """`swept` of a run that left no result.json, as far as its config.yaml tells."""

    def of(group: str, key: str) -> Any:
        value = config.get(group)
        return value.get(key) if isinstance(value, Mapping) else None

    return {
        "model": of("model", "name"),
        "depth": of("model", "depth"),
        **{key: config.get(key) for key in ("lr", "batch_size", "seed")},
        "optimizer": of("optimizer", "name"),
        "scheduler": of("scheduler", "name"),
        "augmentation": of("augmentation", "name"),
        "split": of("split", "kind"),
        **{key: config.get(key) for key in ("max_epochs", "image_size")},
    }
