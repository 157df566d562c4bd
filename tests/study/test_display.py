"""What a study says of itself in one line."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console

from img2gps.runs.records import StudyRecord, StudyRun
from img2gps.runs.states import RunState
from img2gps.study.display import Display, best_line


def _fold(split: str, fold: int, value: float, mean: float | None, **changes: Any) -> StudyRun:
    return StudyRun(
        f"split={split},split.fold={fold}",
        seed=0,
        state=RunState.finished,
        value=value,
        mean_predictor=mean,
        **{"n_val": 10, **changes},
    )


def test_the_best_cell_stands_beside_the_mean_predictor_on_its_own_photos() -> None:
    runs = [
        _fold("kfold", 0, 30.0, 80.0),
        _fold("kfold", 1, 40.0, 100.0, n_val=30),
        _fold("place_kfold", 0, 70.0, 120.0),
    ]
    # sqrt((10 x 80^2 + 30 x 100^2) / 40) = 95.39
    assert best_line(StudyRecord("s", runs=runs)).endswith("(the mean predictor gets 95.39 m)")


def test_no_mean_predictor_is_named_where_a_fold_does_not_say_or_nothing_has_finished() -> None:
    runs = [_fold("kfold", 0, 30.0, 80.0), _fold("kfold", 1, 40.0, None)]
    assert best_line(StudyRecord("s", runs=runs)) == "split=kfold: val/rmse_m 35.36 m"
    waiting = [StudyRun("lr=0.1", 0)]
    assert (
        best_line(StudyRecord("s", runs=waiting)) == "no cell has finished with all its seeds yet"
    )


def test_each_trial_that_failed_before_its_cell_was_drawn_is_announced_once() -> None:
    screen = StringIO()
    display = Display(Console(file=screen, width=200))
    failed = [StudyRun("", 0, state=RunState.failed, reason=reason) for reason in ("one", "two")]
    display.show(StudyRecord("s", runs=[StudyRun("", 0), failed[1]]), None)
    for _ in range(2):
        display.show(StudyRecord("s", runs=failed), None)
    assert screen.getvalue().splitlines() == [
        "[1/2] trial seed=0: failed: two",
        "[2/2] trial seed=0: failed: one",
    ]


def three_runs() -> list[StudyRun]:
    """Finished runs, each of a cell of its own."""
    return [
        StudyRun(f"lr={n}", 0, state=RunState.finished, value=float(n), run_id=str(n))
        for n in range(3)
    ]


def test_runs_that_move_up_because_one_was_forgotten_are_not_announced_again() -> None:
    screen = StringIO()
    display = Display(Console(file=screen, width=200))
    done = three_runs()
    waiting = StudyRun("lr=0", 0, run_id="0")
    display.begin(StudyRecord("s", runs=done))
    display.show(StudyRecord("s", runs=[*done[1:], waiting]), None)
    assert screen.getvalue() == ""


def test_a_run_that_is_trained_again_is_announced_with_its_number_among_all() -> None:
    screen = StringIO()
    display = Display(Console(file=screen, width=200))
    done = three_runs()
    display.begin(StudyRecord("s", runs=done[1:]))
    display.show(StudyRecord("s", runs=[*done[1:], done[0]]), None)
    assert screen.getvalue().startswith("[3/3] lr=0 seed=0")
