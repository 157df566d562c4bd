"""How a run ended: the `Outcome` given back, and the result.json written last."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import torch

from img2gps.config.compose import config_to_dict
from img2gps.core import hardware
from img2gps.core.errors import BadInput
from img2gps.core.files import read_json, write_json
from img2gps.photos.split import leakage
from img2gps.runs import baselines
from img2gps.runs.folder import (
    FINAL_STATES,
    PREDICTIONS,
    RESULT,
    SCHEMA,
    Diverged,
    Pruned,
    RunFolder,
    find_result,
)
from img2gps.runs.plan import RunPlan
from img2gps.runs.predictions import PredictionTable
from img2gps.runs.records import RunResult
from img2gps.runs.resume import Start
from img2gps.runs.swept import swept
from img2gps.runs.tracker import Tracker
from img2gps.training import devices, metrics, model
from img2gps.training.checkpoint import save
from img2gps.training.module import GeoRegression

ONE_PLACE_M = 1e-3  # below, all photos are of one place, and what the mean gets is rounding

log = logging.getLogger(__name__)
T = TypeVar("T")

# Beside the figures of the best epoch, which never rank.
OPTIMISTIC = {"note": "optimistic: the epoch was chosen on the validation photos themselves"}


@dataclass(frozen=True)
class Outcome:
    """What a run came to; `value` is the monitored metric after the final epoch."""

    run_id: str
    folder: Path
    state: str
    reason: str
    value: float | None
    resumed_epoch: int = 0
    skipped: bool = False  # it was done before

    @classmethod
    def read(cls, folder: Path, monitor: str) -> Outcome:
        """The outcome that a folder's result.json tells."""
        result = read_json(folder / RESULT)
        if result is None:
            raise BadInput(f"{folder}: no result.json; the run is not done")
        value = result["metrics"].get(monitor)
        return cls(result["run_id"], folder, result["state"], result["reason"], value, skipped=True)


def already_done(planned: RunPlan, folder: RunFolder) -> Outcome | None:
    """The outcome of a run that is done in its own folder.

    A published one has no weights: studies take it as done, a run by itself is made to have them.
    """
    config = planned.config
    if config.force:
        return None
    result = folder.result
    if result is not None and result["state"] in FINAL_STATES:
        log.info("already %s, not run again (force=true repeats it)", result["state"])
        return _told(Outcome.read(folder.path, config.monitor), result)
    published = Path(config.runs.results) if config.runs.results else None
    if published and (found := find_result(planned.run_id, [published])):
        log.info("published in %s, without weights: run here, to have them", found)
    return None


