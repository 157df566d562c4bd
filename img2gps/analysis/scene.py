"""Prepare what the figures of one ranking draw: its cells as a table with labels, costs, curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from img2gps.analysis.choices import NAME
from img2gps.analysis.errors import Errors
from img2gps.analysis.overview import Analysis
from img2gps.analysis.ranking import Ranking, knobs
from img2gps.analysis.study import DONE, Study
from img2gps.analysis.winner import FOLD_AXIS
from img2gps.analysis.wording import cell_name, knob_value

_DIGITS = (3, 6, 17)  # of numbers in labels: as few as keep the cells apart


@dataclass(frozen=True)
class Scene:
    """What the figures of one ranking need.

    Attributes:
        study: as it was read.
        cells: one row a cell, planned ones without a figure included: `cell, label, model, rmse_m,
            low_m, high_m, in_best_set, beats_mean, reason, seconds, epochs, n_train`, the axes.
        varied: axes with more than one value among these cells; `name` for those that it sets.
        winner: the winner's `cell`; None where nothing has finished.
        mean_rmse_m: of the mean predictor on the ranked photos; NaN where it is not known.
        floor_m: RMSE of a perfect answer against noisy labels; NaN where it is not known.
        share: of each axis in the variance; empty where the cells are no full grid.
        no_share: why it is empty.
        expected: rows `label, rmse_m, low_m, high_m` that may be called the winner's error.
        among: which cells the winner is the lowest of, as `Ranking.among` says.
        others: labels of the data set's photos that were not validated on; None if not available.
        errors: of the ranked cells, photo by photo; None where nothing has finished.
        runs: rows of the study's runs, without those that stand in other rankings.
    """

    study: Study
    runs: pd.DataFrame
    cells: pd.DataFrame
    varied: list[str]
    winner: str | None
    mean_rmse_m: float
    floor_m: float
    share: Mapping[str, float]
    no_share: str
    expected: Sequence[Mapping[str, Any]]
    others: pd.DataFrame | None
    errors: Errors | None = None
    among: str = ""

    @property
    def winning(self) -> dict[str, Any]:
        """The winner's row of `cells`."""
        row = self.cells[self.cells["cell"] == self.winner].iloc[0]
        return {str(key): value for key, value in row.items()}

    @property
    def everywhere(self) -> list[str]:
        """The axes that vary and that every cell has; others exist under a condition only."""
        params = _params(self.study)
        own = [params[str(cell)] for cell in self.cells["cell"]]
        return [a for a in self.varied if a == NAME or all(a in given for given in own)]

    def label(self, cell: object, axes: Sequence[str]) -> str:
        """Return a cell's name by some of its knobs."""
        return cell_name(knobs(_params(self.study)[str(cell)], axes))

    @property
    def finished(self) -> pd.DataFrame:
        """The cells that have a figure."""
        return self.cells[self.cells["rmse_m"].notna()]

    @property
    def winners_predictions(self) -> pd.DataFrame:
        """Predictions of all runs of the winner: its seeds, and its folds where there are any."""
        runs = self.study.deciding(self.runs)
        runs = runs[(runs["rank_cell"] == self.winner) & (runs["state"] == DONE)]
        table = self.study.predictions
        return table[table["run"].isin(runs.index)]

    @property
    def curves(self) -> pd.DataFrame:
        """The history of every cell's runs, with the cells' labels and knobs."""
        history = self.study.history.rename(
            columns={"train/mse": "train_mse", "val/rmse_m": "rmse_m"}
        )
        runs = self.study.deciding(self.runs)
        history = history[history["run"].isin(runs.index)]
        own = runs.loc[history["run"]].reset_index(drop=True)
        history = history.reset_index(drop=True).assign(
            rank_cell=own["rank_cell"], finished=own["state"] == DONE, fold=own.get(FOLD_AXIS, 0)
        )
        axes = self.cells.set_index("cell")[[*self.varied, "label"]]
        columns = ["rank_cell", "seed", "fold", "finished", "epoch", "train_mse", "rmse_m"]
        return history[columns].join(axes, on="rank_cell", how="inner")


