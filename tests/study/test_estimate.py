"""What a dry run says before anything is trained."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from img2gps.analysis import stats
from img2gps.config.schema import SplitConfig, SplitKind
from img2gps.core.paths import package_folder
from img2gps.photos.split import make_split
from img2gps.study.estimate import (
    CORRELATIONS,
    Estimate,
    _splits,
    _validated,
    detectable,
    estimate,
)
from tests.helpers.studies import fake_spec
from tests.helpers.tiny import TINY
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


def test_all_folds_of_a_cell_count_as_one(tmp_path: Path) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1, 0.2], "split.fold": [0, 1, 2, 3, 4]}, seeds=(0, 1))
    found = Estimate(
        cells=2, runs=20, done=0, epochs=0, seconds=0, disk_bytes=0, n_val=60,
        mean_predictor_m=90, threads=1,
    )  # fmt: skip
    lines = found.lines(spec, 1)

    assert lines[0] == "study s: 2 cells x 2 seeds x 5 folds = 20 runs"
    assert any("between two of 2 cells with 2 seeds" in line for line in lines)
    some = replace(found, runs=12).lines(spec, 1)[0]
    assert some == "study s: 2 cells x 2 seeds with their folds = 12 runs"


@pytest.mark.slow
def test_a_dry_run_counts_cells_as_the_report_does(
    tmp_path: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(shared_cache))
    fixed = (*TINY, "split=kfold", "split.folds=3", f"runs.root={tmp_path}")
    axes: dict[str, list[Any]] = {"lr": [0.1, 0.2], "split.fold": [0, 1, 2]}
    spec = fake_spec(
        tmp_path, axes, fixed=fixed, seeds=(0,), config_dir=str(package_folder("conf")),
        config_name="train",
    )  # fmt: skip
    found = estimate(spec, workers=1)

    assert (found.cells, found.runs) == (2, 6)


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
        for number in range(540 // cells):  # cells lose their marks together
            rng = np.random.default_rng([8, number])
            shared, own = rng.normal(size=(2, 1, 60)), rng.normal(size=(2, cells, 60))
            unit = of_all * shared + np.sqrt(1 - of_all**2) * own  # east and north
            error = true[:, None] * np.hypot(*unit) / math.sqrt(2)
            runs = error[:, None] * (1 + 0.035 * rng.normal(size=(cells, seeds, 1)))
            drawn = stats.resample(runs, np.arange(60), n=300)
            lost.append(1 - stats.confidence_set(drawn).marked[1:].mean())
    # The studentised range of normal differences had 53 to 79 % here.
    assert np.mean(lost) == pytest.approx(0.8, abs=0.05)


def test_one_validation_photo_shows_no_difference() -> None:
    assert detectable(70.0, 1, 9, 2) == (math.inf, math.inf)
