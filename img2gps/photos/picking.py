"""Pick whole groups of photos by a hash of their names and a seed, never by their rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from img2gps.core.errors import BadInput

_POOL = 4
_FITTED_GROUPS = 20  # of the largest size: what is left to fill when groups are picked by size

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Groups:
    """Photos in groups that are never divided.

    Attributes:
        noun: what a group is, as messages name it.
        names: of the groups, sorted.
        of_photo: the index of each photo's group.
        sizes: photos in each group.
    """

    noun: str
    names: NDArray[np.object_]
    of_photo: Rows
    sizes: Rows

    @classmethod
    def of(cls, photos: NDArray[np.object_], noun: str) -> Self:
        """Return the groups in which photos share a name."""
        return cls(noun, *np.unique(photos, return_inverse=True, return_counts=True))

    def take(self, seed: int, target: int, key: str) -> Mask:
        """Return which groups to take so that their photos come as near to `target` as possible.

        Groups are taken in the order of their hashes. Blocks and sessions come from the first ones
        that hold `_POOL` times the target. If all of them were candidates, the one that fits best
        would be taken whatever the seed.

        Raises:
            BadInput: every group is so large that taking none would be nearer to the target.
        """
        sizes = self.sizes
        order = rank(self.names, self.noun, seed)
        order = order[sizes[order] < 2 * target]  # taking none is nearer than a larger group
        if not order.size:
            noun = {"photo": "set of equal photos"}.get(self.noun, self.noun)
            raise BadInput(
                f"{key}: the smallest {noun} has {sizes.min()} photos; raise it to {sizes.min()}"
                + (" or lower split.block_m" if "block" in self.noun else "")
            )
        total = np.cumsum(sizes[order])
        if self.noun != "photo":
            order = order[: np.searchsorted(total, _POOL * target) + 1]
        # Far from the target every group may come in; only the last ones are picked by size.
        head = int(
            np.searchsorted(total, target - _FITTED_GROUPS * sizes[order].max(), side="right")
        )
        gap = target - int(total[head - 1]) if head else target
        taken = np.zeros(len(self.names), dtype=bool)
        taken[order[:head]] = True
        taken[order[head:]] = _nearest_sum(sizes[order[head:]].tolist(), gap)
        return taken

    def folds(self, seed: int, folds: int) -> Rows:
        """Return the fold of each group: equal stretches of photos in the order of the hashes.

        Raises:
            BadInput: there are too few groups for so many folds.
        """
        order = rank(self.names, self.noun, seed)
        middle = np.empty(len(self.names))
        middle[order] = np.cumsum(self.sizes[order]) - self.sizes[order] / 2
        fold: Rows = np.floor(middle * folds / self.sizes.sum()).astype(np.int64)
        empty = folds - len(set(fold.tolist()))
        if empty:
            raise BadInput(
                f"split.folds={folds}: {len(self.names)} {self.noun}s leave {empty} folds empty; "
                f"lower it{' or split.block_m' if 'block' in self.noun else ''}"
            )
        return fold


def _nearest_sum(sizes: Sequence[int], target: int) -> list[bool]:
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


def rank(names: Iterable[str], salt: str, seed: int) -> Rows:
    """Return positions of the names in the order of their hashes; equal names keep their order."""
    digests = [
        hashlib.blake2b(f"{salt} {seed} {name}".encode(), digest_size=16).digest() for name in names
    ]
    return np.array(sorted(range(len(digests)), key=digests.__getitem__), dtype=np.int64)
