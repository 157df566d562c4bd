"""Study folders made by code, as the engine and its runs would leave them, with a known truth.

Every cell has a true RMSE (what infinitely many new spots would show). Errors are drawn from a
model that has what real ones have: spots that are hard for every cell, photos that are hard for
every cell, and what remains between cells and between seeds.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from img2gps.core import geo
from img2gps.core.files import _finite
from img2gps.runs.folder import (
    BASELINES,
    CONFIG,
    HISTORY,
    PREDICTIONS,
    PREDICTIONS_BEST,
    PREDICTIONS_TEST,
)
from img2gps.runs.names import run_id
from img2gps.runs.records import RESULT
from img2gps.study.space import BASE_CELL

Floats = NDArray[np.float64]
Params = Mapping[str, Any]

CENTRE = (39.95155, -75.19135)  # of the engineering quad, degrees
HALF_SIDES_M = (106.0, 111.0)  # east-west, north-south; uniform positions give 89 m on average
SPREAD_M = math.sqrt((HALF_SIDES_M[0] ** 2 + HALF_SIDES_M[1] ** 2) / 3)  # = RMSE of the mean
KNN, RIDGE = 0.82, 0.85  # RMSE of the baselines, as a part of the mean predictor's
ALIKE = 0.8  # standard deviation of the log of a squared scale that neighbours share
GPS_NOISE_M = 4.0  # standard deviation of each axis of a label

TABLE1: Mapping[str, Sequence[Any]] = {
    "model": ["resnet18", "resnet50"],
    "lr": [0.001, 0.003, 0.005],
    "batch_size": [8, 16, 32],
}
HISTORY_COLUMNS = (
    "epoch",
    "lr",
    "train/mse",
    "train/rmse_m",
    "val/mse",
    "val/rmse_m",
    "val/mean_m",
    "val/median_m",
    "val/p90_m",
    "val/within_5m",
    "val/within_10m",
    "val/within_25m",
    "val/within_50m",
    "seconds",
)


def true_rmse_m(params: Params) -> float:
    """Effect of a cell: as published for ResNet-18, ResNet-50 5 m worse; others 3 m a step."""
    lr, batch = float(params.get("lr", 0.001)), int(params.get("batch_size", 16))
    rmse = {0.001: {8: 78.0, 16: 69.0, 32: 70.0}.get(batch, 72.0), 0.003: 88.0}.get(lr, 91.0)
    return rmse + (5.0 if params.get("model") == "resnet50" else 0.0)


@dataclass(frozen=True)
class Noise:
    """Shares of a prediction's random error, and how unequal spots are."""

    spot: float = 0.35  # shared by all cells, seeds and photos of a spot
    photo: float = 0.30  # shared by all cells and seeds of a photo
    cell: float = 0.15  # cell x photo, shared by seeds
    seed: float = 0.20  # cell x seed x photo
    unevenness: float = 0.5  # variance of a spot's squared scale, whose mean is 1
    pull: float = 0.8  # share of the RMSE that is pull towards the mean position
    cell_seed: float = 0.03  # standard deviation of a whole run's scale: lucky and unlucky seeds
    alike_m: float = 0.0  # distance at which 1/e of the correlation between spots is left
    cells_alike: bool = False  # whether what only one cell gets wrong is alike over it, too


@dataclass(frozen=True)
class Photos:
    """Validation photos: metres east and north of the centre, and their spot."""

    east: Floats
    north: Floats
    spot: NDArray[np.int64]


def draw_photos(rng: np.random.Generator, n: int, n_spots: int) -> Photos:
    """Spots uniform on the ground with uneven numbers of photos (each at least one)."""
    n_spots = min(n_spots, n)
    weights = rng.dirichlet(np.full(n_spots, 1.5))
    spot = np.concatenate([np.arange(n_spots), rng.choice(n_spots, n - n_spots, p=weights)])
    centre = rng.uniform(-1, 1, (n_spots, 2)) * HALF_SIDES_M
    offset = rng.normal(0, 2.0, (n, 2))
    return Photos(centre[spot, 0] + offset[:, 0], centre[spot, 1] + offset[:, 1], spot)


