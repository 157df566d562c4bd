"""Studies from disk into tables: every planned run, its state, its curve, its predictions.

Reads `study.json` and run folders (formats: docs/design.md) and nothing else. What cannot be read
is a row with a state and a reason or a line in `Study.notes`, never silence.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from img2gps import geo, runs
from img2gps.errors import BadInput

STUDY = "study.json"
PRETRAINED = ("imagenet", "file")  # weights.resolved; everything else is from scratch
DONE = "finished"
STATES = (DONE, "running", "queued", "pruned", "diverged", "failed", "missing")
TEXT_COLUMNS = ("photo", "content", "taken_at")
DEFAULT_AXES = ("model", "lr", "batch_size")
_TO_ROOT = ("metrics", "swept")  # their keys stand at the root of a row, without a prefix
_LEFT_OUT = ("identity",)  # the configuration once more
KFOLD = "kfold"  # and place_kfold: how their kinds end
_COLUMNS = (
    "run_id",
    "cell",
    "rank_cell",
    "name",
    "seed",
    "state",
    "reason",
    "folder",
    "value",
    "epochs",
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Errors:
    """Errors in metres of several cells on the same photos; NaN where a cell lacks a seed.

    Photos are aligned by content, not by name. `true_error_m` is against the position without GPS
    noise, which only synthetic data know.
    """

    cells: list[str]
    seeds: list[int]
    photos: list[str]
    error_m: Floats  # (cells, seeds, photos)
    spot: NDArray[np.int64]  # (photos,)
    mean_error_m: Floats  # (photos,): the mean predictor
    known_spot: Floats  # (photos,): 1, 0 or NaN
    true_error_m: Floats | None  # (cells, seeds, photos)
    left_out: list[int]  # by cell: photos that some other run lacks

    @property
    def n_spots(self) -> int:
        """Number of places, the unit that is resampled."""
        return len(np.unique(self.spot))


@dataclass(frozen=True)
class Group:
    """Finished runs that may stand in one ranking: the same photos, the same kind of start."""

    label: str
    pretrained: bool
    validation: str  # digest of the validation photos and their labels
    folds: int  # finished of each cell; 0 where the split is no k-fold split
    runs: pd.DataFrame
    warnings: list[str]  # data fingerprints or code versions that differ within the group


@dataclass(frozen=True)
class Study:
    """One study as it stands on disk.

    Attributes:
        facts: study.json without its cells (`axes`, `seeds`, `kind`, `base_config`, ...).
        runs: one row a planned (cell, seed): `run_id, cell, name, seed, state, reason, folder,
            value, epochs, seconds, attempts, linked`, `rank_cell` (the cell that is ranked: the
            folds of a k-fold split are one), the axes by name, and the flattened
            result.json (`val/rmse_m`, `mean_predictor/rmse_m`, `weights/resolved`,
            `baselines/knn/val/rmse_m`, `code/commit`, ...), NaN where unknown. `folder` is "" where
            there is none.
        history: one row an epoch of every run that has begun: `run` (its index in `runs`),
            `run_id, cell, seed` and the columns of history.csv.
        notes: what the reader must know about what was read.
    """

    name: str
    folder: Path
    facts: dict[str, Any]
    runs: pd.DataFrame
    history: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    @property
    def axes(self) -> dict[str, list[Any]]:
        """Axis name to its values, in the study's order."""
        return {str(key): list(values) for key, values in self.facts.get("axes", {}).items()}

    @property
    def enumerated(self) -> bool:
        """Whether the cells are all combinations of the axes' values, and no more."""
        points = math.prod(len(values) for values in self.axes.values())
        return self.kind == "grid" and points == len(self.cells)

    @property
    def cells(self) -> list[str]:
        """Every planned cell, in the study's order."""
        return list(dict.fromkeys(self.runs["cell"]))

    @property
    def finished(self) -> pd.DataFrame:
        """The runs that have a final figure."""
        return self.runs[self.runs["state"] == DONE]

    @property
    def synthetic(self) -> bool:
        """Whether any run is on the built-in quad."""
        return bool((self.column("data/synthetic") == True).any())  # noqa: E712 - may hold NaN

    @property
    def kind(self) -> str:
        """`grid`, the sampler's name, or `runs` for single runs without a study."""
        return str(self.facts.get("kind", "runs"))

    def column(self, name: str) -> pd.Series[Any]:
        """A column of `runs`; all NaN where no run has it."""
        if name in self.runs:
            return self.runs[name]
        return pd.Series(np.nan, index=self.runs.index, name=name)

    def counts(self) -> dict[str, int]:
        """Runs by state, in a fixed order, zeros left out."""
        found = self.runs["state"].value_counts()
        return {state: int(found[state]) for state in STATES if state in found}

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Validation photos of all finished runs after the final epoch.

        Columns `run` (index in `runs`), `run_id, cell, seed` and those of predictions.csv.
        """
        return self._predictions(runs.PREDICTIONS)

    @cached_property
    def predictions_best(self) -> pd.DataFrame:
        """The same after each run's best epoch, which is an optimistic choice."""
        return self._predictions(runs.PREDICTIONS_BEST)

    @cached_property
    def predictions_test(self) -> pd.DataFrame:
        """Test photos, of the runs for which `select` has looked at them."""
        return self._predictions(runs.PREDICTIONS_TEST)

    def _predictions(self, file: str) -> pd.DataFrame:
        return _long_table(self.finished, file, TEXT_COLUMNS)

    @cached_property
    def validation(self) -> pd.Series[str]:
        """What each finished run was validated on, by index of `runs`; "" without predictions.

        A digest of the photos and their labels; runs of a cell on folds of one split share theirs.
        """
        table, done = self.predictions, self.finished
        digests: dict[Any, str] = {}
        if not table.empty:
            photos = pd.util.hash_pandas_object(
                table[["content", "lat_deg", "lon_deg"]], index=False
            )
            sums = photos.groupby(table["run"]).agg(["sum", "size"])
            for run, total, size in sums.itertuples():
                digests[run] = f"{int(total):016x}/{size}"
        found = [digests.get(run, "") for run in done.index]
        if "split/kind" in done:
            of = done["data/fingerprint"].astype(str) + "/" + done["split/seed"].astype(str)
            found = [
                f"{kind} of {of}, folds {folds}" if str(kind).endswith(KFOLD) and own else own
                for kind, own, of, folds in zip(
                    done["split/kind"], found, of, _folds_of(done), strict=True
                )
            ]
        return pd.Series(found, index=done.index, dtype=object)

    def groups(self) -> list[Group]:
        """Finished runs in the groups that may be ranked together, the largest first.

        Pretrained runs never stand in one ranking with runs from scratch, nor do runs validated on
        different photos. Data fingerprints or code versions that differ are a warning. Of a k-fold
        split only cells with all folds finished can be ranked.
        """
        done = self.finished
        done = done.assign(
            _pretrained=done.get("weights/resolved", pd.Series("", done.index)).isin(PRETRAINED),
            _validation=self.validation,
        )
        done = done[done["_validation"] != ""]
        sets = {digest: i for i, digest in enumerate(dict.fromkeys(done["_validation"]), 1)}
        found = []
        for (pretrained, validation), rows in done.groupby(["_pretrained", "_validation"]):
            start = "pretrained" if pretrained else "from scratch"
            folds, kind = 0, _one(rows, "split/kind")
            where = f"{kind} split, {_one(rows, 'data/n_val')} validation photos"
            if kind.endswith(KFOLD):
                folds = int(rows.groupby(["rank_cell", "seed"]).size().max())
                if folds < self.runs.groupby(["rank_cell", "seed"]).size().max():
                    continue
                where = f"{kind} split, {_folds_said(rows, folds)}"
            if len(sets) > 1:
                where += f" (set {sets[str(validation)]})"
            found.append(
                Group(
                    f"{start}, {where}",
                    bool(pretrained),
                    str(validation),
                    folds,
                    rows.drop(columns=["_pretrained", "_validation"]),
                    _mixtures(rows),
                )
            )
        return sorted(found, key=lambda group: (-len(group.runs), group.label))

    def errors(self, rows: pd.DataFrame | None = None, which: str = "final") -> Errors:
        """Errors of some runs (default: the largest group's) on their common photos.

        Args:
            rows: rows of `runs`, validated on the same photos.
            which: "final", "best" (epoch) or "test".

        Raises:
            BadInput: nothing has finished.
        """
        if rows is None:
            groups = self.groups()
            if not groups:
                raise BadInput(f"{self.name}: no finished run yet; run its cells first")
            rows = groups[0].runs
        table = {
            "final": self.predictions,
            "best": self.predictions_best,
            "test": self.predictions_test,
        }[which]
        return align(table, rows)


