"""What the cells of a photo say together, and that it locates photos of spots seen before."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import pmean
from sklearn.cluster import KMeans
from torch import Tensor

from img2gps.config.heads import LocalRidgeConfig
from img2gps.training.heads.local import LocalRidge
from img2gps.training.heads.pooling import ROUNDS, fit_words, power_means, residuals
from img2gps.training.heads.solved import Examples

WIDTH, CHANNELS, SIDE = 8, (6, 10), 5


def test_power_means_are_scipys_of_the_positive_and_of_the_negative_values() -> None:
    maps = torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    cells = maps.flatten(2).double().numpy()
    parts = [pmean(np.clip(sign * cells, 1e-6, None), 3, axis=2) for sign in (1, -1)]
    assert power_means(maps).numpy() == pytest.approx(np.concatenate(parts, axis=1), rel=1e-4)


def test_words_are_the_centres_that_scikit_learn_finds_from_the_same_start() -> None:
    cells = torch.randn(500, 6, generator=torch.Generator().manual_seed(0))
    start = cells[torch.linspace(0, 499, 5).long()].numpy()
    reference = KMeans(5, init=start, n_init=1, max_iter=ROUNDS, tol=0, algorithm="lloyd")
    assert fit_words(cells, 5).numpy() == pytest.approx(
        reference.fit(cells.numpy()).cluster_centers_, abs=0.05
    )


def test_residuals_are_sums_of_differences_from_the_nearest_word() -> None:
    generator = torch.Generator().manual_seed(0)
    cells = torch.randn(2, 30, 4, generator=generator)
    words = torch.randn(3, 4, generator=generator)
    for photo, found in zip(cells.numpy(), residuals(cells, words).numpy(), strict=True):
        own = ((photo[:, None] - words.numpy()) ** 2).sum(axis=2).argmin(axis=1)
        sums = [(photo[own == word] - words[word].numpy()).sum(axis=0) for word in range(3)]
        expected = np.concatenate([one / np.linalg.norm(one) for one in sums])
        assert found == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)


def examples() -> tuple[Examples, Tensor]:
    """Photos of spots along a way: the cells show where, shuffled; the whole photo says nothing."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    spot = torch.arange(12).repeat_interleave(4)
    shown = draw(12, sum(CHANNELS), SIDE * SIDE)
    rows = []
    for number in spot:
        cells = shown[number][:, torch.randperm(SIDE * SIDE, generator=generator)]
        rows.append(torch.cat([draw(WIDTH), (cells + 0.3 * draw(*cells.shape)).flatten()]))
    order = torch.randperm(len(spot), generator=generator)
    folds = [
        (torch.tensor([row for row in range(len(spot)) if row not in part.tolist()]), part)
        for part in order.chunk(4)
    ]
    targets = draw(12, 2)[spot]
    return Examples(torch.stack(rows), targets, torch.ones(2), folds), spot


def head() -> LocalRidge:
    return LocalRidge(WIDTH, CHANNELS, LocalRidgeConfig())


def test_spots_are_located_by_their_cells_wherever_these_lie() -> None:
    given, _ = examples()
    answers = head().solve(given)
    error = (answers - given.targets).square().sum(dim=1).mean().sqrt()
    assert error < 0.6 * given.targets.std(dim=0).norm()


def test_a_head_read_from_a_file_answers_as_the_solved_one() -> None:
    given, _ = examples()
    solved, fresh = head(), head()
    solved.solve(given)
    fresh.load_state_dict(solved.state_dict())
    assert torch.equal(solved(given.features[:5]), fresh(given.features[:5]))


def test_a_photo_is_described_alike_alone_and_among_others() -> None:
    given, _ = examples()
    solved = head()
    solved.solve(given)
    together = solved(given.features)
    alone = torch.cat([solved(row[None]) for row in given.features])
    assert torch.allclose(together, alone, atol=1e-5)


def test_channels_that_never_change_are_left_out() -> None:
    given, _ = examples()
    features = given.features.clone()
    features[:, :WIDTH] = 1.0
    solved = head()
    solved.solve(Examples(features, given.targets, given.unit_m, given.folds))
    assert torch.isfinite(solved(features)).all()
