"""Which photos train, validate and test, and how near to each other the parts are.

| kind | a validation photo is one of | answers |
|---|---|---|
| `random` | photos at random, the study's way | known spots: the places were seen in training |
| `place` | whole blocks of ground, with a buffer | new spots |
| `time` | whole sessions | another day on the same ground |
| `kfold`, `place_kfold` | the same by photos or by blocks, fold `fold` of `folds` | as above |

Everything is ranked by a hash of its content (photos), name (sessions) or place (blocks) and the
seed, never by its row: other names or another order change nothing, and photos that are added
move few others. Photos with equal pixels never lie on two sides.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from img2gps.core import geo
from img2gps.core.errors import BadInput

KINDS = ("random", "place", "time", "kfold", "place_kfold")
MIN_SPOT_M = 10.0  # two phones' positions of one place differ by this much under open sky
BUFFERS_PER_BLOCK = 3  # a narrower block would lose more photos to its buffer than it validates
BLOCKS_PER_SIDE = 16  # of the ground that the photos cover, at most
POOL = 4
FITTED_GROUPS = 20  # of the largest size: what is left to fill when groups are picked by size
ROUND_LENGTHS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0)  # so that one photo more moves no block

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
Metres = NDArray[np.float64]


@dataclass(frozen=True)
class SplitConfig:
    """How photos are divided. `n_val` and `n_test` are photos, or a fraction of all below 1."""

    kind: str = "random"
    seed: int = 0
    n_val: float = 60  # not read by the k-fold kinds: the fold decides
    n_test: float = 0  # whole blocks, chosen first; the same for every kind and every n_val
    n_train: int | None = None  # the first photos of the training rank; None = all of them
    fold: int = 0
    folds: int = 5
    buffer_m: float | None = None  # None = `spot_radius_m`
    block_m: float | None = None  # None = from the buffer and the ground that the photos cover


@dataclass(frozen=True, eq=False)
class Split:
    """Manifest rows of each part, ascending and disjoint.

    `left_out` are rows that no part may have: in a buffer, a copy of a validation or test photo,
    or without a session in a `time` split. Training photos beyond `n_train` are in no part.
    """

    train: Rows
    val: Rows
    test: Rows
    left_out: Rows
    known_spot: Mask  # per validation photo: a training photo stands within `spot_radius_m`
    spot_radius_m: float
    buffer_m: float | None  # as used; None where no blocks were made
    block_m: float | None


def make_split(manifest: pd.DataFrame, config: SplitConfig) -> Split:
    """Divide the photos of a manifest (columns `content, lat_deg, lon_deg, gps_error_m, session`).

    The test part is chosen before everything else, then validation; training is what remains.
    Blocks and sessions are taken whole, so that `n_val` and `n_test` are then met as nearly as
    they allow.

    Raises:
        BadInput: a value that these photos make impossible; the message names key and remedy.
    """
    photos = _Photos(manifest)
    _check(config, photos.n)
    uses_blocks = config.kind.startswith("place") or config.n_test > 0
    buffer_m, block_m = _lengths(photos, config) if uses_blocks else (0.0, 0.0)

    test = np.zeros(photos.n, dtype=bool)
    if config.n_test > 0:
        blocks = photos.blocks(block_m, config.seed)
        target = _count("n_test", config.n_test, photos.n)
        test = _take(blocks, "test block", config.seed, target, f"split.n_test={config.n_test}")
    free = ~test & ~photos.near(test, buffer_m) & ~photos.copies_of(test)

    val = _validation(photos, free, config, block_m)
    train = free & ~val & ~photos.copies_of(val)
    if config.kind.startswith("place"):
        train &= ~photos.near(val, buffer_m)
    if config.kind == "time":
        train &= photos.session != ""
    if not train.any():
        raise BadInput(
            f"split.kind={config.kind}: {int(val.sum())} of {photos.n} photos validate and none is "
            f"left to train on; {_REMEDY[config.kind]}"
        )
    left_out = ~(test | val | train)
    train_rows = _first(photos, train, config.n_train, config.seed)
    val_rows = np.flatnonzero(val)
    radius_m = spot_radius_m(photos.gps_error_m)
    return Split(
        train=train_rows,
        val=val_rows,
        test=np.flatnonzero(test),
        left_out=np.flatnonzero(left_out),
        known_spot=photos.nearest_m(val_rows, train_rows) <= radius_m,
        spot_radius_m=radius_m,
        buffer_m=buffer_m if uses_blocks else None,
        block_m=block_m if uses_blocks else None,
    )


def spot_radius_m(gps_error_m: ArrayLike) -> float:
    """Labels nearer than this may be of one place: the median stated error, at least 10 m."""
    noise = _median_error_m(gps_error_m)
    return max(MIN_SPOT_M, noise or 0.0)


def spots(lat: ArrayLike, lon: ArrayLike, gps_error_m: ArrayLike) -> Rows:
    """The spot of each photo, numbered from the south: the unit that intervals resample.

    Greedy leader clustering: photos lead in the order of how many others stand within
    `spot_radius_m` of them, as long as no leader does; then each photo joins the nearest leader.
    So leaders are further apart than the labels' error, no photo is further than that from its
    leader, chains do not grow (which rules out single linkage), and neither the order of the photos
    nor a copy of the ground elsewhere matters. n log n for photos spread over their ground.
    """
    lats, lons = np.asarray(lat, dtype=np.float64), np.asarray(lon, dtype=np.float64)
    if lats.size == 0:
        return np.empty(0, dtype=np.int64)
    radius_m = spot_radius_m(gps_error_m)
    points = _points(lats, lons)
    tree = cKDTree(points)
    crowd = tree.query_ball_point(points, radius_m, return_length=True)
    free = np.ones(len(points), dtype=bool)
    leaders = []
    for row in np.lexsort((lons, lats, -np.asarray(crowd))):
        if free[row]:
            leaders.append(row)
            free[tree.query_ball_point(points[row], radius_m)] = False
    leading = np.array(leaders)
    leading = leading[np.lexsort((lons[leading], lats[leading]))]
    _, spot = cKDTree(points[leading]).query(points)
    return np.asarray(spot, dtype=np.int64)


def nearest_train_m(manifest: pd.DataFrame, split: Split, part: str = "val") -> Metres:
    """Metres from each photo of a part (`val` or `test`) to the nearest training photo."""
    return _Photos(manifest).nearest_m(getattr(split, part), split.train)


def known_spot(manifest: pd.DataFrame, split: Split, part: str = "val") -> Mask:
    """Per photo of a part: whether a training photo stands within the spot radius."""
    return nearest_train_m(manifest, split, part) <= split.spot_radius_m


def leakage(manifest: pd.DataFrame, split: Split) -> dict[str, float]:
    """How near training comes to validation; shares are of the validation photos."""
    nearest = nearest_train_m(manifest, split)
    return {
        "nearest_train_median_m": float(np.median(nearest)),
        "within_5m": float(np.mean(nearest <= 5)),
        "within_10m": float(np.mean(nearest <= 10)),
        "known_spots": float(np.mean(split.known_spot)),
    }


def _content(manifest: pd.DataFrame) -> pd.Series[str]:
    """One name a photo, shared by its copies, that does not change with the image size.

    The digest of the original file, and of several with the same pixels the first one.
    """
    content = manifest["content"].astype(str).reset_index(drop=True)
    if "original" not in manifest:
        return content
    original = manifest["original"].astype(str).reset_index(drop=True)
    return original.groupby(content).transform("min")


class _Photos:
    """What a split reads of a manifest, as arrays, with distances between sets of photos."""

    def __init__(self, manifest: pd.DataFrame) -> None:
        self.n = len(manifest)
        self.lat = manifest["lat_deg"].to_numpy(np.float64)
        self.lon = manifest["lon_deg"].to_numpy(np.float64)
        self.gps_error_m = manifest["gps_error_m"].to_numpy(np.float64)
        self.content = _content(manifest)
        self.session = manifest["session"].fillna("").astype(str).to_numpy(object)
        self.points = _points(self.lat, self.lon)

    def nearest_m(self, rows: Rows, others: Rows) -> Metres:
        """Great-circle metres from each row to the nearest of the others."""
        _, nearest = cKDTree(self.points[others]).query(self.points[rows])
        found = others[nearest]
        return geo.distance_m(self.lat[rows], self.lon[rows], self.lat[found], self.lon[found])

    def near(self, part: Mask, metres: float) -> Mask:
        """Photos within so many metres of a part, its own among them."""
        if not part.any():
            return part
        return self.nearest_m(np.arange(self.n), np.flatnonzero(part)) <= metres

    def copies_of(self, part: Mask) -> Mask:
        """Photos with the pixels of a photo in a part, its own among them."""
        return self.content.isin(self.content[part]).to_numpy()

    def blocks(self, side_m: float, seed: int) -> NDArray[np.object_]:
        """The name of each photo's block: a cell of a grid over the globe that the seed shifts.

        The grid is laid over the globe and not over these photos, so that more photos move no
        border. Rows are bands of latitude, each divided at the length of its own parallel.
        """
        shift = np.random.default_rng([seed, 0x6219]).random(2)
        metres = np.radians(self.lat) * geo.EARTH_RADIUS_M
        row = np.floor(metres / side_m + shift[0])
        parallel = np.cos((row + 0.5 - shift[0]) * side_m / geo.EARTH_RADIUS_M)
        east = np.radians(self.lon) * geo.EARTH_RADIUS_M * parallel
        column = np.floor(east / side_m + shift[1])
        names = [f"{r:.0f} {c:.0f}" for r, c in zip(row, column, strict=True)]
        return np.array(names, dtype=object)


_REMEDY = {
    "random": "lower split.n_val",
    "place": "lower split.n_val, split.buffer_m or split.block_m",
    "time": "lower split.n_val",
    "kfold": "raise split.folds",
    "place_kfold": "raise split.folds, or lower split.buffer_m or split.block_m",
}


def _validation(photos: _Photos, free: Mask, config: SplitConfig, block_m: float) -> Mask:
    """Validation photos among the free ones."""
    val = np.zeros(photos.n, dtype=bool)
    match config.kind:
        case "random" | "kfold":
            groups, salt = photos.content.to_numpy(object), "photo"
        case "time":
            groups, salt = photos.session, "session"
            free = free & (groups != "")
            sessions = len(set(groups[free]))
            if sessions < 2:
                found = "only one session" if sessions else "no photo with a time"
                raise BadInput(
                    f"split.kind=time: {found} among {photos.n} photos; use split=random or "
                    "split=place"
                )
        case _:
            groups, salt = photos.blocks(block_m, config.seed), "block"
            if len(set(groups[free])) < 2:
                chosen = "null" if config.block_m is None else f"{config.block_m:g}"
                raise BadInput(
                    f"split.block_m={chosen}: all photos lie in one block of {block_m:g} m; "
                    "lower it or split.buffer_m"
                )
    if config.kind.endswith("kfold"):
        val[free] = _fold(groups[free], salt, config)
        return val
    target = _count("n_val", config.n_val, photos.n)
    key = f"split.n_val={config.n_val}"
    if target >= free.sum():
        raise BadInput(
            f"{key}: only {int(free.sum())} photos are there to train and validate, and some must "
            "train; lower it or add photos"
        )
    val[free] = _take(groups[free], salt, config.seed, target, key)
    return val


def _take(groups: NDArray[np.object_], salt: str, seed: int, target: int, key: str) -> Mask:
    """Photos of whole groups, first in the order of their hashes, as near to `target` as they sum.

    Blocks and sessions come from the first ones that hold `POOL` times the target: if all of them
    could be picked to fit, the one that fits best would be picked whatever the seed.
    """
    names, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = _rank(names, salt, seed)
    order = order[sizes[order] < 2 * target]  # with any other, none at all would be nearer
    if not order.size:
        noun = {"photo": "set of equal photos"}.get(salt, salt)
        raise BadInput(
            f"{key}: the smallest {noun} has {sizes.min()} photos; raise it to {sizes.min()}"
            + (" or lower split.block_m" if "block" in salt else "")
        )
    total = np.cumsum(sizes[order])
    if salt != "photo":
        order = order[: np.searchsorted(total, POOL * target) + 1]
    # Far from the target every group may come in; only the last ones are picked by size.
    head = int(np.searchsorted(total, target - FITTED_GROUPS * sizes[order].max(), side="right"))
    gap = target - int(total[head - 1]) if head else target
    taken = np.zeros(len(names), dtype=bool)
    taken[order[:head]] = True
    taken[order[head:]] = _nearest_sum(sizes[order[head:]].tolist(), gap)
    return np.asarray(taken[group])


def _nearest_sum(sizes: list[int], target: int) -> list[bool]:
    """Which sizes to take so that their sum is as near to `target` as any; early ones first.

    Subset sum by bit sets: bit s of `reach[i]` tells whether some of `sizes[i:]` add up to s.
    """
    below = (1 << 2 * target) - 1  # a sum of 2 x target is no nearer than none at all
    reach = [1]
    for size in reversed(sizes):
        reach.append((reach[-1] | reach[-1] << size) & below)
    reach.reverse()
    best = min(
        (s for s in range(2 * target) if reach[0] >> s & 1), key=lambda s: (abs(s - target), s)
    )
    taken = []
    for i, size in enumerate(sizes):
        take = size <= best and bool(reach[i + 1] >> (best - size) & 1)
        taken.append(take)
        best -= size if take else 0
    return taken


def _fold(groups: NDArray[np.object_], salt: str, config: SplitConfig) -> Mask:
    """Photos of one fold: equal stretches of the ranked photos, groups kept whole."""
    names, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = _rank(names, salt, config.seed)
    middle = np.empty(len(names))
    middle[order] = np.cumsum(sizes[order]) - sizes[order] / 2
    fold = np.floor(middle * config.folds / len(groups)).astype(int)
    empty = config.folds - len(set(fold.tolist()))
    if empty:
        raise BadInput(
            f"split.folds={config.folds}: {len(names)} {salt}s leave {empty} folds empty; lower it"
            + (" or split.block_m" if salt == "block" else "")
        )
    return np.asarray(fold[group] == config.fold)


def _first(photos: _Photos, train: Mask, n_train: int | None, seed: int) -> Rows:
    """The first `n_train` training photos by rank: fewer are nested in more."""
    rows = np.flatnonzero(train)
    if n_train is None:
        return rows
    if n_train > len(rows):
        raise BadInput(
            f"split.n_train={n_train}: only {len(rows)} training photos; lower it, or null for all"
        )
    return np.sort(rows[_rank(photos.content.iloc[rows], "photo", seed)[:n_train]])


def _rank(names: Iterable[str], salt: str, seed: int) -> Rows:
    """Positions of the names in the order of their hashes; equal names keep theirs."""
    digests = [
        hashlib.blake2b(f"{salt} {seed} {name}".encode(), digest_size=16).digest() for name in names
    ]
    return np.array(sorted(range(len(digests)), key=digests.__getitem__), dtype=np.int64)


def _lengths(photos: _Photos, config: SplitConfig) -> tuple[float, float]:
    """Width of the buffer and side of a block, in metres."""
    noise = _median_error_m(photos.gps_error_m)
    buffer_m = spot_radius_m(photos.gps_error_m) if config.buffer_m is None else config.buffer_m
    if noise is not None and buffer_m < noise:
        raise BadInput(
            f"split.buffer_m={buffer_m:g}: below the labels' own error (median gps_error_m "
            f"{noise:.3g} m), so places would not differ; raise it, or null for the default"
        )
    if config.block_m is not None:
        return buffer_m, config.block_m
    east, north = geo.to_east_north_m(
        photos.lat, photos.lon, *geo.mean_position(photos.lat, photos.lon)
    )
    # The middle 90 %: one photo far away is no reason for large blocks.
    ground_m = max(float(np.subtract(*np.quantile(axis, [0.95, 0.05]))) for axis in (east, north))
    wanted = max(BUFFERS_PER_BLOCK * (buffer_m or MIN_SPOT_M), ground_m / BLOCKS_PER_SIDE)
    power = 10.0 ** math.floor(math.log10(wanted))
    return buffer_m, next(power * r for r in ROUND_LENGTHS if power * r >= wanted * (1 - 1e-12))


def _check(config: SplitConfig, n: int) -> None:
    """Values that no data set, or none of this size, makes possible."""
    if config.kind not in KINDS:
        raise BadInput(f"split.kind={config.kind}: unknown; give one of {', '.join(KINDS)}")
    if n < 2:
        raise BadInput(f"split.kind={config.kind}: {n} photos cannot be divided; add photos")
    if config.seed < 0:
        raise BadInput(f"split.seed={config.seed}: below 0; give 0 or more")
    for key in ("buffer_m", "block_m"):
        value = getattr(config, key)
        least = "0 or more" if key == "buffer_m" else "more than 0"
        if value is not None and not (0 <= value < math.inf and (value or key == "buffer_m")):
            raise BadInput(f"split.{key}={value}: not a length in metres; give {least}, or null")
    if config.n_train is not None and config.n_train < 1:
        raise BadInput(f"split.n_train={config.n_train}: below 1; give 1 or more, or null for all")
    n_test = _count("n_test", config.n_test, n) if config.n_test else 0
    if config.kind.endswith("kfold"):
        if not 2 <= config.folds <= n:
            raise BadInput(f"split.folds={config.folds}: {n} photos need 2 to {n} folds")
        if not 0 <= config.fold < config.folds:
            raise BadInput(f"split.fold={config.fold}: no such fold; give 0 to {config.folds - 1}")
    elif _count("n_val", config.n_val, n) + n_test >= n:
        parts = "it" if not n_test else "it or split.n_test"
        raise BadInput(
            f"split.n_val={config.n_val}: nothing is left of {n} photos to train on; lower {parts}"
        )


def _count(key: str, value: float, n: int) -> int:
    """Photos that a count, or a fraction below 1 of all photos, asks for."""
    possible = not isinstance(value, bool) and 0 < value < math.inf
    if not possible or (value >= 1 and value != int(value)):
        raise BadInput(
            f"split.{key}={value}: give a count of photos, or a fraction between 0 and 1"
        )
    count = int(value) if value >= 1 else round(value * n)
    if not 1 <= count < n:
        raise BadInput(
            f"split.{key}={value}: {count} of {n} photos; give a count from 1 to {n - 1} or a "
            "fraction that comes to one"
        )
    return count


def _median_error_m(gps_error_m: ArrayLike) -> float | None:
    """Median of the stated errors; None where no photo states one."""
    errors = np.asarray(gps_error_m, dtype=np.float64)
    stated = errors[np.isfinite(errors) & (errors > 0)]
    return float(np.median(stated)) if stated.size else None


def _points(lat: Metres, lon: Metres) -> Metres:
    """Points (n, 3) on the sphere in metres: chords rank as great circles do, everywhere."""
    phi, lam = np.radians(lat), np.radians(lon)
    unit = np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)
    return np.asarray(geo.EARTH_RADIUS_M * unit)
