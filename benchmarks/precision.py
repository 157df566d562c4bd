"""Final RMSE of bf16 against fp32: paired seeds on the built-in quad.

Not part of `make bench` unless named: `python -m benchmarks precision` trains ten whole runs.
"""

from __future__ import annotations

import csv
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Row, Settings, config
from img2gps import train
from img2gps.runs.folder import PREDICTIONS
from img2gps.training import devices

TITLE = "bf16 against fp32"
SEEDS = 5
LEVEL = 0.90
RESAMPLES = 4000
CLOSE = 0.05


def final(seed: int, precision: str, root: Path, settings: Settings) -> NDArray[np.float64]:
    """Error of each validation photo in metres after the final epoch, and its spot: (2, p)."""
    n, size, epochs = (40, 64, 1) if settings.quick else (741, 112, 15)
    outcome = train.run(
        config(
            f"seed={seed}", f"precision={precision}", f"data.n={n}", f"image_size={size}",
            f"max_epochs={epochs}", f"threads={settings.threads}", f"runs.root={root}",
            "split.n_val=12" if settings.quick else "split.n_val=60", "study=precision",
            "weights=none", "logger=none", "baselines=false", "trainer.progress_bar=false",
            "runs.results=null",
        )
    )  # fmt: skip
    with (outcome.folder / PREDICTIONS).open() as file:
        read = list(csv.DictReader(file))
    return np.array([[float(row["error_m"]), float(row["spot"])] for row in read]).T


def ratio_interval(
    one: NDArray[np.float64], other: NDArray[np.float64], spot: NDArray[np.float64]
) -> dict[str, float]:
    """RMSE of `one` over that of `other`, errors (seeds, photos), with its 90 % interval.

    Seeds and spots are resampled together, both crossed: every pair shares its seed and photos.
    """
    rng = np.random.default_rng(0)
    _, index = np.unique(spot, return_inverse=True)
    members = [np.flatnonzero(index == i) for i in range(index.max() + 1)]

    def log_ratio(seeds: NDArray[np.int64], photos: NDArray[np.int64]) -> float:
        mean = [
            np.log(np.sqrt((e[np.ix_(seeds, photos)] ** 2).mean(axis=1))).mean()
            for e in (one, other)
        ]
        return float(mean[0] - mean[1])

    drawn = []
    for _ in range(RESAMPLES):
        seeds = rng.integers(0, len(one), len(one))
        spots = rng.integers(0, len(members), len(members))
        drawn.append(log_ratio(seeds, np.concatenate([members[i] for i in spots])))
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {
        "estimate": math.exp(log_ratio(np.arange(len(one)), np.arange(one.shape[1]))),
        "low": math.exp(low),
        "high": math.exp(high),
    }


def measure(settings: Settings) -> dict[str, Any]:
    """Both precisions with each seed."""
    seeds = range(2 if settings.quick else SEEDS)
    errors: dict[str, list[NDArray[np.float64]]] = {"bf16": [], "fp32": []}
    spot = np.zeros(0)
    with tempfile.TemporaryDirectory() as name:
        for seed in seeds:
            for precision, found in errors.items():
                error, spot = final(seed, precision, Path(name), settings)
                found.append(error)
    one, other = np.array(errors["bf16"]), np.array(errors["fp32"])
    return {
        "seeds": len(seeds),
        "native": devices.native_bf16("cpu"),
        "rmse_m": {
            name: np.sqrt((np.array(e) ** 2).mean(axis=1)).tolist() for name, e in errors.items()
        },
        "ratio": ratio_interval(one, other, spot),
    }


def rows(measured: Mapping[str, Any]) -> list[Row]:
    """The ratio and its interval."""
    ratio, rmse = measured["ratio"], measured["rmse_m"]
    contains = ratio["low"] <= 1 <= ratio["high"]
    within = ratio["low"] >= 1 - CLOSE and ratio["high"] <= 1 + CLOSE
    return [
        Row(
            f"final RMSE of bf16 / fp32, {measured['seeds']} paired seeds, 90 % interval",
            f"{ratio['estimate']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f}); by seed "
            f"{_metres(rmse['bf16'])} m and {_metres(rmse['fp32'])} m",
            "contains 1, or within 5 %",
            contains or within,
        )
    ]


def _metres(values: list[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values)
