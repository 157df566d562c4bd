"""What a dry run says before anything is trained."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from img2gps.config.schema import SplitConfig, SplitKind
from img2gps.photos.split import make_split
from img2gps.study.estimate import _splits, _validated
from tests.photos.test_split import campus


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


def test_each_split_but_folds_is_described_once() -> None:
    data = SimpleNamespace(manifest=campus(200))
    made: dict[str, Any] = {}

    def of(config: SplitConfig) -> Any:
        split = made.setdefault(repr(config), make_split(data.manifest, config))
        return SimpleNamespace(dataset=data, config=SimpleNamespace(split=config), split=split)

    random, place = SplitConfig(n_val=40), SplitConfig(kind=SplitKind.place, n_val=20, rule=2)
    fold = SplitConfig(kind=SplitKind.place_kfold, n_val=0, rule=2)
    first, second, warning = _splits([of(random), of(place), of(random), of(fold)])
    assert first.startswith("split random, seed 0: validation photos spread over ")
    assert second.startswith("split place, seed 0: validation photos spread over ")
    assert warning.startswith("warning: split=place: validation has ")
