"""The parts of a run's result that follow from its plan and its history."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from img2gps.core import hardware
from img2gps.photos.split import Split, leakage
from img2gps.runs.records import Cost, DataFacts, SplitFacts

if TYPE_CHECKING:
    from img2gps.config.schema import SplitConfig
    from img2gps.photos.dataset import Dataset

ONE_PLACE_M = 1e-3  # below it, the mean predictor's error is only rounding
OPTIMISTIC = "optimistic: the epoch was chosen on the validation photos themselves"

Rows = Sequence[Mapping[str, float]]


def final_metrics(history: Rows) -> dict[str, float | None]:
    """Return the metrics after the final epoch; empty if no epoch is done."""
    return dict(_metrics(history[-1])) if history else {}


def best_metrics(history: Rows) -> dict[str, Any]:
    """Return the metrics of the epoch with the lowest validation RMSE, which never rank runs."""
    if not history or math.isnan(history[-1]["val/rmse_m"]):  # no photo validates
        return {}
    best = min(history, key=lambda row: row["val/rmse_m"])
    return {**_metrics(best), "epoch": int(best["epoch"]), "note": OPTIMISTIC}


def skill(rmse_m: float | None, mean_predictor_m: float) -> float | None:
    """Return 1 - MSE / MSE of the mean predictor.

    >>> skill(50.0, 100.0)
    0.75
    """
    if rmse_m is None or mean_predictor_m <= ONE_PLACE_M:
        return None
    return 1 - rmse_m**2 / mean_predictor_m**2


def data_facts(dataset: Dataset, split: Split) -> DataFacts:
    """Return the name of the data set and the sizes of its parts."""
    return DataFacts(
        name=dataset.name,
        fingerprint=dataset.fingerprint,
        synthetic=dataset.synthetic,
        n=len(dataset),
        n_train=len(split.train),
        n_val=len(split.val),
        n_test=len(split.test),
        n_left_out=len(split.left_out),
        image_size=dataset.image_size,
    )


def split_facts(config: SplitConfig, dataset: Dataset, split: Split) -> SplitFacts:
    """Return how the photos were divided and how near the parts are to each other."""
    return SplitFacts(str(config.kind), config.seed, config.fold, leakage(dataset.manifest, split))


def cost(history: Rows) -> Cost:
    """Return the epochs and seconds that the run has taken, resumed parts included."""
    return Cost(
        epochs=len(history),
        seconds=sum(row["seconds"] for row in history),
        train_seconds=sum(row["train_seconds"] for row in history),
        peak_memory_mb=hardware.peak_memory_mb(),
    )


def _metrics(row: Mapping[str, float]) -> dict[str, float]:
    return {key: value for key, value in row.items() if "/" in key}
