"""A study as it stands on disk: its runs, what may be ranked together, errors photo by photo.

What cannot be read becomes a row with a state and a reason, or a line in `Study.notes`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from img2gps.analysis.answers import read_answers
from img2gps.analysis.errors import Errors, align
from img2gps.analysis.folders import long_table
from img2gps.analysis.mixtures import mixtures
from img2gps.core.counted import counted, listed
from img2gps.core.errors import BadInput
from img2gps.runs.confirm import Standing
from img2gps.runs.folder import (
    BASELINES,
    PREDICTIONS,
    PREDICTIONS_BEST,
    PREDICTIONS_TEST,
    read_config_plain,
)
from img2gps.runs.records import PRETRAINED, StudyRecord
from img2gps.runs.states import RunState, count_states

DONE = RunState.finished
_AGAIN = "copy them from where the runs were made, or run them again with force=true"
KFOLD = "kfold"  # how the kinds kfold and place_kfold end


@dataclass(frozen=True)
class Group:
    """Finished runs that may stand in one ranking: the same photos, the same kind of start."""

    label: str
    pretrained: bool
    validation: str  # digest of the validation photos and their labels
    folds: int  # finished of each cell; 0 where the split is no k-fold split
    runs: pd.DataFrame
    warnings: list[str]

    @property
    def synthetic(self) -> bool:
        """Whether the runs are on the built-in quad."""
        return "data/synthetic" in self.runs and bool(self.runs["data/synthetic"].eq(True).any())


@dataclass(frozen=True)
class Study:
    """One study as it stands on disk.

    Attributes:
        record: what study.json says.
        folder: where the study lies.
        runs: one row for each planned run: the fields of `StudyRun` without `path`; `rank_cell`,
            the cell that is ranked (all folds of a cell are one); `folder`, "" where there is none;
            each knob of `params` by its name; and the flat result (`val/rmse_m`,
            `weights/resolved`, `baselines/knn/val/rmse_m`, ...), NaN where unknown. Only `params`
            tells a knob that is null from one that does not exist for the cell.
        history: one row for each epoch of every run that has begun: `run` (its index in `runs`),
            `run_id, cell, seed` and the columns of history.csv.
        left_out: what was left out in reading, a sentence for each.
        roots: where studies were looked for, the one of this study first.
    """

    record: StudyRecord
    folder: Path
    runs: pd.DataFrame
    history: pd.DataFrame
    left_out: list[str] = field(default_factory=list)
    roots: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """The study's name."""
        return self.record.study

    @property
    def kind(self) -> str:
        """`grid`, the sampler's name, or `runs` for single runs without a study."""
        return self.record.kind

    @property
    def axes(self) -> dict[str, list[Any]]:
        """The study's axes with their values."""
        return self.record.axes

    @property
    def facts(self) -> dict[str, Any]:
        """What study.json says, as plain values; `record` says the same with types."""
        return self.record.to_dict()

    @property
    def searched(self) -> bool:
        """Whether a sampler chose the cells."""
        return self.kind != "runs" and self.record.searched

    @property
    def enumerated(self) -> bool:
        """Whether the cells are exactly all combinations of the axes' values."""
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
        return bool(self.column("data/synthetic").eq(True).any())

    @property
    def notes(self) -> list[str]:
        """What the reader must know about what was read."""
        gone = self.finished.loc[self.validation == "", "run_id"].tolist()
        if not gone or len(gone) == len(self.finished):  # of none at all, `why_unranked` speaks
            return self.left_out
        runs = counted(len(gone), "finished run")
        return [
            *self.left_out,
            f"{runs} without a readable {PREDICTIONS}, left out: {listed(gone)}; {_AGAIN}",
        ]

    @property
    def why_unranked(self) -> str:
        """What is missing where no cell can be ranked."""
        done = self.finished
        if done.empty:
            return "no run has finished"
        if (self.validation == "").all():
            have = counted(len(done), "finished run") + (" has" if len(done) == 1 else " have")
            return f"{have} no readable {PREDICTIONS}, the answers photo by photo"
        return f"no cell has finished all its folds with a readable {PREDICTIONS}"

    @property
    def unranked(self) -> str:
        """The same as a message with a remedy."""
        remedy = "run the folds that are missing"
        if self.finished.empty:
            remedy = "run its cells first"
        elif (self.validation == "").all():
            remedy = _AGAIN
        return f"{self.name}: {self.why_unranked}; {remedy}"

    def column(self, name: str) -> pd.Series[Any]:
        """Return a column of `runs`; all NaN where no run has it."""
        if name in self.runs:
            return self.runs[name]
        return pd.Series(np.nan, index=self.runs.index, name=name)

    def counts(self) -> dict[str, int]:
        """Return the number of runs in each state that occurs, ended runs first."""
        counts = count_states(self.runs["state"])
        states = sorted(RunState, key=lambda state: not state.has_ended)
        return {str(state): counts[state] for state in states if counts[state]}

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Validation photos of all finished runs after the final epoch.

        Columns `run` (index in `runs`), `run_id, cell, seed`, those of predictions.csv, and the
        errors of the baselines from baselines.csv.
        """
        table = read_answers(self.finished, PREDICTIONS, "data/n_val")
        baselines = long_table(self.finished, BASELINES)
        if table.empty or baselines.empty:
            return table
        photo = ["run", "content", "copy"]  # exact duplicates share their content
        for one in (table, baselines):
            one["copy"] = one.groupby(photo[:2], sort=False).cumcount()
        own = [c for c in baselines if c not in table or c in photo]
        return table.merge(baselines[own], "left", photo).drop(columns="copy")

    @cached_property
    def predictions_best(self) -> pd.DataFrame:
        """The same after each run's best epoch, which is an optimistic choice."""
        return read_answers(self.finished, PREDICTIONS_BEST, "data/n_val")

    @cached_property
    def predictions_test(self) -> pd.DataFrame:
        """Test photos, of the runs that `select` has scored on them."""
        return read_answers(self.finished, PREDICTIONS_TEST, "data/n_test")

    @cached_property
    def validation(self) -> pd.Series[str]:
        """What each finished run was validated on, by index of `runs`; "" without predictions.

        It is a digest of the photos and their labels; for a fold, it names the split and those of
        its folds that the run's cell has finished.
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

    def deciding(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of `runs` that rank the cells, as `Standing` says."""
        standing = self.standing
        if standing is None:
            return rows
        pairs = zip(rows["rank_cell"], rows["seed"], strict=True)
        decide = [standing.decides(cell, seed) for cell, seed in pairs]
        return rows[np.array(decide, dtype=np.bool_)]

    def may_win(self, cell: str) -> bool:
        """Whether a cell, without its fold, may win, by the runs as they were read."""
        return self.record.may_win(cell) if self.standing is None else self.standing.may_win(cell)

    @cached_property
    def standing(self) -> Standing | None:
        """What the confirmation of a search has come to; None where there is none."""
        if self.record.confirmation is None:
            return None
        columns = (self.runs[name] for name in ("rank_cell", "seed", "state"))
        rows = zip(*columns, strict=True)
        return self.record.confirmation.standing((c, s, RunState(state)) for c, s, state in rows)

    @property
    def confirmed(self) -> bool:
        """Whether some of a search's best cells have been run again with fresh seeds."""
        return self.standing is not None and bool(self.standing.confirmed)

    @property
    def fresh(self) -> pd.Series[bool]:
        """Which runs confirm a cell that a search has found, by index of `runs`."""
        found = self.record.confirmation
        if found is None:
            return pd.Series(data=False, index=self.runs.index)
        return self.runs["rank_cell"].isin(found.cells) & self.runs["seed"].isin(found.seeds)

    def groups(self) -> list[Group]:
        """Return the finished runs in groups that may be ranked together, the largest first.

        Pretrained runs never stand in one ranking with runs from scratch, nor do runs that were
        validated on different photos. Of a k-fold split only cells with all folds finished can be
        ranked.
        """
        done = self.finished
        done = self.deciding(done[self.validation != ""])
        if done.empty:
            return []
        planned_folds = self.runs.groupby(["rank_cell", "seed"]).size().max()
        validation = self.validation[done.index]
        sets = {digest: i for i, digest in enumerate(dict.fromkeys(validation), 1)}
        found = []
        keys = [done["weights/resolved"].isin(PRETRAINED), validation]
        for (pretrained, digest), rows in done.groupby(keys):
            folds, kind = 0, _one(rows, "split/kind")
            where = f"{_one(rows, 'data/n_val')} validation photos"
            if kind.endswith(KFOLD):
                folds = int(rows.groupby(["rank_cell", "seed"]).size().max())
                if folds < planned_folds:
                    continue
                where = _folds_text(rows, folds)
            start = "pretrained" if pretrained else "from scratch"
            label = f"{start}, {kind} split, {where}"
            if len(sets) > 1:
                label += f" (set {sets[str(digest)]})"
            found.append(Group(label, bool(pretrained), str(digest), folds, rows, mixtures(rows)))
        return sorted(found, key=lambda group: (-len(group.runs), group.label))

    def errors(self, rows: pd.DataFrame | None = None, which: str = "final") -> Errors:
        """Return the errors of some runs (default: the largest group's) on their common photos.

        Args:
            rows: rows of `runs`, validated on the same photos.
            which: "final", "best" (epoch) or "test".

        Raises:
            BadInput: no cell can be ranked.
        """
        if rows is None:
            groups = self.groups()
            if not groups:
                raise BadInput(self.unranked)
            rows = groups[0].runs
        if which == "best":
            return align(self.predictions_best, rows)
        return align(self.predictions_test if which == "test" else self.predictions, rows)


def _of_folds(rows: pd.DataFrame) -> list[str]:
    """Return, for each run, the split and those of its folds that the run's cell has finished."""
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


def _folds_text(rows: pd.DataFrame, folds: int) -> str:
    """Say how many folds of how many; only all of them together validate every photo."""
    split = read_config_plain(Path(str(rows["folder"].iloc[0]))).get("split")
    planned = split.get("folds") if isinstance(split, dict) else None
    if folds == planned:
        return f"{folds} folds, every photo validated once"
    return f"{folds} of {planned or '?'} folds"


def _one(rows: pd.DataFrame, column: str) -> str:
    """Return the column's values as text; whole numbers without a decimal point."""
    if column not in rows:
        return "?"
    values = dict.fromkeys(rows[column].dropna())
    return " or ".join(
        str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
        for value in values
    )
