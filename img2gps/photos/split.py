"""Which photos train, validate and test, and how near to each other the parts are.

| kind | a validation photo is one of | answers |
|---|---|---|
| `random` | photos at random, the study's way | known spots: the places were seen in training |
| `place` | whole blocks of ground, with a buffer | new spots |
| `time` | whole sessions | another day on the same ground |
| `kfold`, `place_kfold` | the same by photos or by blocks, fold `fold` of `folds` | as above |

Photos are ranked by a hash of their content, sessions by their name and blocks by their place, each
with the seed and never by row. So other file names or another order change nothing, and adding
photos moves few others between the parts of a random split. Photos with equal pixels are always on
one side, and near copies with `group_near_copies`.

How blocks are chosen has two rules (`split.rule`). Rule 1, that of the published studies, takes the
first ones by rank. Rule 2 makes them smaller and takes those that are spread over the ground like
all photos (see `spread`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from img2gps.config.schema import SplitConfig, SplitKind
from img2gps.core.errors import BadInput
from img2gps.photos.picking import Groups, Mask, Rows, rank
from img2gps.photos.placed import Metres, PlacedPhotos
from img2gps.photos.spots import MIN_SPOT_M, median_error_m, spot_radius_m

# By rule. Narrow blocks lose more photos to their buffers, but a part of many blocks resembles the
# whole ground better than one of few.
BUFFERS_PER_BLOCK = {1: 3, 2: 2}
BLOCKS_PER_SIDE = {1: 16, 2: 24}  # of the ground that the photos cover, at most
ROUND_LENGTHS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0)  # so that one photo more moves no block


@dataclass(frozen=True, eq=False)
class Split:
    """Manifest rows of each part, ascending and disjoint.

    `left_out` are rows that no part may have: photos in a buffer, copies of a validation or test
    photo, and photos without a session in a `time` split. Training photos beyond `n_train` are in
    no part.
    """

    train: Rows
    val: Rows
    test: Rows
    left_out: Rows
    known_spot: Mask  # per validation photo: a training photo stands within `spot_radius_m`
    spot_radius_m: float
    buffer_m: float | None  # as used; None if no blocks were made
    block_m: float | None


def make_split(manifest: pd.DataFrame, config: SplitConfig) -> Split:
    """Divide the photos of a manifest.

    Its columns are `content, lat_deg, lon_deg, gps_error_m, session`, and `original, group` for
    `group_near_copies`. The test part is chosen first, then validation; training is what remains.
    Blocks and sessions are taken whole, so `n_val` and `n_test` are then met only as nearly as
    these allow.

    Raises:
        BadInput: a value is impossible with these photos; the message names key and remedy.
    """
    photos = PlacedPhotos(manifest, config.group_near_copies)
    _check(config, photos.n)
    uses_blocks = config.kind.startswith("place") or config.n_test > 0
    buffer_m, block_m = _lengths(photos, config) if uses_blocks else (0.0, 0.0)

    test = np.zeros(photos.n, dtype=bool)
    if config.n_test > 0:
        blocks = Groups.of(photos.blocks(block_m, config.seed), "test block")
        test = _taken(photos, ~test, blocks, config, "n_test")
    free = ~test & ~photos.near(test, buffer_m) & ~photos.copies_of(test)

    val = _validation(photos, free, config, block_m)
    train = free & ~val & ~photos.copies_of(val)
    if config.kind.startswith("place"):
        train &= ~photos.near(val, buffer_m)
    if config.kind is SplitKind.time:
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


def nearest_train_m(manifest: pd.DataFrame, split: Split, part: str = "val") -> Metres:
    """Return metres from each photo of a part (`val` or `test`) to the nearest training photo."""
    return PlacedPhotos(manifest).nearest_m(getattr(split, part), split.train)


def known_spot(manifest: pd.DataFrame, split: Split, part: str = "val") -> Mask:
    """Return for each photo of a part whether a training photo is within the spot radius."""
    return nearest_train_m(manifest, split, part) <= split.spot_radius_m


def leakage(manifest: pd.DataFrame, split: Split) -> dict[str, float]:
    """Return how near training comes to validation; shares are of the validation photos."""
    if not len(split.val):
        return {}
    nearest = nearest_train_m(manifest, split)
    return {
        "nearest_train_median_m": float(np.median(nearest)),
        "within_5m": float(np.mean(nearest <= 5)),
        "within_10m": float(np.mean(nearest <= 10)),
        "known_spots": float(np.mean(split.known_spot)),
    }


_REMEDY = {
    "random": "lower split.n_val",
    "place": "lower split.n_val, split.buffer_m or split.block_m",
    "time": "lower split.n_val",
    "kfold": "raise split.folds",
    "place_kfold": "raise split.folds, or lower split.buffer_m or split.block_m",
}


def _validation(photos: PlacedPhotos, free: Mask, config: SplitConfig, block_m: float) -> Mask:
    """Choose the validation photos among the free ones."""
    val = np.zeros(photos.n, dtype=bool)
    if config.n_val == 0 and not config.kind.endswith("kfold"):
        return val  # every photo trains: for a study's final model
    match config.kind:
        case SplitKind.random | SplitKind.kfold:
            names, noun = photos.content.to_numpy(object), "photo"
        case SplitKind.time:
            names, noun = photos.session, "session"
            free = free & (names != "")
            sessions = len(set(names[free]))
            if sessions < 2:
                found = "only one session" if sessions else "no photo with a time"
                raise BadInput(
                    f"split.kind=time: {found} among {photos.n} photos; use split=random or "
                    "split=place"
                )
        case _:
            names, noun = photos.blocks(block_m, config.seed), "block"
            if len(set(names[free])) < 2:
                chosen = "null" if config.block_m is None else f"{config.block_m:g}"
                raise BadInput(
                    f"split.block_m={chosen}: all photos lie in one block of {block_m:g} m; "
                    "lower it or split.buffer_m"
                )
    groups = Groups.of(names[free], noun)
    if config.kind.endswith("kfold"):
        val[free] = _in_fold(photos, free, groups, config)
        return val
    if _count("n_val", config.n_val, photos.n) >= free.sum():
        raise BadInput(
            f"split.n_val={config.n_val:g}: only {int(free.sum())} photos are there to train and "
            "validate, and some must train; lower it or add photos"
        )
    val[free] = _taken(photos, free, groups, config, "n_val")
    return val


def _taken(
    photos: PlacedPhotos, free: Mask, groups: Groups, config: SplitConfig, count: str
) -> Mask:
    """Return which free photos are in the part of so many photos as `n_val` or `n_test` asks."""
    wanted = getattr(config, count)
    target, key = _count(count, wanted, photos.n), f"split.{count}={wanted:g}"
    if _is_spread(groups, config):
        taken = photos.layout().at(free).take(groups, config.seed, target, key)
    else:
        taken = groups.take(config.seed, target, key)
    return np.asarray(taken[groups.of_photo])


def _in_fold(photos: PlacedPhotos, free: Mask, groups: Groups, config: SplitConfig) -> Mask:
    """Return which free photos are in fold `split.fold`."""
    if _is_spread(groups, config):
        fold = photos.layout().at(free).folds(groups, config.seed, config.folds)
    else:
        fold = groups.folds(config.seed, config.folds)
    return np.asarray(fold[groups.of_photo] == config.fold)


def _is_spread(groups: Groups, config: SplitConfig) -> bool:
    """Whether the groups are blocks that the rule spreads over the ground."""
    return config.rule > 1 and "block" in groups.noun


def _first(photos: PlacedPhotos, train: Mask, n_train: int | None, seed: int) -> Rows:
    """Return the first `n_train` training photos by rank, so that fewer are nested in more."""
    rows = np.flatnonzero(train)
    if n_train is None:
        return rows
    if n_train > len(rows):
        raise BadInput(
            f"split.n_train={n_train}: only {len(rows)} training photos; lower it, or null for all"
        )
    return np.sort(rows[rank(photos.content.iloc[rows], "photo", seed)[:n_train]])


def _lengths(photos: PlacedPhotos, config: SplitConfig) -> tuple[float, float]:
    """Return the width of the buffer and the side of a block, in metres."""
    noise = median_error_m(photos.gps_error_m)
    buffer_m = spot_radius_m(photos.gps_error_m) if config.buffer_m is None else config.buffer_m
    if noise is not None and buffer_m < noise:
        raise BadInput(
            f"split.buffer_m={buffer_m:g}: below the labels' own error (median gps_error_m "
            f"{noise:.3g} m), so places would not differ; raise it, or null for the default"
        )
    if config.block_m is not None:
        return buffer_m, config.block_m
    # The middle 90 %, because one photo far away should not make blocks large.
    ground_m = max(
        float(np.subtract(*np.quantile(axis, [0.95, 0.05]))) for axis in photos.east_north_m()
    )
    wanted = max(
        BUFFERS_PER_BLOCK[config.rule] * (buffer_m or MIN_SPOT_M),
        ground_m / BLOCKS_PER_SIDE[config.rule],
    )
    power = 10.0 ** math.floor(math.log10(wanted))
    return buffer_m, next(power * r for r in ROUND_LENGTHS if power * r >= wanted * (1 - 1e-12))


def _check(config: SplitConfig, n: int) -> None:
    """Refuse values that no data set of `n` photos makes possible."""
    if n < 2:
        raise BadInput(f"split.kind={config.kind}: {n} photos cannot be divided; add photos")
    n_test = _count("n_test", config.n_test, n) if config.n_test else 0
    if config.kind.endswith("kfold"):
        if config.folds > n:
            raise BadInput(f"split.folds={config.folds}: there are {n} photos; give 2 to {n} folds")
    elif _count("n_val", config.n_val, n) + n_test >= n:
        parts = "it" if not n_test else "it or split.n_test"
        raise BadInput(
            f"split.n_val={config.n_val:g}: nothing is left of {n} photos to train on; "
            f"lower {parts}"
        )


def _count(key: str, value: float, n: int) -> int:
    """Return how many photos a count, or a fraction below 1 of all photos, asks for."""
    if value == 0:
        return 0
    count = int(value) if value >= 1 else round(value * n)
    if not 1 <= count < n:
        raise BadInput(
            f"split.{key}={value:g}: {count} of {n} photos; give a count from 1 to {n - 1} or a "
            "fraction that comes to one"
        )
    return count