def align(predictions: pd.DataFrame, rows: pd.DataFrame) -> Errors:
    """Predictions of the runs in `rows` as arrays over the photos that all of them have.

    The cells are those that are ranked: the folds of a cell are put together.
    """
    cells = list(dict.fromkeys(rows["rank_cell"]))
    seeds = sorted({int(seed) for seed in rows["seed"]})
    table = predictions[predictions["run"].isin(rows.index)]
    cell = table["run"].map(rows["rank_cell"].map({name: i for i, name in enumerate(cells)}))
    seed = table["run"].map(rows["seed"].map({value: i for i, value in enumerate(seeds)}))
    content, _ = pd.factorize(table["content"])
    place = pd.DataFrame({"cell": cell, "seed": seed, "content": content}, dtype=np.int64)
    # exact duplicates share their content: the k-th of one run belongs to the k-th of another
    place["copy"] = place.groupby(["cell", "seed", "content"], sort=False).cumcount()
    place["photo"] = place.groupby(["content", "copy"], sort=False).ngroup()
    n_runs = len(place[["cell", "seed"]].drop_duplicates())
    in_all = (place.groupby("photo")["cell"].transform("size") == n_runs).to_numpy()
    lost = np.bincount(place["cell"][~in_all], minlength=len(cells))
    table, place = table[in_all], place[in_all]
    photo, names = pd.factorize(place["photo"])
    first = table[~place["photo"].duplicated().to_numpy()]
    index = (place["cell"].to_numpy(), place["seed"].to_numpy(), photo)
    shape = (len(cells), len(seeds), len(names))
    error = np.full(shape, np.nan)
    error[index] = table["error_m"]
    true = None
    if "true_lat_deg" in table and bool(table["true_lat_deg"].notna().all()) and len(table):
        true = np.full(shape, np.nan)
        true[index] = geo.distance_m(
            table["true_lat_deg"],
            table["true_lon_deg"],
            table["pred_lat_deg"],
            table["pred_lon_deg"],
        )
    return Errors(
        cells,
        seeds,
        [str(name) for name in first["photo"]],
        error,
        first["spot"].to_numpy(dtype=np.int64),
        first["mean_error_m"].to_numpy(dtype=np.float64),
        first["known_spot"].to_numpy(dtype=np.float64),
        true,
        [int(count) for count in lost],
    )


