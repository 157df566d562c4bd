"""What may be concluded from a study: rankings, marks, importance."""

from __future__ import annotations

from pathlib import Path

from img2gps.analysis.collect import load_study
from img2gps.analysis.overview import analyse
from tests.helpers.fake_study import Options, make_study


def test_zero_is_the_same_value_however_it_is_written(tmp_path: Path) -> None:
    axes = {"weight_decay": [0, 0.01], "lr": [0.001, 0.003]}
    made = make_study(tmp_path, "s", Options(axes=axes))
    (ranking,) = analyse(load_study(made.folder, [])).rankings
    assert ranking.no_importance == ""
    assert {effect.axes for effect in ranking.importance} >= {("weight_decay",), ("lr",)}
