"""Errors in metres: pure functions of arrays, and a torchmetrics state that collects them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from img2gps.core.errors import BadInput
from img2gps.core.geo import Floats, distance_m, to_east_north_m
from img2gps.training.team import Team

WITHIN_M = (5, 10, 25, 50)
SETTLED = 0.02  # share of the final RMSE within which a curve has converged

Summary = dict[str, float]
ExtraMetric = Callable[[Floats, Floats, Floats, Floats], float]


def summarise(errors_m: NDArray[np.float64]) -> Summary:
    """Return RMSE, mean, median and 90th percentile in metres, and shares within 5 to 50 m.

    >>> summarise(np.array([3.0, 4.0]))["rmse_m"]
    3.5355339059327378
    """
    out = {
        "rmse_m": float(np.sqrt(np.mean(errors_m**2))),
        "mean_m": float(np.mean(errors_m)),
        "median_m": float(np.median(errors_m)),
        "p90_m": float(np.percentile(errors_m, 90)),
    }
    out.update({f"within_{m}m": float(np.mean(errors_m <= m)) for m in WITHIN_M})
    return out


def bias_and_spread(lat: Floats, lon: Floats, pred_lat: Floats, pred_lon: Floats) -> Summary:
    """Return the bias of predictions and how widely they spread.

    `bias_east_m` and `bias_north_m` are the mean of predicted minus true. `spread_ratio` is the
    root of the total variance of the predictions over that of the truth: 0 for a constant answer,
    1 for the truth.
    """
    lat0, lon0 = float(lat.mean()), float(lon[0])
    east, north = to_east_north_m(lat, lon, lat0, lon0)
    pred_east, pred_north = to_east_north_m(pred_lat, pred_lon, lat0, lon0)
    true_var = float(east.var() + north.var())
    pred_var = float(pred_east.var() + pred_north.var())
    return {
        "bias_east_m": float((pred_east - east).mean()),
        "bias_north_m": float((pred_north - north).mean()),
        "spread_ratio": float(np.sqrt(pred_var / true_var)) if true_var > 0 else float("nan"),
    }


def converged_epoch(rmse_by_epoch: list[float]) -> int | None:
    """Return the first epoch from which on the validation RMSE stays within 2 % of its end.

    >>> converged_epoch([90.0, 61.0, 70.0, 60.5, 60.0])
    4
    """
    if not rmse_by_epoch or math.isnan(rmse_by_epoch[-1]):
        return None
    final = rmse_by_epoch[-1]
    epoch = len(rmse_by_epoch)
    while epoch > 1 and abs(rmse_by_epoch[epoch - 2] - final) <= SETTLED * final:
        epoch -= 1
    return epoch


class PositionErrors(Metric):
    """Collects labels and predictions of an epoch (degrees, float64) and summarises them.

    `extra` holds a user's own functions of (lat, lon, pred_lat, pred_lon), by name.
    """

    full_state_update = False
    rows: list[Tensor]
    label: list[Tensor]
    predicted: list[Tensor]

    def __init__(self, extra: Mapping[str, ExtraMetric] | None = None) -> None:
        super().__init__(sync_on_compute=False)  # see `collect`
        self.extra = dict(extra or {})
        for name in ("rows", "label", "predicted"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, rows: Tensor, label: Tensor, predicted: Tensor) -> None:
        """Add photos: manifest rows (n,), label and prediction (n, 2) in degrees."""
        self.rows.append(rows)
        self.label.append(label)
        self.predicted.append(predicted)

    def arrays(self) -> tuple[NDArray[np.int64], Floats, Floats]:
        """Return rows, labels and predictions so far, ordered by row."""
        if not self.rows:
            return np.empty(0, np.int64), np.empty((0, 2)), np.empty((0, 2))
        rows, label, predicted = (
            dim_zero_cat(state).detach().cpu().numpy()
            for state in (self.rows, self.label, self.predicted)
        )
        order = np.argsort(rows, kind="stable")
        return rows[order], label[order], predicted[order]

    def summary(self) -> Summary:
        """Return what `compute` does; NaN where there are no photos."""
        if not self.rows:
            return dict.fromkeys([*summarise(np.zeros(1)), *self.extra], math.nan)
        found: Summary = self.compute()
        return found

    def compute(self) -> Summary:
        """Return the summary in metres and the extra metrics."""
        _, label, predicted = self.arrays()
        columns = label[:, 0], label[:, 1], predicted[:, 0], predicted[:, 1]
        out = summarise(distance_m(*columns))
        out.update({name: float(metric(*columns)) for name, metric in self.extra.items()})
        return out


def collect(metric: Metric, names: Sequence[str], team: Team) -> None:
    """Give a metric what all processes of the run have in its lists of these names.

    torchmetrics would do so for as long as it computes; predictions are read after that, too.
    """
    if team.size == 1:
        return
    for name in names:
        own = getattr(metric, name)
        parts = team.gather(dim_zero_cat(own).detach().cpu() if own else None)
        setattr(metric, name, [part for part in parts if part is not None])


def load_extra(nodes: Mapping[str, Any]) -> dict[str, ExtraMetric]:
    """Return a user's own metrics, given as `metrics: {NAME: {_target_: package.function}}`."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    loaded: dict[str, ExtraMetric] = {}
    for name, node in nodes.items():
        try:
            loaded[name] = instantiate({**node, "_partial_": True})
        except (InstantiationException, TypeError) as error:
            reason = " ".join(str(error.__cause__ or error).split())
            raise BadInput(f"metrics.{name}: cannot be made ({reason}); give _target_") from error
    return loaded


def as_degrees(lat: Floats, lon: Floats) -> Tensor:
    """Return a float64 tensor (n, 2) of degrees."""
    return torch.from_numpy(np.stack([lat, lon], axis=-1))