def draw_errors(
    rng: np.random.Generator,
    photos: Photos,
    rmse: Sequence[float],
    n_seeds: int,
    noise: Noise | None = None,
) -> Floats:
    """Return errors east and north in metres, (cells, seeds, photos, 2), of cells with a true RMSE.

    A prediction is pulled to the mean position and disturbed; the mean square over infinitely many
    spots and seeds is `rmse` squared (but for the 2 m between photos of a spot).
    """
    return draw_runs(rng, photos, rmse, n_seeds, noise or Noise())[0]


def draw_runs(
    rng: np.random.Generator, photos: Photos, rmse: Sequence[float], n_seeds: int, noise: Noise
) -> tuple[Floats, Floats]:
    """Return the errors of `draw_errors`, and what luck multiplies each run's by, (c, s)."""
    n_cells, n = len(rmse), len(photos.spot)
    n_spots = int(photos.spot.max()) + 1
    position = np.stack([photos.east, photos.north], axis=-1)
    pull, disturbance = (part[:, None, None, None] for part in _pull_and_disturbance(rmse, noise))
    scale = np.sqrt(rng.gamma(1 / noise.unevenness, noise.unevenness, n_spots))[photos.spot]
    shared = rng.normal(size=(1, 1, n_spots, 2))[:, :, photos.spot]
    root = _correlated(photos, noise.alike_m) if noise.alike_m else None
    if root is not None:
        scale = np.exp(ALIKE * root @ rng.normal(size=n) / 2 - ALIKE**2 / 4)  # mean square 1
        shared = (root @ rng.normal(size=(n, 2)))[None, None]
    of_photo, of_cell = (rng.normal(size=(cells, 1, n, 2)) for cells in (1, n_cells))
    if root is not None and noise.cells_alike:
        of_cell = root @ of_cell
    parts = (
        math.sqrt(noise.spot) * shared,
        math.sqrt(noise.photo) * of_photo,
        math.sqrt(noise.cell) * of_cell,
        math.sqrt(noise.seed) * rng.normal(size=(n_cells, n_seeds, n, 2)),
    )
    unit = scale[:, None] * sum(parts)  # broadcasts to (cells, seeds, photos, 2)
    luck = 1 + noise.cell_seed * rng.normal(size=(n_cells, n_seeds, 1, 1))
    luck /= math.hypot(1, noise.cell_seed)  # mean square 1
    return np.asarray((disturbance * unit - pull * position) * luck), luck[..., 0, 0]


def rmse_of_average(rmse: Sequence[float], luck: Floats, noise: Noise) -> float:
    """Return the true RMSE of the mean answer of the runs that were drawn with this luck."""
    pull, disturbance = (part[:, None] * luck for part in _pull_and_disturbance(rmse, noise))
    own_cell = (disturbance.mean(axis=1) ** 2).sum() / len(luck) ** 2
    own_run = (disturbance**2).sum() / luck.size**2
    shared = (noise.spot + noise.photo) * disturbance.mean() ** 2
    square = shared + noise.cell * own_cell + noise.seed * own_run  # of each axis
    return math.sqrt((pull.mean() * SPREAD_M) ** 2 + 2 * square)


def _pull_and_disturbance(rmse: Sequence[float], noise: Noise) -> tuple[Floats, Floats]:
    """Return by how much each cell's answers are pulled to the middle, and disturbed in metres."""
    target = np.asarray(rmse, dtype=np.float64)
    pull = np.minimum(noise.pull * target / SPREAD_M, 1.0)
    return pull, np.sqrt(np.maximum(target**2 - (pull * SPREAD_M) ** 2, 0.0) / 2)


def _correlated(photos: Photos, alike_m: float) -> Floats:
    """Return a root of the exponential correlation between photos."""
    place = np.stack([photos.east, photos.north], axis=1)
    near = np.exp(-np.hypot(*(place[:, None] - place).T) / alike_m)
    return np.asarray(np.linalg.cholesky(near + 1e-8 * np.eye(len(place))))


