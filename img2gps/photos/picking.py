"""Whole groups of photos picked by the hash of their name and a seed, never by their row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from img2gps.config.schema import SplitConfig
from img2gps.core.errors import BadInput

_POOL = 4
_FITTED_GROUPS = 20  # of the largest size: what is left to fill when groups are picked by size

Mask = NDArray[np.bool_]
Groups = NDArray[np.object_]  # the name of each photo's group


def take(groups: Groups, salt: str, seed: int, target: int, key: str) -> Mask:
    """Return photos of whole groups, in the order of their hashes, as near to `target` as possible.

    Blocks and sessions come from the first ones that hold `_POOL` times the target. If all of them
    were candidates, the one that fits best would be taken whatever the seed.
    """
    names, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = rank(names, salt, seed)
    order = order[sizes[order] < 2 * target]  # taking none is nearer than a larger group
    if not order.size:
        noun = {"photo": "set of equal photos"}.get(salt, salt)
        raise BadInput(
            f"{key}: the smallest {noun} has {sizes.min()} photos; raise it to {sizes.min()}"
            + (" or lower split.block_m" if "block" in salt else "")
        )
    total = np.cumsum(sizes[order])
    if salt != "photo":
        order = order[: np.searchsorted(total, _POOL * target) + 1]
    # Far from the target every group may come in; only the last ones are picked by size.
    head = int(np.searchsorted(total, target - _FITTED_GROUPS * sizes[order].max(), side="right"))
    gap = target - int(total[head - 1]) if head else target
    taken = np.zeros(len(names), dtype=bool)
    taken[order[:head]] = True
    taken[order[head:]] = _nearest_sum(sizes[order[head:]].tolist(), gap)
    return np.asarray(taken[group])


def _nearest_sum(sizes: list[int], target: int) -> list[bool]:
    """Return which sizes to take so that their sum is nearest to `target`; early ones first.

    This is subset sum by bit sets: bit s of `reach[i]` says whether some of `sizes[i:]` sum to s.
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


def take_fold(groups: Groups, salt: str, config: SplitConfig) -> Mask:
    """Return the photos of one fold: equal stretches of the ranked photos, groups kept whole."""
    names, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = rank(names, salt, config.seed)
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


def rank(names: Iterable[str], salt: str, seed: int) -> NDArray[np.int64]:
    """Return positions of the names in the order of their hashes; equal names keep their order."""
    digests = [
        hashlib.blake2b(f"{salt} {seed} {name}".encode(), digest_size=16).digest() for name in names
    ]
    return np.array(sorted(range(len(digests)), key=digests.__getitem__), dtype=np.int64)
