"""Near copies: bursts, re-saved and edited copies of one photo, found by their looks.

Measured on 493 real photos: a copy that was re-saved, halved, brightened or made grey has at
least 0.75 more of the original's signs than it lacks. Different photos have at most 0.38 more;
one pair of a survey flight, which overlaps, 0.57.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from img2gps.photos.look import COARSE, Look
from img2gps.photos.sessions import seconds
from img2gps.photos.sources.base import Reject

_SAME = 0.6  # agreement of signs, less disagreement, above which two photos are copies
_BURST = 0.4  # the same for photos of one camera ...
_BURST_S = 3.0  # ... that were taken within this time
_NEAR = 0.35  # between the coarsest waves of copies; of 1,000 pairs of photos 999 are further apart


def near_copies(looks: Look, manifest: pd.DataFrame) -> list[str]:
    """Return a name for each photo that its near copies share; "" for a photo without any.

    Photos lead in the order of the manifest, and each takes all that look like it and are not
    yet taken. So a chain of photos, each a little unlike the one before, is not one group. Equal
    photos are taken by the first of them, so that time grows little faster than their number.
    """
    coarsest, signs = looks[:, :COARSE], looks[:, COARSE:]
    tree = cKDTree(coarsest)
    leader = np.arange(len(looks))
    free = np.ones(len(looks), dtype=bool)
    for row in range(len(looks)):
        if free[row]:
            near = np.array(tree.query_ball_point(coarsest[row], _NEAR))
            like = near[free[near] & (signs[near] @ signs[row] > _SAME * signs.shape[1])]
            leader[like] = row
            free[[row, *like]] = False
    for earlier, later in _bursts(manifest):
        if signs[earlier] @ signs[later] > _BURST * signs.shape[1]:
            leader[leader == leader[later]] = leader[earlier]
    names = manifest["original"].to_numpy(object)
    sizes = np.bincount(leader, minlength=len(looks))
    return [str(names[first]) if sizes[first] > 1 else "" for first in leader]


def are_copies(looks: Look, others: Look) -> NDArray[np.bool_]:
    """Return which photos are copies of any of the others, however they were saved or scaled."""
    tree = cKDTree(others[:, :COARSE])
    signs = others[:, COARSE:]
    found = np.zeros(len(looks), dtype=bool)
    for row, near in enumerate(tree.query_ball_point(looks[:, :COARSE], _NEAR)):
        alike = signs[near] @ looks[row, COARSE:] > _SAME * signs.shape[1]
        found[row] = bool(alike.any())
    return found


def keep_one_of_each(manifest: pd.DataFrame, rejects: list[Reject]) -> pd.DataFrame:
    """Keep the largest photo of each group of near copies, and add the others to the rejects."""
    size = manifest["width_px"] * manifest["height_px"]
    best = manifest.assign(size=-size).sort_values(["size", "photo"], kind="stable")
    grouped = best[best["group"] != ""]
    kept = grouped.groupby("group")["photo"].first()
    dropped = grouped[grouped["photo"] != grouped["group"].map(kept)]
    for photo, group in zip(dropped["photo"], dropped["group"], strict=True):
        rejects.append(Reject(photo, f"a near copy of {kept[group]}", "data.one_of_each=false"))
    left = manifest.drop(index=dropped.index)
    return left.assign(group="")


def _bursts(manifest: pd.DataFrame) -> list[tuple[int, int]]:
    """Return the rows of photos that one camera took in quick succession, the earlier first."""
    taken = [
        (camera, seconds(text), row)
        for row, (camera, text) in enumerate(
            zip(manifest["camera"], manifest["taken_at"], strict=True)
        )
        if text
    ]
    taken.sort()
    return [
        (row, after)
        for (camera, moment, row), (other, later, after) in pairwise(taken)
        if camera == other and later - moment <= _BURST_S
    ]
