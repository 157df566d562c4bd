"""Whether the validation photos lie on the ground like all photos, in numbers and in words."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd

from img2gps.config.schema import SplitConfig, SplitKind
from img2gps.core import geo
from img2gps.core.counted import counted
from img2gps.photos.split import Split
from img2gps.photos.spots import FEW_SPOTS, spots

log = logging.getLogger(__name__)

ALIKE = (0.8, 1.25)  # times the spread of all photos
WHOLE_GROUPS = (SplitKind.place, SplitKind.time)  # kinds whose validation part may lie in a corner


@dataclass(frozen=True)
class Resemblance:
    """How the validation photos are spread.

    Attributes:
        whole_m: root mean squared distance of all photos from their mean position.
        spread_m: the same of the validation photos, from their own mean position.
        mean_predictor_m: RMSE of the mean predictor on the validation photos.
        n_spots: spots of the validation photos.
    """

    whole_m: float
    spread_m: float
    mean_predictor_m: float
    n_spots: int

    @property
    def is_alike(self) -> bool:
        """Whether spread and mean predictor are near those of all photos."""
        low, high = (times * self.whole_m for times in ALIKE)
        return low <= self.spread_m <= high and low <= self.mean_predictor_m <= high

    def line(self) -> str:
        """Return the figures as one line."""
        return (
            f"validation photos spread over {self.spread_m:.1f} m, all photos over "
            f"{self.whole_m:.1f} m; the mean predictor gets {self.mean_predictor_m:.1f} m on "
            "validation"
        )

    def warnings(self, config: SplitConfig) -> list[str]:
        """Return what is wrong with the validation part, each with a remedy."""
        kind = config.kind
        found = []
        if kind in WHOLE_GROUPS and not self.is_alike:
            remedies = ["another split.seed", f"split={_FOLDS[kind]}, which validates every photo"]
            if kind is SplitKind.place and config.rule == 1:
                remedies.insert(0, "split.rule=2")
            found.append(
                f"split={kind}: the validation photos are not spread like all photos, so errors on "
                f"them say little about the whole ground; use {' or '.join(remedies)}"
            )
        if kind is SplitKind.place and self.n_spots < FEW_SPOTS:
            found.append(
                f"split=place: validation has {counted(self.n_spots, 'spot')}, and intervals from "
                f"fewer than {FEW_SPOTS} are unreliable; use split=place_kfold, which validates "
                "every spot, or raise split.n_val"
            )
        return found


_FOLDS = {SplitKind.place: "place_kfold", SplitKind.time: "kfold"}


def resemblance(manifest: pd.DataFrame, split: Split) -> Resemblance | None:
    """Return how the validation photos of a split are spread; None if no photo validates."""
    if not len(split.val):
        return None
    lat, lon = manifest["lat_deg"].to_numpy(np.float64), manifest["lon_deg"].to_numpy(np.float64)
    val = lat[split.val], lon[split.val]
    spot = spots(lat, lon, manifest["gps_error_m"])
    return Resemblance(
        whole_m=geo.rmse_m(lat, lon, *geo.mean_position(lat, lon)),
        spread_m=geo.rmse_m(*val, *geo.mean_position(*val)),
        mean_predictor_m=geo.rmse_m(*val, *geo.mean_position(lat[split.train], lon[split.train])),
        n_spots=len(np.unique(spot[split.val])),
    )


def log_resemblance(manifest: pd.DataFrame, split: Split, config: SplitConfig) -> None:
    """Log how the validation photos are spread, and warn if they are not like all photos."""
    found = resemblance(manifest, split)
    if found is None:
        return
    log.info("%s", found.line())
    for warning in found.warnings(config):
        log.warning("%s", warning)
