"""What searches would have cost on the recorded grids, in place of the whole grid.

Every finished grid below `results/` and `runs/` is replayed (`img2gps replay`). Where there is
none, table 1 is simulated, and the table says so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT, Row, Settings
from img2gps.analysis.collect import load_study
from img2gps.analysis.overview import analyse
from img2gps.core.errors import BadInput
from img2gps.study import replay

TITLE = "Searches, replayed on finished grids"
FEWEST_CELLS = 6
FOLDERS = ("results", "runs")


def recorded(times: int) -> list[dict[str, Any]]:
    """Prices of the finished grids."""
    roots = [ROOT / name for name in FOLDERS]
    found: dict[str, dict[str, Any]] = {}
    for root in roots:
        for path in sorted(root.glob("*/study.json")):
            try:
                grid = replay.read(analyse(load_study(path.parent, roots)))
            except BadInput:
                continue  # a search, or not finished: nothing to replay
            if len(grid.curves) >= FEWEST_CELLS and grid.spec.name not in found:
                found[grid.spec.name] = replay.report(grid, times=times)
    return list(found.values())


def simulated(times: int) -> list[dict[str, Any]]:
    """Prices of a table 1 made by code."""
    from tests.helpers.fake_study import TABLE1, Options, make_study

    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_study(root, "table1", Options(axes=TABLE1, seeds=(0, 1, 2), epochs=15))
        grid = replay.read(analyse(load_study(root / "table1", [root])))
        found = replay.report(grid, times=times)
    return [{**found, "study": "table1, simulated"}]


def measure(settings: Settings) -> dict[str, Any]:
    """All grids that there are."""
    if settings.quick:
        return {"grids": simulated(5)}
    return {"grids": recorded(replay.TIMES) or simulated(replay.TIMES)}


def rows(measured: Mapping[str, Any]) -> list[Row]:
    """Epochs of each search to each goal, as quantiles."""
    out = []
    for grid in measured["grids"]:
        best = f"{len(grid['best_set'])} in the best set"
        if one_seed := any("one seed" in note for note in grid["notes"]):
            best = "one seed, so no best set"
        for price in grid["prices"]:
            if one_seed and price["goal"] != "winner":
                continue
            goal = "the winner" if price["goal"] == "winner" else "a cell of the best set"
            out.append(
                Row(
                    f"{grid['study']} ({grid['cells']} cells, {best}): "
                    f"{price['strategy']} until its best is {goal}",
                    f"median {price['median']:.0f} of the grid's {price['grid']} epochs, 3 of 4 "
                    f"by {price['quartile']:.0f}, 9 of 10 by {price['tenth']:.0f}; "
                    f"{price['found']:.0%} get there for less than the grid",
                )
            )
    return out
