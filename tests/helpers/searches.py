"""A search whose best cells were run again with fresh seeds, as its study folder shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.helpers.fake_study import Options, make_study

RATES = (0.001, 0.002, 0.003, 0.004)
BEST = ("lr=0.003", "lr=0.001")
FRESH = (1, 2, 3)
RMSE_M = {0.003: 55.0, 0.001: 66.0}
OTHERS_M = 80.0

States = Mapping[tuple[str, int], tuple[str, str]]


def confirmed(
    root: Path,
    states: States | None = None,
    n_test: int = 0,
    best: Sequence[str] = BEST,
    rmse_m: Mapping[float, float] | None = None,
) -> Path:
    """Return the folder of a search with seed 0 whose best cells ran again with the fresh seeds.

    Args:
        root: where it lies, as the study `s`.
        states: of the runs that have not finished, by cell and seed.
        n_test: photos of its test part.
        best: the cells that ran again.
        rmse_m: the true RMSE by learning rate; the others have `OTHERS_M`.
    """
    known = RMSE_M if rmse_m is None else rmse_m
    made = make_study(
        root,
        "s",
        Options(
            axes={"lr": RATES},
            seeds=(0, *FRESH),
            epochs=2,
            kind="tpe",
            effect=lambda params: known.get(params["lr"], OTHERS_M),
            states=states or {},
            n_test=n_test,
        ),
    )
    path = made.folder / "study.json"
    facts = json.loads(path.read_text())
    facts["cells"] = [run for run in facts["cells"] if run["cell"] in best or run["seed"] == 0]
    facts["seeds"] = [0]
    facts["confirmation"] = {
        "cells": list(best),
        "seeds": list(FRESH),
        "values": [60.0 + place for place in range(len(best))],
        "trials": len(RATES),
    }
    path.write_text(json.dumps(facts))
    return made.folder


def ended(cells: Sequence[str], state: str) -> dict[tuple[str, int], tuple[str, str]]:
    """Return the states of a search in which all fresh runs of these cells are in this state."""
    reason = "" if state in ("queued", "running") else "the loss is NaN"
    return {(cell, seed): (state, reason) for cell in cells for seed in FRESH}
