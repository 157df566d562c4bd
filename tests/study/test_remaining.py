"""The time that a study still takes, from runs of the same kind."""

from __future__ import annotations

from img2gps.runs.states import RunState
from img2gps.study.remaining import seconds_left
from img2gps.study.space import Params
from img2gps.study.spec import Done, RunRef
from img2gps.study.trials import Entry

KNN: Params = {"model.train": "head", "head": "knn"}
NETWORK: Params = {"model.train": "last_blocks"}


def entry(params: Params, cost: float, seconds: float | None = None) -> Entry:
    state = RunState.queued if seconds is None else RunState.finished
    done = None if seconds is None else Done("", "", state, seconds=seconds)
    return Entry("", "", params, 0, "", state, "", 0, RunRef("", "", cost), done, None)


def left(*entries: Entry, searched: bool = False, at_once: int = 1) -> float | None:
    return seconds_left(entries, searched=searched, at_once=at_once)


def test_quick_heads_do_not_foretell_networks() -> None:
    heads = [entry({**KNN, "split.fold": fold}, 1.0, 0.1) for fold in range(20)]
    networks = [entry({**NETWORK, "split.fold": fold}, 20.0) for fold in range(3)]
    done = entry({**NETWORK, "split.fold": 3}, 20.0, 300.0)
    assert left(*heads, *networks, done) == 900.0
    assert left(*heads, *networks, done, at_once=2) == 450.0


def test_nothing_is_said_of_a_kind_that_no_finished_run_foretells() -> None:
    ridge: Params = {**KNN, "head": "ridge"}
    heads = [entry(KNN, 1.0, 0.1), entry(ridge, 1.0, 5.0)]
    assert left(*heads, entry(NETWORK, 20.0)) is None
    assert left(entry(NETWORK, 20.0)) is None


def test_kinds_that_take_about_as_long_foretell_each_other() -> None:
    adam, sgd, both = ({"optimizer": name} for name in ("adam", "sgd", "lion"))
    assert left(entry(adam, 2.0, 20.0), entry(sgd, 2.0, 40.0), entry(both, 2.0)) == 30.0


def test_numbers_models_and_splits_are_in_the_cost() -> None:
    small: Params = {"model": "resnet18", "lr": 0.1, "split": "kfold"}
    large: Params = {"model": "resnet50", "lr": 0.2, "split": "place_kfold"}
    assert left(entry(small, 1.0, 10.0), entry(large, 3.0)) == 30.0


def test_trials_of_a_search_count_alike() -> None:
    drawn = [entry({"optimizer": "adam"}, 1.0, 10.0), entry({"optimizer": "sgd"}, 1.0, 30.0)]
    assert left(*drawn, entry({}, 1.0), searched=True) == 20.0


def test_one_run_takes_its_time_however_many_workers_there_are() -> None:
    runs = [entry(NETWORK, 1.0) for _ in range(9)]
    done = entry(NETWORK, 1.0, 120.0)
    assert left(runs[0], done, at_once=8) == 120.0
    assert left(*runs, done, at_once=8) == 135.0
