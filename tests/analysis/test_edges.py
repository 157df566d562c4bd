"""Winners on the edge of a grid, and the values beyond it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from img2gps.analysis.edges import edges

Floats = NDArray[np.float64]


def test_winner_on_the_edge_names_the_next_value() -> None:
    axes: dict[str, list[Any]] = {
        "lr": [0.001, 0.003, 0.005],
        "batch_size": [8, 16, 32],
        "model": ["a", "b"],
        "n": [5],
    }
    low = edges({"lr": 0.001, "batch_size": 16, "model": "a", "n": 5}, axes)
    assert [(edge.axis, edge.suggestion) for edge in low] == [("lr", 0.0003)]
    high = edges({"lr": 0.003, "batch_size": 32, "model": "a", "n": 5}, axes)
    assert [(edge.axis, edge.suggestion) for edge in high] == [("batch_size", 64.0)]
    inside = edges({"lr": 0.003, "batch_size": 16, "model": "b", "n": 5}, axes)
    assert inside == []
    assert edges({"decay": 0}, {"decay": [0, 0.1, 0.2]}) == []  # nothing lies below
    assert edges({"k": 1}, {"k": [1, 4]}) == []
    for seed in ("order_seed", "split.seed"):  # no scale, so nothing lies beyond
        assert edges({seed: 3}, {seed: [0, 1, 2, 3]}) == []


def test_the_next_value_is_ten_times_beyond_at_most() -> None:
    def beyond(params: dict[str, Any], axes: dict[str, list[Any]]) -> list[float]:
        return [edge.suggestion for edge in edges(params, axes)]

    assert beyond({"lr": 0.001}, {"lr": [0.001, 99.0]}) == [0.0001]
    assert beyond({"lr": 99.0}, {"lr": [0.001, 99.0]}) == [1000.0]
    assert beyond({"batch_size": 512}, {"batch_size": [8, 512]}) == [5120.0]


def test_the_next_value_beyond_an_edge_is_never_rounded_back_inside() -> None:
    (low,) = edges({"lr": 0.0011}, {"lr": [0.0011, 0.0012]})
    assert low.suggestion == pytest.approx(0.0011**2 / 0.0012, rel=0.1)
    assert low.suggestion < 0.0011
    (high,) = edges({"lr": 1.2}, {"lr": [1.0, 1.2]})
    assert high.suggestion == pytest.approx(1.44, rel=0.1)
    assert high.suggestion > 1.2
