"""Variance components against figures by hand and studies with known components."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from img2gps.analysis.stats.components import Component, components


def by_factors(found: list[Component]) -> dict[tuple[str, ...], Component]:
    return {component.factors: component for component in found}


def simulated(
    rng: np.random.Generator, sizes: tuple[int, ...], deviations: dict[tuple[int, ...], float]
) -> NDArray[np.float64]:
    """One group of runs: the sum of normal effects of the given factors and interactions."""
    total = np.zeros((1, *sizes))
    for chosen, deviation in deviations.items():
        shape = [size if i in chosen else 1 for i, size in enumerate(sizes)]
        total = total + deviation * rng.normal(size=(1, *shape))
    return total


def test_one_factor_has_the_variance_of_its_runs() -> None:
    values = [3.0, 5.0, 10.0]
    seed, total = components([values], ["seed"])
    assert seed.factors == ("seed",)
    assert seed.variance == total.variance == pytest.approx(np.var(values, ddof=1))


def test_two_factors_by_hand() -> None:
    # Rows differ by 8, columns by 2, and the interaction has +1 and -1.
    found = by_factors(components([[[1.0, 1.0], [7.0, 11.0]]], ["a", "b"]))
    # Mean squares: a 64, b 4, both 4; so a = (64 - 4) / 2, b = (4 - 4) / 2.
    assert found[("a",)].variance == pytest.approx(30)
    assert found[("b",)].variance == pytest.approx(0)
    assert found[("a", "b")].variance == pytest.approx(4)
    assert found[()].variance == pytest.approx(34)


def test_a_main_effect_is_the_covariance_of_runs_that_share_nothing_else() -> None:
    values = np.random.default_rng(0).normal(size=(1, 3, 4, 2))

    def mean_product(*, shared: bool) -> float:
        runs = list(np.ndenumerate(values[0]))
        return float(
            np.mean(
                [
                    one * other
                    for (a, b, c), one in runs
                    for (i, j, k), other in runs
                    if (a == i) == shared and b != j and c != k
                ]
            )
        )

    expected = mean_product(shared=True) - mean_product(shared=False)
    found = by_factors(components(values, ["a", "b", "c"]))
    assert found[("a",)].variance == pytest.approx(expected)


def test_groups_have_means_of_their_own() -> None:
    values = np.random.default_rng(1).normal(size=(5, 3, 4))
    moved = values + np.array([0, 100, -50, 7, 3])[:, None, None]
    one, other = (components(v, ["a", "b"]) for v in (values, moved))
    assert [c.variance for c in one] == pytest.approx([c.variance for c in other], abs=1e-9)


def test_known_components_are_found_without_bias_and_covered() -> None:
    rng = np.random.default_rng(2)
    deviations = {(0,): 3.0, (1,): 1.0, (2,): 4.0, (0, 1): 1.5, (1, 2): 1.0, (0, 1, 2): 2.0}
    truth = {
        ("seed",): 9.0, ("order_seed",): 1.0, ("split.seed",): 16.0,
        ("seed", "order_seed", "split.seed"): 1.5**2 + 1.0 + 4.0,
    }  # fmt: skip
    truth[()] = sum(truth.values())
    names = ["seed", "order_seed", "split.seed"]
    studies = [
        by_factors(components(simulated(rng, (4, 4, 4), deviations), names)) for _ in range(300)
    ]
    for factors, variance in truth.items():
        estimates = np.array([study[factors].variance for study in studies])
        error = estimates.std() / np.sqrt(len(studies))
        assert abs(estimates.mean() - variance) < 4 * error
        covered = np.mean([s[factors].low <= variance <= s[factors].high for s in studies])
        assert 0.92 <= covered <= 1.0


def test_a_factor_without_effect_has_an_interval_from_zero() -> None:
    rng = np.random.default_rng(3)
    found = by_factors(components(simulated(rng, (5, 5), {(0,): 3.0, (0, 1): 1.0}), ["a", "b"]))
    assert found[("b",)].low == 0
    assert found[("a",)].low > 0