@dataclass(frozen=True)
class FakeStudy:
    """Where the study is, and what is true of it."""

    folder: Path
    true_rmse_m: dict[str, float]  # by cell
    errors_m: Floats  # (cells, seeds, photos), after the final epoch, against the label
    spot: NDArray[np.int64]
    photos: list[str]


@dataclass(frozen=True)
class Options:
    """What differs between fake studies."""

    axes: Mapping[str, Sequence[Any]] = field(default_factory=lambda: TABLE1)
    seeds: Sequence[int] = (0, 1, 2)
    n_val: int = 60
    n_spots: int = 45
    epochs: int = 15
    effect: Callable[[Params], float] = true_rmse_m
    noise: Noise = field(default_factory=Noise)
    # (cell, seed) -> (state, reason); everything else is finished
    states: Mapping[tuple[str, int], tuple[str, str]] = field(default_factory=dict)
    kind: str = "grid"
    synthetic: bool = True
    name: Callable[[Params], str] = lambda _: ""
    weights: Callable[[Params], str] = lambda _: "imagenet"  # weights.resolved of a cell
    commit: Callable[[Params], str] = lambda _: "0123abc"
    fingerprint: Callable[[Params], str] = lambda _: "00112233aabbccdd"
    split_kind: str = "random"
    folds: int = 0  # split.folds; 0: as many as the axes have
    n_test: int = 0  # photos of predictions_test.csv, written for the first seed of the lowest cell
    base: Mapping[str, Any] = field(default_factory=dict)
    reference: Mapping[str, Any] = field(default_factory=dict)
    figures: Sequence[Mapping[str, Any]] = ()
    seed: int = 0


def cell_name(params: Params) -> str:
    """The engine's name of a cell.

    >>> cell_name({"lr": 0.001, "batch_size": 8})
    'lr=0.001,batch_size=8'
    """
    return ",".join(f"{key}={value}" for key, value in params.items()) or BASE_CELL


def make_study(root: Path, name: str = "table1", options: Options | None = None) -> FakeStudy:
    """Write `root/name/` with study.json and one folder a run that has begun."""
    options = options or Options()
    rng = np.random.default_rng(options.seed)
    cells = [
        dict(zip(options.axes, values, strict=True))
        for values in itertools.product(*options.axes.values())
    ]
    true = {cell_name(params): options.effect(params) for params in cells}
    parts = [
        _part(rng, fold, list(true.values()), options)
        for fold in options.axes.get("split.fold", [0])
    ]
    photos, names, _, offsets = parts[0]
    entries = []
    lowest = int(np.argmin(np.sqrt(np.mean(np.sum(offsets**2, axis=3), axis=2)).mean(axis=1)))
    for i, params in enumerate(cells):
        for j, seed in enumerate(options.seeds):
            cell = cell_name(params)
            state, reason = options.states.get((cell, seed), ("finished", ""))
            run = run_id({"study": name, "fake": options.seed, "cell": cell, "seed": seed})
            writer = _RunWriter(root / name / run, name, params, seed, state, reason, options)
            _, _, known, own = parts[params.get("split.fold", 0)]
            value = writer.write(rng, known, own[i, j], with_test=(i, j) == (lowest, 0))
            entries.append(
                {
                    "cell": cell,
                    "name": options.name(params),
                    "params": params,
                    "seed": seed,
                    "run_id": run,
                    "path": f"{name}/{run}",
                    "state": state,
                    "reason": reason,
                    "value": value,
                    "epochs": writer.epochs,
                    "seconds": 13.7 * writer.epochs,
                    "attempts": 0 if state == "queued" else 1,
                    "linked": False,
                }
            )
    study = {
        "schema": 1,
        "study": name,
        "question": "Which learning rate, batch size and depth?",
        "kind": options.kind,
        "monitor": "val/rmse_m",
        "direction": "minimize",
        "axes": options.axes,
        "seeds": list(options.seeds),
        "pruner": "none",
        "base_config": {"max_epochs": options.epochs, "image_size": 224, **options.base},
        "select": {"by": "val/rmse_m", "aggregate": "mean"},
        "named_cells": {},
        "reference": options.reference,
        "figures": list(options.figures),
        "command": f"python -m img2gps.train -m sweeps={name}",
        "created_at": "2026-05-01T08:00:00+00:00",
        "updated_at": "2026-05-01T12:00:00+00:00",
        "cells": entries,
    }
    (root / name).mkdir(parents=True, exist_ok=True)
    (root / name / "study.json").write_text(json.dumps(study, indent=1))
    return FakeStudy(
        root / name,
        true,
        np.hypot(offsets[..., 0], offsets[..., 1]),
        photos.spot,
        names,
    )


