"""Heads in closed form agree with scikit-learn, and choose their settings in the training part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.kernel_ridge import KernelRidge as SklearnKernelRidge
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize
from torch import nn

from img2gps.core.errors import BadInput
from img2gps.training.heads.average import AverageHead
from img2gps.training.heads.neighbours import NearSetting, Neighbours
from img2gps.training.heads.ridge import KernelRidge, Ridge
from img2gps.training.heads.solved import Examples, SolvedHead

Floats = NDArray[np.float64]
UNIT_M = torch.tensor([60.0, 80.0])
MAKERS: list[Callable[[], SolvedHead[Any]]] = [Ridge, KernelRidge, Neighbours]


def photos(n: int = 60, width: int = 12) -> tuple[Floats, Floats]:
    """Features and positions that depend on them, with noise."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(n, width)) + 3.0
    positions = np.tanh(features[:, :2] - 3.0) + 0.1 * rng.normal(size=(n, 2))
    return features, positions


def examples(features: Floats, positions: Floats) -> Examples:
    folds = [
        (torch.from_numpy(seen), torch.from_numpy(unseen))
        for seen, unseen in KFold(5).split(features)
    ]
    return Examples(torch.from_numpy(features), torch.from_numpy(positions), UNIT_M, folds)


def directions(features: Floats, seen: Floats) -> Floats:
    return np.asarray(normalize(features - seen.mean(axis=0)))


def test_ridge_agrees_with_scikit_learn() -> None:
    features, positions = photos()
    head = Ridge(penalty=7.0)
    head.solve(examples(features[:40], positions[:40]))
    reference = make_pipeline(StandardScaler(), SklearnRidge(alpha=7.0))
    reference.fit(features[:40], positions[:40])
    found = head(torch.from_numpy(features[40:]))
    assert found.numpy() == pytest.approx(reference.predict(features[40:]), abs=1e-6)


def test_ridge_agrees_with_scikit_learn_with_more_features_than_photos() -> None:
    features, positions = photos(n=30, width=200)
    head = Ridge(penalty=100.0)
    head.solve(examples(features[:20], positions[:20]))
    reference = make_pipeline(StandardScaler(), SklearnRidge(alpha=100.0))
    reference.fit(features[:20], positions[:20])
    found = head(torch.from_numpy(features[20:]))
    assert found.numpy() == pytest.approx(reference.predict(features[20:]), abs=1e-6)


@pytest.mark.parametrize("make", [Ridge, KernelRidge])
def test_a_penalty_that_is_lost_in_rounding_is_refused(
    make: Callable[..., SolvedHead[Any]],
) -> None:
    features, positions = photos(n=10, width=30)
    features[5:] = features[:5]
    with pytest.raises(BadInput, match="penalty=1e-30: too small to solve the head with"):
        make(penalty=1e-30).solve(examples(features, positions))


def test_kernel_ridge_agrees_with_scikit_learn() -> None:
    features, positions = photos()
    head = KernelRidge(width=2.0, penalty=0.3)
    head.solve(examples(features[:40], positions[:40]))
    # On unit vectors |a - b|^2 = 2 - 2 cos, so exp(w (cos - 1)) is an RBF kernel of gamma w / 2.
    reference = SklearnKernelRidge(kernel="rbf", gamma=1.0, alpha=0.3)
    offset = positions[:40].mean(axis=0)
    reference.fit(directions(features[:40], features[:40]), positions[:40] - offset)
    expected = reference.predict(directions(features[40:], features[:40])) + offset
    found = head(torch.from_numpy(features[40:]))
    assert found.numpy() == pytest.approx(expected, abs=2e-3)  # directions are kept in 16 bits


def test_neighbours_agree_with_scikit_learn() -> None:
    features, positions = photos()
    head = Neighbours(k=7, temperature=0.1)
    head.solve(examples(features[:40], positions[:40]))
    reference = KNeighborsRegressor(
        n_neighbors=7, metric="cosine", weights=lambda distance: np.exp(-distance / 0.1)
    )
    reference.fit(directions(features[:40], features[:40]), positions[:40])
    expected = reference.predict(directions(features[40:], features[:40]))
    found = head(torch.from_numpy(features[40:]))
    assert found.numpy() == pytest.approx(expected, abs=1e-2)  # directions are kept in 16 bits


@pytest.mark.parametrize("make", MAKERS)
def test_the_setting_is_the_best_of_the_folds(make: Callable[[], SolvedHead[Any]]) -> None:
    features, positions = photos()
    given = examples(features, positions)
    head = make()
    held_out = head.solve(given)
    errors = []
    for setting in head.settings:
        one = make()
        one.settings = [setting]
        errors.append(float(given.mean_square_m2(one.solve(given))))
    assert head.settings.index(head.chosen) == int(np.argmin(errors))
    assert float(given.mean_square_m2(held_out)) == pytest.approx(min(errors))


@pytest.mark.parametrize("make", MAKERS)
def test_no_photo_is_predicted_from_itself(make: Callable[[], SolvedHead[Any]]) -> None:
    features, positions = photos()
    moved = positions.copy()
    moved[5] += 100.0
    head, other = make(), make()
    head.settings = other.settings = head.settings[:1]
    before = head.solve(examples(features, positions))[5]
    assert torch.equal(other.solve(examples(features, moved))[5], before)


@pytest.mark.parametrize("make", MAKERS)
def test_a_head_read_from_a_file_answers_as_the_solved_one(
    make: Callable[[], SolvedHead[Any]],
) -> None:
    features, positions = photos()
    head = make()
    head.solve(examples(features, positions))
    fresh: nn.Module = make()
    fresh.load_state_dict(head.state_dict())
    asked = torch.from_numpy(features + 0.1)
    assert torch.equal(fresh(asked), head(asked))


def test_fewer_photos_than_neighbours_are_all_taken() -> None:
    features, positions = photos(n=4)
    head = Neighbours(k=50, temperature=1e6)
    head.solve(examples(features.repeat(2, 0), positions.repeat(2, 0)))
    assert head.chosen == NearSetting(50, 1e6)
    expected = np.tile(positions.mean(axis=0), (2, 1))
    assert head(torch.from_numpy(features[:2])).numpy() == pytest.approx(expected, abs=1e-4)


def test_weights_of_an_average_have_the_least_error_for_unseen_photos() -> None:
    features, positions = photos()
    given = examples(features, positions)
    parts: dict[str, nn.Module] = {"ridge": Ridge(), "knn": Neighbours(k=1, temperature=1.0)}
    average = AverageHead(parts, width=12)
    average.solve(given)
    unseen = [part.solve(given) for part in (Ridge(), Neighbours(k=1, temperature=1.0))]
    errors = {
        share: float(given.mean_square_m2(share * unseen[0] + (1 - share) * unseen[1]))
        for share in np.linspace(0, 1, 101)
    }
    best = min(errors, key=lambda share: errors[share])
    assert float(average.weights.sum()) == pytest.approx(1.0)
    assert float(average.weights[0]) == pytest.approx(best, abs=0.03)  # drawn a little to a half


def test_heads_that_are_not_all_solved_count_the_same() -> None:
    features, positions = photos()
    trained = nn.Linear(12, 2)
    average = AverageHead({"linear": trained, "knn": Neighbours()}, width=12).eval()
    average.solve(examples(features, positions))
    asked = torch.from_numpy(features[:3]).float()
    expected = (trained(asked) + average.heads["knn"](asked)) / 2
    assert torch.allclose(average(asked), expected)
    assert torch.equal(average.train()(asked), trained(asked))  # knn has seen these photos
