"""Where the luck of a study's runs comes from: its seeds as factors of a crossed design."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from img2gps.analysis.errors import solved_runs
from img2gps.analysis.stats.components import Component, components
from img2gps.analysis.stats.sample import Floats
from img2gps.analysis.study import Study
from img2gps.analysis.winner import RMSE

# Seeds that may be varied apart from each other, and what they draw.
DRAWN_BY = {
    "seed": "initial weights",
    "order_seed": "order of the photos",
    "augmentation_seed": "changes to the photos",
    "split.seed": "split",
}
FOLLOWERS = ("order_seed", "augmentation_seed")  # null follows `seed`


@dataclass(frozen=True)
class Sources:
    """The parts of the luck of one run.

    Attributes:
        components: variances of the logarithm of the RMSE.
        factors: the seeds that were varied, and what each draws in this study.
        runs: how many runs are behind the figures.
        groups: cells that differ in more than their seeds; each has a mean of its own.
        rmse_m: geometric mean of the runs' RMSE.
        left_out: groups that lack a run of some combination.
        solved: groups that no seed changes but that of the split, beside trained ones.
    """

    components: list[Component]
    factors: dict[str, str]
    runs: int
    groups: int
    rmse_m: float
    left_out: int
    solved: int

    def name(self, component: Component) -> str:
        """Return what a component is called in a table."""
        if not component.factors:
            return "all together"
        if len(component.factors) > 1:
            return "interactions"
        return self.factors[component.factors[0]]


def sources(study: Study) -> Sources | None:
    """Return the variance components of the seeds; None if no two seeds were varied crosswise.

    Folds of a k-fold split are no random draws, so such a study has none.
    """
    trained = ~solved_runs(study.finished)  # the seeds change nothing else
    runs = study.finished[trained] if trained.any() else study.finished
    solved = study.finished.drop(runs.index)
    factors = [seed for seed in DRAWN_BY if len(study.column(seed).unique()) > 1]
    if len(factors) < 2 or "split.fold" in study.axes or runs[factors].isna().any(axis=None):
        return None
    levels = pd.MultiIndex.from_product([study.column(factor).unique() for factor in factors])
    tables = [_log_rmse(own, factors, levels) for _, own in runs.groupby(_other_knobs(runs))]
    full = [table for table in tables if not np.isnan(table).any()]
    if not full:
        return None
    shape = tuple(len(level) for level in levels.levels)
    values = np.stack(full).reshape(len(full), *shape)
    return Sources(
        components=components(values, factors),
        factors={factor: _drawn(study, factor, factors) for factor in factors},
        runs=values.size,
        groups=len(full),
        rmse_m=float(np.exp(values.mean())),
        left_out=len(tables) - len(full),
        solved=_other_knobs(solved).nunique(),
    )


def _log_rmse(runs: pd.DataFrame, factors: Sequence[str], levels: pd.MultiIndex) -> Floats:
    """Return the logarithm of the RMSE of every combination; NaN where there is none."""
    known = runs.drop_duplicates(list(factors)).set_index(list(factors))[RMSE]
    return np.asarray(np.log(known.reindex(levels).to_numpy(np.float64)))


def _other_knobs(runs: pd.DataFrame) -> pd.Series[str]:
    """Return what a run has beside its seeds, as text."""
    return pd.Series(
        [
            json.dumps([{k: v for k, v in params.items() if k not in DRAWN_BY}, start])
            for params, start in zip(runs["params"], runs["weights/resolved"], strict=True)
        ],
        runs.index,
    )


def _drawn(study: Study, factor: str, factors: Sequence[str]) -> str:
    """Return what a seed draws: `seed` also draws what other seeds leave to it."""
    drawn = [DRAWN_BY[factor]]
    if factor == "seed":
        base = study.record.base_config
        left = [f for f in FOLLOWERS if f not in factors and base.get(f) is None]
        if not _changes_photos(study):
            left = [follower for follower in left if follower != "augmentation_seed"]
        drawn += [DRAWN_BY[follower] for follower in left]
    return " and ".join(drawn)


def _changes_photos(study: Study) -> bool:
    """Whether any run changes its training photos at random."""
    chosen = study.record.base_config.get("augmentation") or {}
    return "augmentation" in study.axes or chosen.get("name", "none") != "none"
