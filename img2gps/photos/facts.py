"""Describe a data set before training: its extent, spots, sessions, duplicates and splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from img2gps.config.schema import SPLIT_RULES, SplitConfig, SplitKind
from img2gps.core import geo
from img2gps.core.errors import BadInput
from img2gps.photos import split, spots
from img2gps.photos.dataset import Dataset
from img2gps.photos.resemblance import resemblance
from img2gps.photos.spots import extent_m
from img2gps.photos.suspects import suspects

# Validation photos of the splits: a fixed number, or a share where a data set is small.
STUDY_N_VAL, SMALL_SET, SMALL_SHARE = 60, 300, 0.2
KINDS = (SplitKind.random, SplitKind.place, SplitKind.time)


@dataclass(frozen=True)
class Leak:
    """The distances between the parts of one kind of split, or why that split is impossible."""

    kind: str
    impossible: str = ""
    n_train: int = 0
    n_val: int = 0
    n_left_out: int = 0
    nearest_m: NDArray[np.float64] = field(
        default_factory=lambda: np.empty(0)
    )  # per validation photo
    nearest_median_m: float = 0.0
    within_5m: float = 0.0
    within_10m: float = 0.0
    known_spots: float = 0.0
    mean_rmse_m: float = 0.0  # of the mean predictor on the validation photos
    spread_m: float = 0.0  # root mean squared distance of validation photos from their mean
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Duplicate:
    """A group of photos with the same pixels, and the distance between their labels."""

    photos: Sequence[str]
    apart_m: float


@dataclass(frozen=True)
class RejectGroup:
    """The files that were left out for one reason."""

    reason: str
    remedy: str
    files: Sequence[str]


@dataclass(frozen=True)
class Facts:
    """Facts about a data set that are known before anything is trained on it."""

    n: int
    spots: NDArray[np.int64]  # per manifest row
    spot_radius_m: float
    far: NDArray[np.bool_]  # per manifest row
    extent_m: tuple[float, float]  # east, north; without far outliers
    mean_rmse_m: float
    sessions: pd.DataFrame  # session, photos, minutes
    leaks: Sequence[Leak]
    duplicates: Sequence[Duplicate]
    near_copies: Sequence[Duplicate]  # without those whose photos all have the same pixels
    suspects: Mapping[str, Sequence[str]]  # photo to what is wrong with its label
    same_label: int  # photos with exactly the position of a photo with other pixels
    rejects: Sequence[RejectGroup]


def collect(dataset: Dataset) -> Facts:
    """Return the facts of a data set, computed from its manifest and its rejects."""
    manifest = dataset.manifest
    lat, lon = manifest["lat_deg"].to_numpy(), manifest["lon_deg"].to_numpy()
    far = manifest["photo"].isin(list(dataset.summary["far_m"])).to_numpy()
    near = ~far if not far.all() else np.ones(len(lat), dtype=bool)
    lat0, lon0 = geo.mean_position(lat[near], lon[near])
    east, north = geo.to_east_north_m(lat[near], lon[near], lat0, lon0)
    all_lat0, all_lon0 = geo.mean_position(lat, lon)
    return Facts(
        n=len(manifest),
        spots=spots.spots(lat, lon, manifest["gps_error_m"]),
        spot_radius_m=spots.spot_radius_m(manifest["gps_error_m"]),
        far=far,
        extent_m=(float(np.ptp(east)), float(np.ptp(north))),
        mean_rmse_m=geo.rmse_m(lat, lon, np.array(all_lat0), np.array(all_lon0)),
        sessions=_sessions(manifest),
        leaks=[_leak(manifest, kind) for kind in KINDS],
        duplicates=_copies(manifest, "content"),
        near_copies=_copies(manifest[_looks_differ(manifest)], "group"),
        suspects=suspects(dataset),
        same_label=_same_label(manifest),
        rejects=_rejects(dataset.rejects),
    )


def n_val(n: int) -> float:
    """Return how many validation photos the splits here have: a number, or a share below 1."""
    return STUDY_N_VAL if n >= SMALL_SET else SMALL_SHARE


def _leak(manifest: pd.DataFrame, kind: SplitKind) -> Leak:
    wanted = n_val(len(manifest))
    if (
        kind is SplitKind.time
    ):  # a session is never divided, so one of them is the least that can validate
        photos = manifest.loc[manifest["session"] != "", "session"].value_counts()
        if len(photos) > 1:
            share = wanted if wanted >= 1 else round(wanted * len(manifest))
            wanted = max(share, int(photos.min()))
    try:
        config = SplitConfig(kind=kind, n_val=wanted, rule=SPLIT_RULES[-1])
        made = split.make_split(manifest, config)
    except BadInput as error:
        return Leak(kind, impossible=str(error))
    leakage = split.leakage(manifest, made)
    resembled = resemblance(manifest, made)
    assert resembled is not None
    return Leak(
        kind,
        n_train=len(made.train),
        n_val=len(made.val),
        n_left_out=len(made.left_out),
        nearest_m=split.nearest_train_m(manifest, made),
        nearest_median_m=leakage["nearest_train_median_m"],
        within_5m=leakage["within_5m"],
        within_10m=leakage["within_10m"],
        known_spots=leakage["known_spots"],
        mean_rmse_m=resembled.mean_predictor_m,
        spread_m=resembled.spread_m,
        warnings=resembled.warnings(config),
    )


def _sessions(manifest: pd.DataFrame) -> pd.DataFrame:
    known = manifest[manifest["session"] != ""]
    taken = pd.to_datetime(known["taken_at"].str[:19], errors="coerce")
    grouped = taken.groupby(known["session"])
    minutes = (grouped.max() - grouped.min()).dt.total_seconds() / 60
    table = pd.DataFrame({"photos": known.groupby("session").size(), "minutes": minutes})
    return table.reset_index()


def _looks_differ(manifest: pd.DataFrame) -> pd.Series[bool]:
    """Return which photos are in a group of near copies that has more than one picture."""
    pictures = manifest.groupby("group")["content"].transform("nunique")
    return (manifest["group"] != "") & (pictures > 1)


def _copies(manifest: pd.DataFrame, column: str) -> list[Duplicate]:
    """Return the photos that share a value of a column, those with the worst labels first."""
    found = []
    for _, group in manifest[manifest.duplicated(column, keep=False)].groupby(column):
        lat, lon = group["lat_deg"].to_numpy(), group["lon_deg"].to_numpy()
        found.append(Duplicate(group["photo"].tolist(), extent_m(lat, lon)))
    return sorted(found, key=lambda duplicate: -duplicate.apart_m)


def _same_label(manifest: pd.DataFrame) -> int:
    """Return how many photos have exactly the position of a photo with other pixels."""
    pictures = manifest.drop_duplicates("content")
    return int(pictures.duplicated(["lat_deg", "lon_deg"], keep=False).sum())


def _rejects(rejects: pd.DataFrame) -> list[RejectGroup]:
    groups = [
        RejectGroup(str(reason), str(group["remedy"].iloc[0]), group["file"].tolist())
        for reason, group in rejects.groupby("reason")
    ]
    return sorted(groups, key=lambda group: -len(group.files))