def align_runs(folders: Sequence[Path]) -> Errors | None:
    """Single runs, one a "cell", on the photos that all have; None where one has none."""
    rows = pd.DataFrame(
        {
            "run_id": [folder.name for folder in folders],
            "cell": [str(number) for number in range(len(folders))],
            "rank_cell": [str(number) for number in range(len(folders))],
            "seed": 0,
            "folder": [str(folder) for folder in folders],
        }
    )
    table = _long_table(rows, runs.PREDICTIONS, TEXT_COLUMNS)
    if set(table["run"]) != set(rows.index):
        return None
    return align(table, rows)


def _folds_of(rows: pd.DataFrame) -> list[str]:
    """Of each run, the folds that its cell has finished with its seed."""
    cell = [rows["rank_cell"], rows["seed"]]
    return list(
        rows["split/fold"].astype(str).groupby(cell).transform(lambda f: " ".join(sorted(f)))
    )


def _folds_said(rows: pd.DataFrame, folds: int) -> str:
    """How many folds of how many; only all of them together validate every photo."""
    split = read_config(Path(str(rows["folder"].iloc[0]))).get("split")
    planned = split.get("folds") if isinstance(split, dict) else None
    if folds == planned:
        return f"{folds} folds, every photo validated once"
    return f"{folds} of {planned or '?'} folds"


