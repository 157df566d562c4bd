"""Searches replayed on a grid: epochs counted by hand, and grids that cannot be replayed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from img2gps.analysis import collect
from img2gps.cli.main import main
from img2gps.core.errors import BadInput
from img2gps.report.build import load
from img2gps.study import replay
from img2gps.study.replay import Curve, Grid
from img2gps.study.space import Axis, Space
from img2gps.study.spec import Spec
from tests.helpers.fake_study import Options, make_study

EPOCHS = 5
TIMES = 60


def grid(**finals: float) -> Grid:
    """Cells named after their value of `model`, each at its final level from the first epoch."""
    spec = Spec(
        "s", "random", Space((Axis("model", tuple(finals)),)), "", max_epochs=EPOCHS, first_rung=2
    )
    curves: dict[str, list[Curve]] = {
        f"model={name}": [[value] * EPOCHS] for name, value in finals.items()
    }
    winner = min(finals, key=lambda name: finals[name])
    return Grid(spec, curves, f"model={winner}", frozenset({f"model={winner}"}))


def spent(found: Grid, sampler: str, pruner: str, goal: str = "winner") -> list[int | None]:
    spec = replace(found.spec, sampler=sampler, pruner=pruner)
    return [replay.replay(found, spec, number).get(goal) for number in range(TIMES)]


def test_random_search_pays_each_cell_once_until_it_meets_the_winner() -> None:
    # A cell drawn again is free, so only how many others came first counts: 0, 1 or 2.
    epochs = spent(grid(a=50.0, b=60.0, c=70.0), "random", "none")
    assert set(epochs) == {5, 10, 15}
    assert epochs.count(5) / TIMES == pytest.approx(1 / 3, abs=0.2)


def test_successive_halving_cuts_a_worse_cell_at_the_first_rung() -> None:
    # b first (5), then c, worse after two epochs and cut (2), then a (5).
    epochs = spent(grid(a=50.0, b=60.0, c=70.0), "random", "successive_halving")
    assert set(epochs) == {5, 10, 12, 15}


def test_best_set_is_reached_no_later_than_the_winner() -> None:
    found = replace(grid(a=50.0, b=50.5, c=70.0), good=frozenset({"model=a", "model=b"}))
    winner, close = spent(found, "random", "none"), spent(found, "random", "none", "best set")
    assert all(
        a is not None and b is not None and b <= a for a, b in zip(winner, close, strict=True)
    )
    assert sum(b for b in close if b) < sum(a for a in winner if a)


def test_winner_that_is_behind_at_the_rung_may_never_be_found() -> None:
    found = grid(a=50.0, b=60.0)
    found.curves["model=a"] = [[90.0, 90.0, 90.0, 50.0, 50.0]]
    epochs = spent(found, "random", "successive_halving")
    assert None in epochs  # b came first, a was cut
    (price, _) = replay.prices(found, times=TIMES, strategies=["random + successive_halving"])
    assert price.found == pytest.approx(1 - epochs.count(None) / TIMES)
    assert price.tenth == price.grid == 10


def test_seeds_take_turns() -> None:
    found = grid(a=50.0, b=60.0)
    found.curves["model=a"].append([80.0] * EPOCHS)  # an unlucky seed: b looks better
    found.curves["model=b"].append([60.0] * EPOCHS)
    epochs = spent(found, "random", "none")
    assert all((number % 2 == 0) or value in (5, None) for number, value in enumerate(epochs))
    assert None in epochs[1::2]
    assert None not in epochs[::2]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replay") / "runs"
    axes: dict[str, list[Any]] = {"lr": [0.001, 0.003, 0.005], "batch_size": [16, 32]}
    make_study(folder, "grid", Options(axes=axes, seeds=(0, 1), epochs=8, n_val=40))
    return folder


def test_grid_is_read_from_its_files(root: Path) -> None:
    found = replay.read(load("grid", [root]))
    study = collect.load_study(root / "grid", [root])
    final = study.finished.groupby("cell")["value"].mean()
    assert found.winner == final.idxmin()
    assert found.winner in found.good
    assert found.epochs == 6 * 8
    for cell, curves in found.curves.items():
        ends = [curve[-1] for curve in curves]
        assert sum(ends) / 2 == pytest.approx(final[cell], abs=1e-3)


def test_command_prints_and_writes_the_same_figures_twice(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = []
    for name in ("one.json", "two.json"):
        out = tmp_path / name
        with pytest.raises(SystemExit) as end:
            main(["replay", "grid", "--runs", str(root), "--times", "5", "--out", str(out)])
        assert end.value.code == 0
        written.append(json.loads(out.read_text()))
    assert written[0] == written[1]
    assert {price["strategy"] for price in written[0]["prices"]} == set(replay.STRATEGIES)
    assert all(0 < price["median"] <= price["tenth"] <= 48 for price in written[0]["prices"])
    assert "in the best set" in capsys.readouterr().out


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_replayed(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["replay", "grid", "--runs", str(root), "--out", str(root)])
    printed = capsys.readouterr()
    assert (end.value.code, printed.out) == (2, "")
    assert printed.err == f"img2gps: error: --out {root}: is a folder; name a file\n"


def test_cells_that_are_no_full_grid_are_refused(root: Path) -> None:
    path = root / "grid" / "study.json"
    facts = json.loads(path.read_text())
    facts["cells"] = [cell for cell in facts["cells"] if cell["cell"] != facts["cells"][0]["cell"]]
    path.write_text(json.dumps(facts))
    with pytest.raises(BadInput, match="not all combinations of its axes"):
        replay.read(load("grid", [root]))


def test_what_is_not_a_finished_grid_is_refused(root: Path, tmp_path: Path) -> None:
    facts = json.loads((root / "grid" / "study.json").read_text())
    for change, said in (({"kind": "tpe"}, "not a grid"), ({}, "no final figure")):
        folder = tmp_path / said.replace(" ", "") / "grid"
        folder.mkdir(parents=True)
        changed = {**facts, **change}
        changed["cells"] = [{**cell, "state": "running"} for cell in facts["cells"]]
        (folder / "study.json").write_text(json.dumps(changed))
        with pytest.raises(BadInput, match=said):
            replay.read(load("grid", [folder.parent]))
