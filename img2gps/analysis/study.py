"""A study as it stands on disk: its runs, what may be ranked together, errors photo by photo.

What cannot be read is a row with a state and a reason or a line in `Study.notes`, never silence.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from img2gps.analysis.folders import long_table, read_config
from img2gps.analysis.wording import count_of_runs
from img2gps.core import geo
from img2gps.core.errors import BadInput
from img2gps.runs.folder import PREDICTIONS, PREDICTIONS_BEST, PREDICTIONS_TEST

PRETRAINED = ("imagenet", "file")  # weights.resolved; everything else is from scratch
DONE = "finished"
STATES = (DONE, "running", "queued", "pruned", "diverged", "failed", "missing")
KFOLD = "kfold"  # and place_kfold: how their kinds end

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
        return self._predictions(PREDICTIONS)

    @cached_property
    def predictions_best(self) -> pd.DataFrame:
        """The same after each run's best epoch, which is an optimistic choice."""
        return self._predictions(PREDICTIONS_BEST)

    @cached_property
    def predictions_test(self) -> pd.DataFrame:
        """Test photos, of the runs for which `select` has looked at them."""
        return self._predictions(PREDICTIONS_TEST)

    def _predictions(self, file: str) -> pd.DataFrame:
        return long_table(self.finished, file)

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
        found = pd.Series([digests.get(run, "") for run in done.index], done.index, dtype=object)
        if "split/kind" in done:
            folds = done["split/kind"].astype(str).str.endswith(KFOLD) & (found != "")
            found.loc[folds] = np.array(_of_folds(done[folds]), dtype=object)
        return found

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
    table = long_table(rows, PREDICTIONS)
    if set(table["run"]) != set(rows.index):
        return None
    return align(table, rows)


def _of_folds(rows: pd.DataFrame) -> list[str]:
    """Of each run, the split and those of its folds that the run's cell has finished."""
    cells = rows["split/fold"].astype(str).groupby([rows["rank_cell"], rows["seed"]])
    columns = ("split/kind", "data/fingerprint", "split/seed")
    return [
        f"{kind} of {data}, seed {seed}, folds {folds}"
        for kind, data, seed, folds in zip(
            *(rows[column] for column in columns),
            cells.transform(lambda own: " ".join(sorted(own))),
            strict=True,
        )
    ]


def _folds_said(rows: pd.DataFrame, folds: int) -> str:
    """How many folds of how many; only all of them together validate every photo."""
    split = read_config(Path(str(rows["folder"].iloc[0]))).get("split")
    planned = split.get("folds") if isinstance(split, dict) else None
    if folds == planned:
        return f"{folds} folds, every photo validated once"
    return f"{folds} of {planned or '?'} folds"


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
            parts = [f"{value} ({count_of_runs(count)})" for value, count in _counted(values)]
            warnings.append(f"runs of different {what} in one ranking: {', '.join(parts)}")
    if "weights/resolved" in rows and bool((rows["weights/resolved"] == "random").any()):
        reasons = ", ".join(dict.fromkeys(rows["weights/reason"].dropna().astype(str)))
        warnings.append(f"weights were asked for but not to be had ({reasons}): from scratch")
    if "absent/baselines" in rows and bool((missing := rows["absent/baselines"].dropna()).size):
        why = ", ".join(dict.fromkeys(missing.astype(str)))
        warnings.append(f"{count_of_runs(len(missing))} without baselines ({why})")
    if "code/dirty" in rows and bool((rows["code/dirty"] == True).any()):  # noqa: E712
        count = int((rows["code/dirty"] == True).sum())  # noqa: E712
        were = "was" if count == 1 else "were"
        warnings.append(f"{count_of_runs(count)} {were} made with uncommitted changes to the code")
    return warnings


def _counted(values: Iterable[str]) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return list(counts.items())