def find_studies(root: Path) -> list[Path]:
    """Folders below a runs root that hold a study.json or at least one run folder, sorted."""
    with_study = {path.parent for path in root.glob(f"*/{STUDY}")}
    return sorted(with_study | {folder.parent for folder in runs.list_folders(root)})


def load_study(folder: Path, roots: Sequence[Path]) -> Study:
    """A study from its folder; run folders without a study.json make a study of single runs.

    Args:
        folder: `runs/<study>`.
        roots: where runs of other studies are looked for (`runs`, `results`), for linked cells.

    Raises:
        BadInput: the folder holds neither, or study.json is damaged.
    """
    notes: list[str] = []
    path = folder / STUDY
    if path.is_file():
        facts = runs.read_json(path)
        if facts is None or not isinstance(facts.get("cells"), list):
            raise BadInput(f"{path}: not a study.json; run the study again, which rewrites it")
        entries = [_planned(entry, folder, roots) for entry in facts["cells"]]
        listed = {row["run_id"] for row in entries}
        unlisted = [run.parent for run in sorted(folder.glob(f"*/{runs.CONFIG}"))]
        unlisted = [run for run in unlisted if run.name not in listed]
        if unlisted:
            names = ", ".join(run.name for run in unlisted[:5])
            notes.append(
                f"{_runs(len(unlisted))} in {folder} without a planned cell, left out: "
                f"{names}{', ...' if len(unlisted) > 5 else ''}"
            )
        facts = {key: value for key, value in facts.items() if key != "cells"}
    else:
        found = [run.parent for run in sorted(folder.glob(f"*/{runs.CONFIG}"))]
        if not found:
            raise BadInput(
                f"{folder}: neither a {STUDY} nor run folders; name a study below "
                f"{folder.parent}, or run one"
            )
        facts, entries = _single_runs(folder.name, found)
    for row in entries:
        row["cell"] = row["cell"] or "not yet chosen"  # a search draws its cells one by one
        row["rank_cell"] = runs.without_fold(row["cell"])
    table = pd.DataFrame(entries)
    for column in _COLUMNS:
        if column not in table:
            table[column] = pd.Series(dtype=object)
    history = _long_table(table[table["folder"] != ""], runs.HISTORY, ())
    return Study(str(facts.get("study", folder.name)), folder, facts, table, history, notes)


def _planned(entry: Mapping[str, Any], folder: Path, roots: Sequence[Path]) -> dict[str, Any]:
    """One row of `Study.runs` from an entry of study.json and the run folder it names."""
    run_id, path = str(entry.get("run_id") or ""), str(entry.get("path") or "")
    found = _find_run(run_id, path, folder, roots)
    row = {key: value for key, value in entry.items() if key not in ("params", "path")}
    row |= {"reason": row.get("reason") or "", "name": row.get("name") or ""}
    row |= entry.get("params") or {}
    row |= {"folder": "" if found is None else str(found), "cell": str(entry["cell"])}
    result = None if found is None else runs.read_json(found / runs.RESULT)
    if result is not None:  # the run's own word outweighs a study.json that was not updated
        row = flatten(result) | row
        row |= {"state": result.get("state", DONE), "reason": result.get("reason") or ""}
    elif row.get("state") not in ("queued", "running", "failed"):
        where = path or run_id
        row |= {
            "reason": f"study.json says {row.get('state')}, but {where} has no result.json",
            "state": "missing",
        }
    return row


def _find_run(run_id: str, path: str, folder: Path, roots: Sequence[Path]) -> Path | None:
    """The run's folder: where study.json says, or any study's with this run id."""
    bases = list(dict.fromkeys([folder.parent, *roots]))
    if path:
        for base in bases:
            if (base / path).is_dir():
                return base / path
    if run_id:
        for base in bases:
            for found in sorted(base.glob(f"*/{run_id}")):
                return found
    return None


