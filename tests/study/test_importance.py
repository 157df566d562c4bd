"""PED-ANOVA of searches, against searches in which one knob decides everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from img2gps.cli.main import main
from img2gps.runs.records import StudyRecord, StudyRun
from img2gps.runs.states import RunState
from img2gps.study.importance import searched_importance
from tests.helpers.fake_study import Options, make_study


def search(trials: int, kind: str = "random") -> StudyRecord:
    """Return a search in which the learning rate alone decides, near 0.001."""
    rng = np.random.default_rng(0)
    runs = []
    for number in range(trials):
        lr = float(10 ** rng.uniform(-4, -2))
        batch = int(rng.choice([8, 16, 32]))
        value = 60 + 20 * abs(np.log10(lr) + 3) + rng.normal(0, 0.5)
        params = {"lr": lr, "batch_size": batch}
        runs.append(StudyRun(f"c{number}", 0, params=params, state=RunState.finished, value=value))
    return StudyRecord(
        "s",
        kind=kind,
        axes={"lr": [0.0001, 0.01], "batch_size": [8, 16, 32]},
        intervals={"lr": {"low": 0.0001, "high": 0.01, "log": True}},
        runs=runs,
    )


def test_the_knob_that_decides_has_nearly_all_the_importance() -> None:
    found = searched_importance(search(60))
    assert found is not None
    assert list(found.importance) == ["lr", "batch_size"]
    assert found.importance["lr"] > 0.8
    assert sum(found.importance.values()) == pytest.approx(1)
    assert (found.trials, found.best) == (60, 0.1)


def test_of_few_trials_more_count_as_the_best_and_of_fewer_nothing_is_said() -> None:
    few = searched_importance(search(20))
    assert few is not None
    assert few.best == pytest.approx(5 / 20)
    assert searched_importance(search(14)) is None
    assert searched_importance(search(60, "grid")) is None


def test_the_report_of_a_search_says_which_knob_decides(tmp_path: Path) -> None:
    make_study(tmp_path / "runs", "s", Options(kind="tpe", seeds=(0,)))
    out = tmp_path / "out"
    with pytest.raises(SystemExit, match="0"):
        main(["report", "s", "--runs", str(tmp_path / "runs"), "--out", str(out)])
    table = (out / "s" / "tables" / "importance_searched.csv").read_text()
    assert table.startswith("hyperparameter,importance\n")
    assert {"learning rate", "batch size", "model"} <= set(table.replace("\n", ",").split(","))
    assert "PED-ANOVA" in (out / "s" / "index.html").read_text()