def scene_of(
    analysis: Analysis, ranking: Ranking | None, others: pd.DataFrame | None = None
) -> Scene:
    """Return what the figures of a ranking need; None stands for a study without finished runs."""
    study = analysis.study
    others_runs = [r.group.runs for r in analysis.rankings if r is not ranking]
    own = set() if ranking is None else {cell.cell for cell in ranking.cells}
    elsewhere = {cell for rows in others_runs for cell in rows["rank_cell"]} - own
    runs = study.runs.drop([run for rows in others_runs for run in rows.index])
    runs = runs[~runs["rank_cell"].isin(elsewhere)]
    cells = _planned(study, study.deciding(runs))
    if ranking is None:
        known = pd.to_numeric(study.column("mean_predictor/rmse_m"), errors="coerce").dropna()
        mean = float(known.median()) if len(known) else math.nan
        cells = cells.assign(rmse_m=math.nan)
        return Scene(
            study, runs, cells, _knobs(study, cells), None, mean, math.nan, {}, "", (), others
        )
    figures = ["cell", "rmse_m", "low_m", "high_m", "in_best_set", "beats_mean"]
    cells = cells.merge(ranking.frame()[figures], on="cell", how="left")
    return Scene(
        study,
        runs,
        cells,
        _knobs(study, cells),
        ranking.winner.cell,
        ranking.mean_predictor.estimate,
        ranking.floor_m,
        {e.axes[0]: e.share for e in ranking.importance if len(e.axes) == 1},
        ranking.no_importance,
        _expected(ranking),
        others,
        ranking.errors,
        ranking.among,
    )


def varied_within(cells: pd.DataFrame, axes: Sequence[str], groups: pd.Series[Any]) -> list[str]:
    """Return the axes that vary among the cells of one group."""
    return [a for a in axes if cells[a].map(knob_value).groupby(groups).nunique().max() > 1]


def _planned(study: Study, runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each cell of some runs: axes, label, costs, why it has no figure."""
    axes = [a for a in study.axes if a in runs and a != FOLD_AXIS]
    first = runs.drop_duplicates("rank_cell").set_index("rank_cell")
    cells = first[[*axes, "name"]].copy()
    cells["name"] = cells["name"].fillna("").astype(str)
    cells["model"] = first.get("model", "cell")
    done = runs[runs["state"] == DONE]
    for name, column in (("seconds",) * 2, ("epochs",) * 2, ("n_train", "data/n_train")):
        values = pd.to_numeric(done[column], errors="coerce") if column in done else None
        cells[name] = math.nan if values is None else values.groupby(done["rank_cell"]).mean()
    left = runs[runs["state"] != DONE].drop_duplicates("rank_cell").set_index("rank_cell")
    cells["reason"] = (left["state"] + ": " + left["reason"].fillna("")).reindex(cells.index)
    cells["reason"] = cells["reason"].fillna("").str.removesuffix(": ")
    cells["label"] = _labels(cells, _params(study), _varied(study, cells) or axes)
    return cells.rename_axis("cell").reset_index()


def _varied(study: Study, cells: pd.DataFrame) -> list[str]:
    axes = [a for a in study.axes if a in cells and a != FOLD_AXIS]
    return [a for a in axes if len(set(cells[a].map(knob_value))) > 1]


def _knobs(study: Study, cells: pd.DataFrame) -> list[str]:
    """Return the axes that vary; where every cell has a name, it stands for all that it sets."""
    varied, names = _varied(study, cells), cells["name"]
    if not all(names) or names.nunique() < 2:
        return varied
    return [NAME, *varied_within(cells, varied, names)]


def _params(study: Study) -> dict[str, dict[str, Any]]:
    """Return the knobs of each ranked cell."""
    first = study.runs.drop_duplicates("rank_cell")
    return dict(zip(first["rank_cell"], first["params"], strict=True))


def _labels(
    cells: pd.DataFrame, params: Mapping[str, Mapping[str, Any]], axes: Sequence[str]
) -> list[str]:
    """Return a label for each cell, with as few digits as keep them apart.

    Where the study names all cells, only what varies among cells of one name is said before the
    name. Where it names some (the baseline), the name follows in brackets.
    """
    all_named = all(cells["name"])
    if all_named:
        axes = varied_within(cells, axes, cells["name"])
    for digits in _DIGITS:
        found = []
        for cell, name in cells["name"].items():
            text = cell_name(knobs(params[str(cell)], axes), digits)
            if all_named:
                found.append(", ".join(filter(None, (text, name))))
            else:
                found.append((text or str(cell)) + (f" ({name})" if name else ""))
        if len(set(found)) == len(found):
            return found
    return [str(cell) for cell in cells.index]


def _expected(ranking: Ranking) -> list[dict[str, Any]]:
    """Return the only figures that may be called the winner's expected error."""
    found = []
    if ranking.expected is not None:
        found.append(("winner, corrected for its selection", ranking.expected))
    if ranking.test is not None:
        found.append(("winner on the test part", ranking.test))
    return [
        {"label": text, "rmse_m": i.estimate, "low_m": i.low, "high_m": i.high} for text, i in found
    ]
