"""Folds inside the training part, on which heads choose settings and training may stop early."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from img2gps.config.schema import SplitConfig, SplitKind
from img2gps.core.errors import BadInput
from img2gps.photos.dataset import Dataset
from img2gps.photos.split import Split, make_split

FOLDS = 5
NEW_SPOTS = (SplitKind.place, SplitKind.place_kfold)

Rows = NDArray[np.int64]


def hold_out_inner(dataset: Dataset, split: Split, config: SplitConfig) -> tuple[Split, Rows]:
    """Return the split without an inner part of its training photos, and the rows of that part.

    Raises:
        BadInput: there are too few training photos.
    """
    folds = inner_folds(dataset, split, config)
    if not folds:
        raise BadInput(
            f"patience: {len(split.train)} training photos cannot be divided to see when training "
            "should stop; leave it out"
        )
    seen, unseen = folds[0]
    return replace(split, train=split.train[seen]), split.train[unseen]


def inner_folds(dataset: Dataset, split: Split, config: SplitConfig) -> list[tuple[Rows, Rows]]:
    """Return positions in the training part to solve from and to predict, fold by fold.

    The folds ask the same question as the split: where validation is of new spots, they hold out
    whole blocks of the same size with the same buffer. Where the ground has too few blocks for
    that, they hold out photos.
    """
    photos = dataset.manifest.iloc[split.train].reset_index(drop=True)
    n = len(photos)
    if n < 2:
        return []
    blocks = SplitConfig(
        kind=SplitKind.place_kfold,
        folds=min(FOLDS, n),
        block_m=split.block_m,
        buffer_m=split.buffer_m,
    )
    wanted = [replace(blocks, kind=SplitKind.kfold)]
    if config.kind in NEW_SPOTS:
        wanted.insert(0, blocks)
    for attempt in wanted:
        try:
            made = [make_split(photos, replace(attempt, fold=fold)) for fold in range(blocks.folds)]
        except BadInput:  # too few blocks, or copies of one photo only
            continue
        return [(fold.train, fold.val) for fold in made]
    return []