def _single_runs(name: str, folders: Sequence[Path]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Facts and rows of run folders that no study.json plans."""
    rows = []
    for folder in folders:
        result = runs.read_json(folder / runs.RESULT)
        if result is None:
            config = read_config(folder)
            row = {**_swept(config), "seed": config.get("seed", 0), "state": "running"}
            row["reason"] = "no result.json: running or interrupted"
        else:
            row = {**flatten(result), "state": result.get("state", DONE)}
            row["reason"] = result.get("reason") or ""
        swept = {**_swept(read_config(folder)), **((result or {}).get("swept") or {})}
        row |= {"run_id": folder.name, "folder": str(folder), "_swept": swept}
        row["_identity"] = _identity(result or {}, read_config(folder))
        row["value"] = row.get("val/rmse_m")
        row["epochs"] = row.get("cost/epochs")
        row["seconds"] = row.get("cost/seconds")
        rows.append(row)
    keys = dict.fromkeys(key for row in rows for key in row["_swept"] if key != "seed")
    texts = {
        key: {json.dumps(row["_swept"][key]) for row in rows if key in row["_swept"]}
        for key in keys
    }
    # depth says nothing that model does not say
    varying = [key for key in keys if len(texts[key]) > 1 and key != "depth"]
    shown = varying or [key for key in DEFAULT_AXES if key in keys]
    shown += _told_apart_by(rows, shown)
    axes: dict[str, list[Any]] = {}
    for row in rows:
        params = {key: row["_swept"].get(key, "unknown") for key in shown}
        for key, value in params.items():
            if value != "unknown" and value not in axes.setdefault(key, []):
                axes[key].append(value)
        row |= {**params, "cell": ",".join(f"{key}={value}" for key, value in params.items())}
        row |= {"name": "", "attempts": 1, "linked": False}
        del row["_swept"], row["_identity"]
    axes = {key: sorted(values, key=_sort_key) for key, values in axes.items()}
    facts = {
        "study": name,
        "question": "",
        "kind": "runs",
        "monitor": "val/rmse_m",
        "direction": "minimize",
        "axes": axes,
        "seeds": sorted({int(row["seed"]) for row in rows}),
        "base_config": {},
        "named_cells": {},
        "command": "",
    }
    return facts, rows


def _identity(result: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides a run's figures, in dots; the split by its knobs, not by its digests."""
    found = dotted({**(result.get("identity") or {}), "split": config.get("split") or {}})
    return {key: value for key, value in found.items() if key != "seed"}


def _told_apart_by(rows: Sequence[dict[str, Any]], shown: Sequence[str]) -> list[str]:
    """Knobs besides the shown ones in which runs of one seed differ; they join `_swept`."""
    alike: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        place = [row["seed"], *(row["_swept"].get(key) for key in shown)]
        alike.setdefault(json.dumps(place), []).append(row["_identity"])
    keys = dict.fromkeys(key for same in alike.values() for one in same for key in one)
    more = [
        key
        for key in keys
        if any(
            len({json.dumps(one.get(key)) for one in same if one}) > 1 for same in alike.values()
        )
    ]
    for row in rows:
        row["_swept"] |= {key: row["_identity"][key] for key in more if key in row["_identity"]}
    return more


def _sort_key(value: Any) -> tuple[int, float, str]:
    is_number = isinstance(value, int | float)
    return (0 if is_number else 1, float(value) if is_number else 0.0, str(value))


def _swept(config: Mapping[str, Any]) -> dict[str, Any]:
    """What result.json calls `swept`, as far as a config.yaml tells it."""
    found: dict[str, Any] = {}
    for key in ("model", "lr", "batch_size", "optimizer", "scheduler", "augmentation", "split"):
        value = config.get(key)
        if isinstance(value, Mapping):
            value = value.get("name", value.get("kind"))
        if value is not None:
            found[key] = value
    return found


def read_config(folder: Path) -> dict[str, Any]:
    """A run's config.yaml as plain data; empty where there is no readable one."""
    try:
        value = yaml.load(
            (folder / runs.CONFIG).read_text(encoding="utf-8"),
            Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader),  # noqa: S506 - safe loaders only
        )
    except (OSError, yaml.YAMLError):
        return {}
    return value if isinstance(value, dict) else {}


