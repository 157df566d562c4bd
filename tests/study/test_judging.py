"""Ways to find the best cell, judged on studies whose answer is known beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from img2gps.analysis import collect
from img2gps.cli.main import main
from img2gps.core.errors import BadInput
from img2gps.report.build import load
from img2gps.runs.race import Rules
from img2gps.study import judging
from img2gps.study.judging import Answer, Recorded
from tests.helpers.fake_study import Options, make_study

SPOT = np.arange(40)


def recorded(*rmse: float, seeds: int = 3, epochs: int = 4) -> Recorded:
    """Cells with these errors on every photo, but for 1 %, and after every epoch."""
    ripple = 1 + 0.01 * np.sin(np.arange(40.0) * np.arange(1, len(rmse) + 1)[:, None])
    error = np.repeat((np.array(rmse)[:, None] * ripple)[:, None], seeds, axis=1)
    curves: Any = [[[value] * epochs] * seeds for value in rmse]
    return Recorded("s", error, SPOT, curves, np.array(rmse), first_rung=2)


def test_grid_pays_for_everything_and_finds_the_best() -> None:
    (found,) = judging.judge(recorded(60.0, 50.0, 70.0), times=3, ways=["grid"])
    assert (found.runs, found.median, found.wrong, found.lost) == (1.0, 1.0, 0.0, 0.0)
    assert found.regret_m == 0.0


def test_race_pays_once_for_lost_cells() -> None:
    (found,) = judging.judge(recorded(50.0, 100.0, 110.0, 120.0), times=2, ways=["race"])
    assert found.runs == pytest.approx(5 / 12)  # four first looks, and a second run of the best
    assert (found.wrong, found.lost) == (0.0, 0.0)


def test_pruned_cell_costs_its_epochs_and_may_be_a_better_one() -> None:
    late = recorded(50.0, 60.0)
    late.curves[0] = [[90.0, 90.0, 50.0, 50.0]] * 3
    (found,) = judging.judge(late, times=40, ways=["random + successive_halving"])
    assert 0.0 < found.lost < 1.0
    assert found.lost <= found.wrong  # 10 m above the best is noticed


def test_summary_counts_wrong_answers_by_hand() -> None:
    answers = [Answer(0, 3, 12), Answer(1, 3, 12, frozenset({0})), Answer(2, 6, 24)]
    found = judging.summary(recorded(50.0, 54.0, 60.0), "x", answers, Rules())
    assert found.wrong == pytest.approx(1 / 3)  # 10 m above; 4 m are not noticed
    assert found.lost == pytest.approx(1 / 3)
    assert found.regret_m == pytest.approx(14 / 3)
    assert found.runs == pytest.approx(3 / 9)
    lenient = judging.summary(recorded(50.0, 54.0, 60.0), "x", answers, Rules(margin_m=5.0))
    assert lenient.lost == 0.0


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judging") / "runs"
    axes: dict[str, list[Any]] = {"lr": [0.001, 0.003], "batch_size": [16, 32]}
    make_study(folder, "one", Options(axes=axes, seeds=(0, 1), epochs=8, n_val=40))
    make_study(folder, "two", Options(axes=axes, seeds=(0,), epochs=8, n_val=40))
    return folder


def test_study_is_read_photo_by_photo(root: Path) -> None:
    found = judging.read(load("one", [root]))
    study = collect.load_study(root / "one", [root])
    assert found.error.shape == (4, 2, 40)
    assert found.space is not None
    assert found.epochs(0, 2) == 16
    for cell, name in enumerate(found.names):
        values = study.finished[study.finished["cell"] == name]["value"]
        assert found.rmse_m[cell] == pytest.approx(values.mean(), abs=1e-3)


def test_command_judges_several_studies(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["replay", "one", "two", "--runs", str(root), "--times", "3", "--margin-m", "2"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert "one: 4 cells with 2 seeds" in said
    assert "two: one seed, so there is no race to replay" in said
    assert all(f"\n{way}" in said for way in judging.WAYS)


def test_negative_margin_is_refused(root: Path) -> None:
    with pytest.raises(SystemExit) as end:
        main(["replay", "one", "--runs", str(root), "--margin-m", "-1"])
    assert end.value.code == 2


def test_folds_are_refused(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"lr": [0.001, 0.003], "split.fold": [0, 1]}
    make_study(tmp_path, "k", Options(axes=axes, seeds=(0, 1), n_val=40, split_kind="kfold"))
    with pytest.raises(BadInput, match="has folds"):
        judging.read(load("k", [tmp_path]))


@pytest.mark.parametrize(
    ("rates", "failed", "said"),
    [
        ([0.001], {}, "only one of its cells has finished"),
        ([0.001, 0.003], {("lr=0.003", 1): ("failed", "nan")}, "has 1 run without a final figure"),
    ],
)
def test_cells_that_cannot_be_compared_are_refused_with_the_reason(
    tmp_path: Path, rates: list[float], failed: dict[tuple[str, int], tuple[str, str]], said: str
) -> None:
    axes: dict[str, list[Any]] = {"lr": rates}
    make_study(tmp_path, "s", Options(axes=axes, seeds=(0, 1), n_val=40, states=failed))
    with pytest.raises(BadInput, match=said):
        judging.read(load("s", [tmp_path]))
