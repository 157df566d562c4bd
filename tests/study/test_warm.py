"""Searches that begin with what older studies have found."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from img2gps.core.errors import BadInput
from img2gps.core.files import read_json, write_json
from img2gps.runs.records import StudyRecord, read_study
from img2gps.study.display import Display
from img2gps.study.drawing import observed
from img2gps.study.engine import run_study
from img2gps.study.ledger import Ledger
from img2gps.study.options import SweeperConfig, check_options, read_warm_start
from img2gps.study.space import Axis, Space
from img2gps.study.spec import Spec
from img2gps.study.storage import open_storage
from tests.helpers.studies import fake_spec, url_of

pytestmark = pytest.mark.usefixtures("fake_runs")

LR, BATCH = Axis("lr", low=0.3, high=0.9), Axis("batch_size", (8, 16))


def run(spec: Spec) -> tuple[StudyRecord, str]:
    said = io.StringIO()
    console = Console(file=said, width=300, highlight=False, markup=False)
    run_study(spec, url_of(spec), workers=0, display=Display(console))
    return read_study(spec.root, spec.name), said.getvalue()


def older(root: Path, **changes: Any) -> Spec:
    axes: dict[str, list[Any]] = {"lr": [0.1, 0.4, 0.5], "batch_size": [8, 16, 64]}
    return fake_spec(root, axes, name="old", seeds=(0, 1), **changes)


def search(root: Path, *more: Axis, **changes: Any) -> Spec:
    settings = {"kind": "tpe", "sampler": "tpe", "n_trials": 4, "warm_start": ("old",), **changes}
    return fake_spec(root, {}, name="new", space=Space((LR, BATCH, *more)), **settings)


def told(spec: Spec) -> list[tuple[dict[str, Any], float | None]]:
    trials = observed(Ledger(open_storage(url_of(spec)), spec.name), but=-1).trials
    return [(trial.params, trial.value) for trial in trials]


def test_sampler_begins_with_the_cells_that_lie_in_its_space(tmp_path: Path) -> None:
    run(older(tmp_path))
    study, said = run(spec := search(tmp_path))
    assert "the sampler begins with 8 runs of 4 cells of old" in said
    expected: list[Any] = [
        ({"lr": lr, "batch_size": batch}, pytest.approx(100 * lr + 0.5))  # two seeds, 1 m apart
        for lr in (0.4, 0.5)
        for batch in (8, 16)
    ]
    assert told(spec)[:4] == expected
    assert len(told(spec)) == 8
    assert len(study.runs) == 4  # those of the older study are no runs of this one
    assert study.warm_start == {"old": 8}


def test_warm_start_changes_what_is_drawn_first(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"lr": [0.31 + 0.01 * i for i in range(12)], "batch_size": [8, 16]}
    run(fake_spec(tmp_path, axes, name="old"))
    warm, _ = run(search(tmp_path, n_trials=6))
    cold, _ = run(replace(search(tmp_path, n_trials=6, warm_start=()), name="cold"))
    # the lower the rate, the better: 24 cells tell that before the first draw
    assert sum(r.params["lr"] for r in warm.runs) < sum(r.params["lr"] for r in cold.runs)


def test_what_was_taken_in_stays_when_the_older_study_goes_on(tmp_path: Path) -> None:
    run(older(tmp_path))
    run(spec := search(tmp_path))
    before = told(spec)
    run(replace(older(tmp_path), seeds=(0, 1, 2)))
    run(spec)
    assert told(spec) == before


def test_knobs_that_the_older_study_did_not_vary_come_from_its_configurations(
    tmp_path: Path,
) -> None:
    run(older(tmp_path, fixed=("momentum=1",)))
    for path in (tmp_path / "old").glob("*/result.json"):
        (path.parent / "config.yaml").write_text("momentum: 1\n")
    run(spec := search(tmp_path, Axis("momentum", (0, 1))))
    assert [params["momentum"] for params, _ in told(spec)[:4]] == [1] * 4


def test_other_recipe_is_refused_by_name(tmp_path: Path) -> None:
    run(older(tmp_path))
    with pytest.raises(BadInput) as found:
        run(search(tmp_path, fixed=("epochs=2",)))
    assert str(found.value) == (
        "hydra.sweeper.warm_start=old: none of its 18 finished runs can be used: they differ in "
        "epochs=absent (now 2); leave it out"
    )


def test_study_whose_cells_lie_elsewhere_is_refused_by_name(tmp_path: Path) -> None:
    run(fake_spec(tmp_path, {"lr": [0.1], "batch_size": [8]}, name="old"))
    said = "none of its 1 finished runs can be used: lr=0.1 is not in this study; leave it out"
    with pytest.raises(BadInput, match=said):
        run(search(tmp_path))


def test_runs_without_the_figure_are_refused_by_name(tmp_path: Path) -> None:
    run(fake_spec(tmp_path, {"lr": [0.4], "batch_size": [8]}, name="old"))
    for path in (tmp_path / "old").glob("*/result.json"):
        plain = read_json(path)
        assert plain is not None
        write_json(path, {**plain, "metrics": {}})
    with pytest.raises(BadInput, match="they have no val/rmse_m; leave it out"):
        run(search(tmp_path))


def test_cells_that_lack_folds_are_refused(tmp_path: Path) -> None:
    run(fake_spec(tmp_path, {"lr": [0.4], "batch_size": [8], "split.fold": [0, 1]}, name="old"))
    folds = Axis("split.fold", (0, 1, 2))
    with pytest.raises(BadInput, match="no cell has all the folds of this study; leave it out"):
        run(search(tmp_path, folds))
    run(fake_spec(tmp_path, {"lr": [0.4], "batch_size": [8], "split.fold": [0, 1, 2]}, name="old2"))
    run(spec := search(tmp_path, folds, warm_start=("old2",)))
    assert told(spec)[0] == ({"lr": 0.4, "batch_size": 8}, 40.0)


def test_study_without_finished_runs_is_refused(tmp_path: Path) -> None:
    run(fake_spec(tmp_path, {"lr": [0.4]}, name="old", fixed=("behave=diverge",)))
    with pytest.raises(BadInput, match="none of its 0 finished runs can be used: none has finish"):
        run(search(tmp_path))


def test_unknown_study_and_the_study_itself_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="old: no such study below"):
        run(search(tmp_path))
    with pytest.raises(BadInput, match="warm_start=new: is this study itself; leave it out"):
        run(search(tmp_path, warm_start=("new",)))
    assert list(tmp_path.iterdir()) == []  # a refused study leaves nothing behind


def test_study_that_is_refused_later_keeps_what_it_had(tmp_path: Path) -> None:
    run(spec := search(tmp_path, warm_start=()))
    before = read_study(spec.root, spec.name)
    with pytest.raises(BadInput):
        run(search(tmp_path, Axis("behave", ("a", "b")), warm_start=("old",)))
    assert read_study(spec.root, spec.name) == before
    assert (tmp_path / "new" / "ledger.journal").stat().st_size


def test_grid_needs_no_warm_start() -> None:
    with pytest.raises(BadInput, match="warm_start: is for searches; a grid and a race link every"):
        check_options(SweeperConfig(warm_start="old"))
    assert read_warm_start("old") == ("old",)
    with pytest.raises(BadInput, match=r"warm_start=3: give the names of studies, \[A,B\]"):
        read_warm_start(3)