class Record:
    """Collects what result.json says, and the outcome once it is known."""

    def __init__(
        self,
        planned: RunPlan,
        folder: RunFolder,
        table: PredictionTable,
        module: GeoRegression,
        start: Start,
    ) -> None:
        self.planned, self.folder, self.table, self.module = planned, folder, table, module
        self.start = start
        self.started_at = _now()
        self.mean_predictor_m = table.mean_predictor_rmse_m()
        self.swept = swept(config_to_dict(planned.config), len(planned.split.train))
        self.result: dict[str, Any] = {}
        self.absent: dict[str, str] = {}  # what could not be computed, and why
        self.outcome: Outcome

    def finish(self) -> None:
        """The final epoch is done: predictions, result and then a smaller checkpoint.

        In this order: until the result is written, a kill must leave what resuming needs.
        """
        rows, label, predicted = self.module.position_errors("val").arrays()
        columns = label[:, 0], label[:, 1], predicted[:, 0], predicted[:, 1]
        self.table.write(self.folder.path / PREDICTIONS, rows, *columns[2:])
        if len(rows) < len(self.planned.split.val):  # trainer.limit_val_batches
            self.mean_predictor_m = self.table.mean_predictor_rmse_m(rows)
        self.write("finished", "", metrics.bias_and_spread(*columns))
        if not self.planned.config.runs.keep_optimizer:
            self._try("a smaller checkpoint", lambda: _drop_optimizer(self.folder.checkpoint))

    def write(self, state: str, reason: str, figures: dict[str, float] | None = None) -> None:
        """Write result.json, last and atomically, and say how the run ended."""
        history = self.folder.history.rows()
        self.result = self._result(state, reason, history, figures or {})
        write_json(self.folder.path / RESULT, self.result)
        value = self.result["metrics"].get(self.planned.config.monitor)
        self.outcome = Outcome(
            self.planned.run_id, self.folder.path, state, reason, value, self.start.epoch
        )
        _told(self.outcome, self.result)

    def _result(
        self,
        state: str,
        reason: str,
        history: list[dict[str, float]],
        figures: dict[str, float],
    ) -> dict[str, Any]:
        planned, config = self.planned, self.planned.config
        last = history[-1] if history else {}
        best = min(history, key=lambda row: row["val/rmse_m"]) if history else {}
        rmse = last.get("val/rmse_m")
        skill = None
        if rmse is not None and self.mean_predictor_m > ONE_PLACE_M:
            skill = 1 - rmse**2 / self.mean_predictor_m**2
        split, dataset = planned.split, planned.dataset
        return {
            "schema": SCHEMA,
            "run_id": planned.run_id,
            "study": config.study,
            "state": state,
            "reason": reason,
            "metrics": _figures(last),
            "best": _figures(best) | ({"epoch": int(best["epoch"]), **OPTIMISTIC} if best else {}),
            "mean_predictor/rmse_m": self.mean_predictor_m,
            "skill": skill,
            **{key: figures.get(key) for key in ("bias_east_m", "bias_north_m", "spread_ratio")},
            "converged_epoch": metrics.converged_epoch([row["val/rmse_m"] for row in history]),
            "data": {
                "name": dataset.name,
                "fingerprint": dataset.fingerprint,
                "synthetic": dataset.synthetic,
                "n": len(dataset.manifest),
                "n_train": len(split.train),
                "n_val": len(split.val),
                "n_test": len(split.test),
                "n_left_out": len(split.left_out),
                "image_size": dataset.image_size,
            },
            "split": {
                "kind": str(config.split.kind),
                "seed": config.split.seed,
                "fold": config.split.fold,
                "leakage": leakage(dataset.manifest, split),
            },
            "baselines": {"mean": {"val/rmse_m": self.mean_predictor_m}} | self._baselines(state),
            "swept": self.swept,
            "model": {
                "name": config.model.name,
                "parameters": model.count_parameters(self.module),
                "flops": self._try(
                    "flops", lambda: model.count_flops(self.module.model, config.image_size)
                ),
            },
            "weights": planned.weights.record(),
            "cost": {
                "epochs": len(history),
                "seconds": sum(row["seconds"] for row in history),
                "train_seconds": sum(row["train_seconds"] for row in history),
                "peak_memory_mb": hardware.peak_memory_mb(),
            },
            "code": hardware.code(),
            "versions": hardware.versions(),
            "hardware": hardware.describe(devices.gpu_name()),
            "precision": str(planned.precision),
            "threads": self.start.threads,
            "seed": config.seed,
            "absent": self.absent,
            "identity": planned.identity,
            "started_at": self.started_at,
            "resumed_epoch": self.start.epoch,
            "finished_at": _now(),
        }

    def _baselines(self, state: str) -> dict[str, Any]:
        if not self.planned.config.baselines or state == "failed":
            return {}
        planned = self.planned
        found = self._try("baselines", lambda: baselines.baselines(planned.dataset, planned.split))
        return found or {}

    def _try(self, what: str, compute: Callable[[], T]) -> T | None:
        """What is computed, or None: a run is not lost for what only goes with its result."""
        try:
            return compute()
        except Exception as error:  # of a model or file that is not ours
            self.absent[what] = f"{type(error).__name__}: {error}"
            log.warning("%s cannot be had (%s)", what, self.absent[what])
            return None


@contextmanager
def recorded(
    planned: RunPlan,
    folder: RunFolder,
    table: PredictionTable,
    module: GeoRegression,
    start: Start,
    tracker: Tracker,
) -> Iterator[Record]:
    """Write whatever ends the run inside to result.json; an interruption leaves none.

    `tracker` is told at the end, also of an interruption.
    """
    record = Record(planned, folder, table, module, start)
    exit_code = 1
    try:
        yield record
        exit_code = 0
    except Pruned as end:
        record.write("pruned", str(end))
        exit_code = 0
    except Diverged as end:
        record.write("diverged", str(end))
    except BadInput:
        raise
    except Exception as error:
        record.write("failed", f"{type(error).__name__}: {error}")
        raise
    finally:
        result = RunResult.from_dict(record.result) if record.result else None
        tracker.finish(result, exit_code)


def _figures(row: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in row.items() if "/" in key}


def _told(outcome: Outcome, result: dict[str, Any]) -> Outcome:
    """Say in one line what the run came to, beside the mean predictor."""
    mean = result.get("mean_predictor/rmse_m")
    rmse, skill = result.get("metrics", {}).get("val/rmse_m"), result.get("skill")
    if outcome.state == "finished" and rmse is not None and mean is not None:
        log.info(
            "finished: validation RMSE %.2f m after the final epoch; the mean predictor gets "
            "%.2f m (skill %s) -> %s", rmse, mean,
            "unknown" if skill is None else f"{skill:.2f}", outcome.folder,
        )  # fmt: skip
    else:
        log.info("%s: %s -> %s", outcome.state, outcome.reason, outcome.folder)
    return outcome


def _drop_optimizer(path: Path) -> None:
    """Keep the weights of a finished run and leave out what only resuming needs."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    checkpoint["optimizer_states"] = []
    checkpoint["lr_schedulers"] = []
    save(checkpoint, path)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