def dotted(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration as one flat mapping.

    >>> dotted({"lr": 0.1, "split": {"kind": "random"}})
    {'lr': 0.1, 'split.kind': 'random'}
    """
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        flat |= dotted(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def flatten(result: Mapping[str, Any]) -> dict[str, Any]:
    """result.json as one flat row: keys joined by "/", `metrics` and `swept` at the root.

    >>> flatten({"metrics": {"val/rmse_m": 60.0}, "data": {"n": 741}})
    {'val/rmse_m': 60.0, 'data/n': 741}
    """
    flat: dict[str, Any] = {}
    for key, value in result.items():
        if not isinstance(value, Mapping):
            flat[key] = value
        elif key not in (*_TO_ROOT, *_LEFT_OUT):
            flat |= {f"{key}/{name}": item for name, item in flatten(value).items()}
    # `swept` last: a metric called lr is the decayed one
    return {**(result.get("metrics") or {}), **flat, **(result.get("swept") or {})}


def _long_table(rows: pd.DataFrame, file: str, text_columns: Sequence[str]) -> pd.DataFrame:
    """One CSV file of many runs as one table, with `run, run_id, cell, seed` in front.

    `run` is the row's index in `rows`. A last line cut short by a kill is left out. Files with the
    same header are parsed in one go: a thousand small files cost as much as one large one.
    """
    texts: dict[str, list[tuple[Any, str]]] = {}
    for run, folder in zip(rows.index, rows["folder"], strict=True):
        try:
            text = (Path(str(folder)) / file).read_text(encoding="utf-8")
        except OSError:
            continue
        header, _, body = text.partition("\n")
        body = body[: body.rfind("\n") + 1]
        if body:
            texts.setdefault(header, []).append((run, body))
    found = [_parsed(header, bodies, text_columns) for header, bodies in texts.items()]
    if not found:
        return pd.DataFrame(columns=["run", "run_id", "cell", "seed"])
    table = pd.concat(found, ignore_index=True)
    front = rows.loc[table["run"], ["run_id", "cell", "seed"]].reset_index(drop=True)
    return pd.concat([table[["run"]], front, table.drop(columns="run")], axis=1)


def _parsed(
    header: str, bodies: Sequence[tuple[Any, str]], text_columns: Sequence[str]
) -> pd.DataFrame:
    """Bodies of CSV files with one header, and which run each row is of."""
    names = next(csv.reader([header]))
    texts = [name for name in names if name in text_columns]
    whole = "".join(body for _, body in bodies)
    counts = [body.count("\n") for _, body in bodies]
    if '"' in whole:  # a quoted name may hold a line break: count what the CSV rules say
        counts = [sum(1 for _ in csv.reader(io.StringIO(body))) for _, body in bodies]
    table = pd.read_csv(
        io.StringIO(whole),
        names=names,
        dtype=dict.fromkeys(texts, str),
        keep_default_na=False,
        na_values={name: [""] for name in names if name not in texts},
    )
    return table.assign(run=np.repeat([run for run, _ in bodies], counts))


def _one(rows: pd.DataFrame, column: str) -> str:
    """The column's values, joined; whole numbers without a decimal point."""
    if column not in rows:
        return "?"
    values = dict.fromkeys(rows[column].dropna())
    return " or ".join(
        str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
        for value in values
    )


def _mixtures(rows: pd.DataFrame) -> list[str]:
    """Warnings about runs of one ranking that are not of one kind."""
    warnings = []
    for column, what in (
        ("data/fingerprint", "data fingerprints"),
        ("code/version", "code versions"),
        ("code/commit", "code commits"),
        ("precision", "precisions"),
    ):
        if column in rows and len(set(rows[column].astype(str))) > 1:
            values = rows[column].astype(str)
            if column == "code/commit":
                values = values.str[:7]
            parts = [f"{value} ({_runs(count)})" for value, count in _counted(values)]
            warnings.append(f"runs of different {what} in one ranking: {', '.join(parts)}")
    if "weights/resolved" in rows and bool((rows["weights/resolved"] == "random").any()):
        reasons = ", ".join(dict.fromkeys(rows["weights/reason"].dropna().astype(str)))
        warnings.append(f"weights were asked for but not to be had ({reasons}): from scratch")
    if "code/dirty" in rows and bool((rows["code/dirty"] == True).any()):  # noqa: E712
        count = int((rows["code/dirty"] == True).sum())  # noqa: E712
        were = "was" if count == 1 else "were"
        warnings.append(f"{_runs(count)} {were} made with uncommitted changes to the code")
    return warnings


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _counted(values: Iterable[str]) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return list(counts.items())
