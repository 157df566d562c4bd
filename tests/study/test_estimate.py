"""What a dry run says before anything is trained."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from img2gps.analysis import stats
from img2gps.config.schema import SplitConfig, SplitKind
from img2gps.photos.split import make_split
from img2gps.study.estimate import CORRELATIONS, _splits, _validated, detectable
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


@pytest.mark.parametrize(("cells", "seeds"), [(9, 3), (9, 2), (2, 3)])
def test_a_difference_that_a_dry_run_states_is_noticed_in_about_80_of_100_studies(
    cells: int, seeds: int
) -> None:
    lost = []
    for metres, correlation in zip(detectable(70.0, 60, cells, seeds), CORRELATIONS[::-1],
                                   strict=True):  # fmt: skip
        true = 70 + metres * np.array([-0.5, *[0.5] * (cells - 1)])
        of_all = correlation**0.25 * np.ones((cells, 1))
        for number in range(60):
            rng = np.random.default_rng([8, number])
            shared, own = rng.normal(size=(2, 1, 60)), rng.normal(size=(2, cells, 60))
            unit = of_all * shared + np.sqrt(1 - of_all**2) * own  # east and north
            error = true[:, None] * np.hypot(*unit) / math.sqrt(2)
            runs = error[:, None] * (1 + 0.035 * rng.normal(size=(cells, seeds, 1)))
            drawn = stats.resample(runs, np.arange(60), n=300)
            lost.append(1 - stats.confidence_set(drawn).marked[1:].mean())
    # The studentised range of normal differences had 53 to 79 % here.
    assert np.mean(lost) == pytest.approx(0.8, abs=0.05)
