"""Which axis explains the differences, against least squares on dummy variables."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from img2gps.analysis import stats

Floats = NDArray[np.float64]


def sums_of_squares(y: Floats, shape: tuple[int, ...]) -> dict[tuple[int, ...], float]:
    """Sequential sums of squares of a full factorial by least squares on dummy variables."""
    levels = np.indices(shape).reshape(len(shape), -1)
    levels = np.repeat(levels, y.shape[1], axis=1)
    flat = y.ravel()
    design = np.ones((len(flat), 1))
    residual = float(np.sum((flat - flat.mean()) ** 2))
    found = {}
    for size in range(1, len(shape) + 1):
        for names in itertools.combinations(range(len(shape)), size):
            codes = np.ravel_multi_index(
                tuple(levels[i] for i in names), tuple(shape[i] for i in names)
            )
            design = np.column_stack([design, np.eye(codes.max() + 1)[codes]])
            fit = design @ np.linalg.lstsq(design, flat, rcond=None)[0]
            now = float(np.sum((flat - fit) ** 2))
            found[names] = residual - now
            residual = now
    found[()] = residual
    return found


def test_importance_is_the_analysis_of_variance_by_least_squares() -> None:
    shape = (2, 3, 2)
    rng = np.random.default_rng(16)
    error = rng.gamma(2.0, 20.0, (12, 3, 40)) * rng.uniform(0.7, 1.3, (12, 1, 1))
    effects = stats.importance(error, np.arange(40) // 2, {"a": 2, "b": 3, "c": 2})
    expected = sums_of_squares(np.sqrt((error**2).mean(axis=2)), shape)
    total = sum(expected.values())
    index = {"a": 0, "b": 1, "c": 2}
    assert sum(effect.share for effect in effects) == pytest.approx(1.0)
    for effect in effects:
        key = tuple(index[axis] for axis in effect.axes)
        assert effect.share == pytest.approx(expected[key] / total, abs=1e-9)
        assert 0 <= effect.low <= effect.high <= 1


def test_effects_are_tested_against_the_variance_between_seeds() -> None:
    shape, seeds = (2, 3, 2), 3
    rng = np.random.default_rng(17)
    error = rng.gamma(2.0, 20.0, (12, seeds, 40)) * np.repeat([0.8, 1.2], 6)[:, None, None]
    effects = stats.importance(error, np.arange(40), {"a": 2, "b": 3, "c": 2})
    squares = sums_of_squares(np.sqrt((error**2).mean(axis=2)), shape)
    left = 12 * (seeds - 1)
    noise, total = squares[()] / left, sum(squares.values())
    index = {"a": 0, "b": 1, "c": 2}
    for effect in effects[:-1]:
        key = tuple(index[axis] for axis in effect.axes)
        freedom = math.prod(shape[i] - 1 for i in key)
        f = squares[key] / freedom / noise
        assert effect.p_value == pytest.approx(scipy_stats.f.sf(f, freedom, left))
        omega = (squares[key] - freedom * noise) / (total + noise)
        assert effect.omega == pytest.approx(max(omega, 0.0))
    assert effects[0].p_value < 1e-6
    assert effects[0].omega < effects[0].share
    assert math.isnan(effects[-1].p_value)  # the seeds themselves


def test_importance_gives_seeds_no_share_where_a_cell_has_one() -> None:
    error = np.random.default_rng(3).gamma(2.0, 20.0, (4, 2, 40))
    error[0, 1] = np.nan
    effects = stats.importance(error, np.arange(40), {"a": 2, "b": 2})
    assert [effect.axes for effect in effects] == [("a",), ("b",), ("a", "b")]
    assert sum(effect.share for effect in effects) == pytest.approx(1.0)


def test_importance_refuses_what_is_no_full_grid() -> None:
    error = np.ones((5, 1, 10))
    with pytest.raises(ValueError, match="every cell of a full grid"):
        stats.importance(error, np.arange(10), {"a": 2, "b": 3})
    error = np.full((6, 1, 10), np.nan)
    with pytest.raises(ValueError, match="every cell of a full grid"):
        stats.importance(error, np.arange(10), {"a": 2, "b": 3})


def test_axes_without_effect_are_found_as_rarely_with_unequal_numbers_of_seeds() -> None:
    rng, found = np.random.default_rng(18), []
    for _ in range(400):
        luck = 1 + 0.035 * rng.normal(size=(9, 10, 1))
        error = 70.0 * luck * np.ones(20)
        error[1:, 2:] = np.nan  # eight cells have two seeds, and one has ten
        effects = stats.importance(error, np.arange(20), {"a": 3, "b": 3}, n=2)
        found += [effect.p_value < 0.05 for effect in effects if len(effect.axes) == 1]
    assert np.mean(found) < 0.08  # 0.05 and 2 standard errors of 400 studies, whose axes differ
