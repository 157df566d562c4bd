"""What the luck of a seed assumes, against the published studies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy import stats as scipy_stats

from img2gps.analysis.collect import load_study
from img2gps.analysis.stats.luck import PRIOR_FREEDOM

RESULTS = Path(__file__).parents[2] / "results"
STUDIES = ("table1", "table1_64", "lr_edge_64", "lr_decay", "last_batch")


def variances(study: str) -> tuple[NDArray[np.float64], int]:
    """Return the relative variance between the runs of each cell, and its degrees of freedom."""
    error = load_study(RESULTS / study, []).errors().error_m
    rmse = np.sqrt((error**2).mean(axis=2))
    rmse = rmse[~np.isnan(rmse).any(axis=1)]
    return rmse.var(axis=1, ddof=1) / rmse.mean(axis=1) ** 2, rmse.shape[1] - 1


def log_likelihood(known: list[tuple[NDArray[np.float64], int]], freedom: float) -> float:
    """Return that of a scaled F distribution, whose scale is each study's most likely one."""
    total = 0.0
    for found, own in known:

        def missed(log_scale: float, found: NDArray[np.float64] = found, own: int = own) -> float:
            density = scipy_stats.f.logpdf(found / np.exp(log_scale), own, freedom) - log_scale
            return -float(density.sum())

        total -= optimize.minimize_scalar(missed, bounds=(-14, -2), method="bounded").fun
    return total


def test_the_weight_of_a_cells_own_luck_is_likely_in_published_studies() -> None:
    known = [variances(study) for study in STUDIES]
    assert sum(len(found) for found, _ in known) > 30
    likely = log_likelihood(known, PRIOR_FREEDOM)
    assert likely > log_likelihood(known, 1.0) + 1  # each cell for itself
    assert likely > log_likelihood(known, 1000.0) + 1  # all cells alike
