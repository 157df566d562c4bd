"""A study of four cells and two seeds that is written in an instant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from img2gps.analysis import collect
from img2gps.analysis.study import Study
from tests.helpers.fake_study import FakeStudy, Options, make_study

AXES: dict[str, list[Any]] = {"lr": [0.001, 0.003], "batch_size": [8, 16]}
SMALL = Options(axes=AXES, seeds=(0, 1), n_val=12, n_spots=8, epochs=3)
A, B, C, D = (f"lr={lr},batch_size={size}" for lr in (0.001, 0.003) for size in (8, 16))


def small(tmp_path: Path, **changes: Any) -> FakeStudy:
    return make_study(tmp_path / "runs", "s", Options(**{**vars(SMALL), **changes}))


def load(made: FakeStudy) -> Study:
    return collect.load_study(made.folder, [made.folder.parent])


def run_folder(study: Study, cell: str, seed: int) -> Path:
    rows = study.runs[(study.runs["cell"] == cell) & (study.runs["seed"] == seed)]
    return Path(rows["folder"].item())
