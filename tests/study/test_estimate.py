"""What a dry run says before anything is trained."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from img2gps.config.schema import SplitConfig, SplitKind
from img2gps.study.estimate import _validated


def plan(n_val: int, kind: SplitKind, fold: int, data: object) -> Any:
    split = SplitConfig(kind=kind, fold=fold)
    return SimpleNamespace(
        dataset=data, config=SimpleNamespace(split=split), split=SimpleNamespace(val=range(n_val))
    )


def test_folds_validate_their_photos_together() -> None:
    data = object()
    folds = [plan(10 + i, SplitKind.kfold, i, data) for i in range(3)] * 2  # two cells
    assert _validated(folds) == 10 + 11 + 12
    assert _validated([*folds, plan(12, SplitKind.random, 0, data)]) == 12