def _part(
    rng: np.random.Generator, fold: int, rmse: Sequence[float], options: Options
) -> tuple[Photos, list[str], dict[str, Any], Floats]:
    """Validation photos of one fold: positions, names, columns and every run's errors on them."""
    photos = draw_photos(rng, options.n_val, options.n_spots)
    offsets = draw_errors(rng, photos, rmse, len(options.seeds), options.noise)
    first = fold * options.n_val
    names = [f"val/IMG_{first + number:04d}.jpg" for number in range(options.n_val)]
    columns = _photo_columns(rng, photos, names)
    columns["content"] = [f"{first + number:016x}" for number in range(options.n_val)]
    columns["spot"] = photos.spot + fold * options.n_spots
    return photos, names, columns, offsets


def _photo_columns(rng: np.random.Generator, photos: Photos, names: list[str]) -> dict[str, Any]:
    """Columns of predictions.csv that do not depend on the run."""
    n = len(names)
    lat, lon = geo.from_east_north_m(photos.east, photos.north, *CENTRE)
    noise = rng.normal(0, GPS_NOISE_M, (2, n))
    true_lat, true_lon = geo.from_east_north_m(
        photos.east + noise[0], photos.north + noise[1], *CENTRE
    )
    known = (rng.random(photos.spot.max() + 1) < 0.8)[photos.spot]
    return {
        "photo": names,
        "content": [f"{number:016x}" for number in range(n)],
        "lat_deg": lat,
        "lon_deg": lon,
        "mean_error_m": np.hypot(photos.east, photos.north),
        "spot": photos.spot,
        "known_spot": known.astype(int),
        "nearest_train_m": np.where(known, rng.exponential(2.0, n), 15 + rng.exponential(8.0, n)),
        "heading_deg": rng.uniform(0, 360, n),
        "taken_at": [
            f"2026-03-{1 + i % 9:02d}T{8 + i % 11:02d}:{i % 60:02d}:00-05:00" for i in range(n)
        ],
        "gps_error_m": rng.uniform(3.0, 8.0, n),
        "true_lat_deg": true_lat,
        "true_lon_deg": true_lon,
    }


PREDICTION_COLUMNS = (
    "photo,content,lat_deg,lon_deg,pred_lat_deg,pred_lon_deg,error_m,east_m,north_m,mean_error_m,"
    "spot,known_spot,nearest_train_m,heading_deg,taken_at,gps_error_m,true_lat_deg,true_lon_deg"
)


def _figures(error: Floats) -> dict[str, float]:
    """Metrics of one epoch from the errors in metres."""
    return {
        "val/rmse_m": float(np.sqrt(np.mean(error**2))),
        "val/mean_m": float(error.mean()),
        "val/median_m": float(np.median(error)),
        "val/p90_m": float(np.percentile(error, 90)),
        **{f"val/within_{m}m": float(np.mean(error <= m)) for m in (5, 10, 25, 50)},
    }


@dataclass
class _RunWriter:
    """Writes one run folder."""

    folder: Path
    study: str
    params: Params
    seed: int
    state: str
    reason: str
    options: Options

    @property
    def epochs(self) -> int:
        """Epochs that ran."""
        total = self.options.epochs
        if self.state == "finished":
            return total
        return 0 if self.state == "queued" else max(1, total // 3)

    def write(
        self, rng: np.random.Generator, known: Mapping[str, Any], offset: Floats, with_test: bool
    ) -> float | None:
        """All files of the run's state; the monitored value if there is one."""
        if self.state == "queued":
            return None
        self.folder.mkdir(parents=True, exist_ok=True)
        config = {
            "study": self.study,
            "seed": self.seed,
            "max_epochs": self.options.epochs,
            "split": {
                "kind": self.options.split_kind,
                "seed": 0,
                "folds": self.options.folds or len(self.options.axes.get("split.fold", [0])),
            },
            **self.params,
        }
        (self.folder / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False))
        error = np.hypot(offset[:, 0], offset[:, 1])
        history = self._history(rng, known, error)
        lines = [",".join(HISTORY_COLUMNS)]
        lines += [",".join(f"{row[key]:.10g}" for key in HISTORY_COLUMNS) for row in history]
        (self.folder / HISTORY).write_text("\n".join(lines).replace("nan", "") + "\n")
        value = None
        if self.state in ("finished", "pruned"):
            value = history[-1]["val/rmse_m"]
        if self.state == "finished":
            self._predictions(PREDICTIONS, known, offset)
            self._baselines(known)
            best = min(history, key=lambda row: row["val/rmse_m"])
            shrink = best["val/rmse_m"] / history[-1]["val/rmse_m"]
            self._predictions(PREDICTIONS_BEST, known, offset * shrink)
            if with_test and self.options.n_test:
                photos = draw_photos(rng, self.options.n_test, self.options.n_test // 2)
                names = [f"test/IMG_{number:04d}.jpg" for number in range(self.options.n_test)]
                rmse = [self.options.effect(self.params)]
                test = draw_errors(rng, photos, rmse, 1, self.options.noise)[0, 0]
                columns = _photo_columns(rng, photos, names)
                self._predictions(PREDICTIONS_TEST, columns, test)
        if self.state != "running":
            result = self._result(history, known)
            (self.folder / RESULT).write_text(json.dumps(_finite(result), indent=1))
        return value

    def _history(
        self, rng: np.random.Generator, known: Mapping[str, Any], error: Floats
    ) -> list[dict[str, float]]:
        """Curves that fall from the mean predictor to the run's final figures."""
        mean_error = known["mean_error_m"]
        total = self.options.epochs
        rows = []
        for epoch in range(1, self.epochs + 1):
            left = 0.0 if epoch == total else 0.6 ** (epoch - 1) + 0.04 * rng.normal()
            mixed = np.abs(left * mean_error + (1 - left) * error)
            if self.state == "diverged" and epoch == self.epochs:
                mixed = np.full_like(mixed, np.nan)
            rmse = float(np.sqrt(np.mean(mixed**2)))
            mse = (rmse / SPREAD_M) ** 2
            rows.append(
                {
                    "epoch": epoch,
                    "lr": float(self.params.get("lr", 0.001)) * 0.1 ** ((epoch - 1) // 5),
                    "train/mse": mse * 0.7**epoch,
                    "train/rmse_m": rmse * 0.85**epoch,
                    "val/mse": mse,
                    **_figures(mixed),
                    "seconds": 13.7 * epoch,
                }
            )
        return rows

    def _baselines(self, known: Mapping[str, Any]) -> None:
        """Errors of the mean predictor, made smaller, with the figures that `_result` has."""
        rows = ["content,knn_error_m,ridge_error_m"]
        for content, error in zip(known["content"], known["mean_error_m"], strict=True):
            rows.append(f"{content},{KNN * error:.17g},{RIDGE * error:.17g}")
        (self.folder / BASELINES).write_text("\n".join(rows) + "\n")

    def _predictions(self, file: str, known: Mapping[str, Any], offset: Floats) -> None:
        east, north = offset[:, 0], offset[:, 1]
        origin_east, origin_north = geo.to_east_north_m(known["lat_deg"], known["lon_deg"], *CENTRE)
        lat, lon = geo.from_east_north_m(origin_east + east, origin_north + north, *CENTRE)
        columns = {
            **known,
            "pred_lat_deg": lat,
            "pred_lon_deg": lon,
            "error_m": np.hypot(east, north),
            "east_m": east,
            "north_m": north,
        }
        if not self.options.synthetic:
            columns |= {"true_lat_deg": [""] * len(lat), "true_lon_deg": [""] * len(lat)}
        names = PREDICTION_COLUMNS.split(",")
        rows = zip(*(_texts(columns[name]) for name in names), strict=True)
        text = "\n".join([PREDICTION_COLUMNS, *(",".join(row) for row in rows)]) + "\n"
        (self.folder / file).write_text(text)

    def _result(self, history: list[dict[str, float]], known: Mapping[str, Any]) -> dict[str, Any]:
        options = self.options
        mean_rmse = float(np.sqrt(np.mean(np.square(known["mean_error_m"]))))
        final = history[-1]
        bad = self.state in ("diverged", "failed")
        best = min(history, key=lambda row: row["val/rmse_m"])
        model = str(self.params.get("model", "resnet18"))
        weights = options.weights(self.params)
        n = options.n_val
        return {
            "schema": 1,
            "run_id": self.folder.name,
            "study": self.study,
            "state": self.state,
            "reason": self.reason,
            "metrics": dict.fromkeys(final) if bad else final,
            "best": {"epoch": best["epoch"], "val/rmse_m": best["val/rmse_m"]},
            "mean_predictor/rmse_m": mean_rmse,
            "skill": None if bad else 1 - (final["val/rmse_m"] / mean_rmse) ** 2,
            "bias_east_m": 1.0,
            "bias_north_m": -2.0,
            "spread_ratio": 0.7,
            "converged_epoch": None if bad else 7,
            "data": {
                "name": "quad" if options.synthetic else "photos",
                "fingerprint": options.fingerprint(self.params),
                "synthetic": options.synthetic,
                "n": 681 + n + options.n_test,
                "n_train": 681,
                "n_val": n,
                "n_test": options.n_test,
                "n_left_out": 0,
                "image_size": 224,
            },
            "split": {
                "kind": options.split_kind,
                "seed": 0,
                "fold": self.params.get("split.fold", 0),
                "leakage": {
                    "nearest_train_median_m": 1.4,
                    "within_5m": 0.8,
                    "within_10m": 0.9,
                    "known_spots": float(np.mean(known["known_spot"])),
                },
            },
            "baselines": {
                "mean": {"val/rmse_m": mean_rmse},
                "knn": {"val/rmse_m": KNN * mean_rmse},
                "ridge": {"val/rmse_m": RIDGE * mean_rmse},
            },
            "swept": {
                "model": model,
                "depth": int("".join(filter(str.isdigit, model)) or 0),
                "lr": float(self.params.get("lr", 0.001)),
                "batch_size": int(self.params.get("batch_size", 16)),
                "seed": self.seed,
                "optimizer": self.params.get("optimizer", "adam"),
                "scheduler": self.params.get("scheduler", "step"),
                "augmentation": self.params.get("augmentation", "none"),
                "split": options.split_kind,
                "max_epochs": options.epochs,
                "image_size": 224,
                "n_train": 681,
            },
            "model": {"name": model, "parameters": 11177538, "flops": 3.6e9},
            "weights": {
                "requested": "imagenet",
                "resolved": weights,
                "reason": "no network" if weights == "random" else "",
                "sha256": "",
            },
            "cost": {
                "epochs": self.epochs,
                "seconds": 13.7 * self.epochs,
                "train_seconds": 12.0 * self.epochs,
                "peak_memory_mb": 1200.0,
            },
            "code": {"version": "0.1.0", "commit": options.commit(self.params), "dirty": False},
            "versions": {"python": "3.11.7", "torch": "2.14.1"},
            "hardware": {"cpu": "fake", "cores": 2, "gpu": ""},
            "precision": "fp32",
            "threads": 1,
            "seed": self.seed,
            "started_at": "2026-05-01T08:00:00+00:00",
            "finished_at": "2026-05-01T08:03:25+00:00",
        }


def _texts(values: Sequence[Any] | NDArray[Any]) -> list[str]:
    items = values.tolist() if isinstance(values, np.ndarray) else list(values)
    return [repr(item) if isinstance(item, float) else str(item) for item in items]
