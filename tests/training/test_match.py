"""Local features: what matches, and that a place seen before is found by it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from img2gps.config.heads import MatchConfig
from img2gps.core.errors import BadInput
from img2gps.training.heads.match import Match
from img2gps.training.heads.matching import describe, fit_whitening, match_scores
from img2gps.training.heads.solved import Examples
from img2gps.training.maps import with_maps

WIDTH, CHANNELS, SIDE = 8, (6, 10), 5


def descriptors(n: int, cells: int = 9, dim: int = 6) -> Tensor:
    torch.manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(n, cells, dim), dim=2)


def test_score_counts_mutual_nearest_neighbours_by_the_cube_of_their_cosine() -> None:
    photos = descriptors(4)
    found = match_scores(photos[0], photos[1:])
    for other, score in zip(photos[1:].numpy(), found.tolist(), strict=True):
        cosines = photos[0].numpy() @ other.T
        expected = 0.0
        for cell, partner in enumerate(cosines.argmax(axis=1)):
            if cosines[:, partner].argmax() == cell:
                expected += max(cosines[cell, partner], 0.0) ** 3
        assert score == pytest.approx(expected / 9, abs=1e-6)


def test_a_backbone_without_feature_maps_is_refused_for_each_head_that_reads_them() -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(4))
    said = "head=local_ridge and head=match need a feature map of 16 pixels a cell, which vit does"
    with pytest.raises(BadInput, match=said):
        with_maps(net, 4, "vit")


def test_a_photo_matches_itself_whole_wherever_its_parts_lie() -> None:
    (photo,) = descriptors(1)
    moved = photo[torch.randperm(len(photo))]
    assert float(match_scores(photo, moved[None])) == pytest.approx(1.0, abs=1e-5)


def test_whitened_cells_have_no_correlation_and_equal_spread() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(5, 5))
    maps = torch.from_numpy(rng.normal(size=(300, 4, 5)) @ mixing + 2.0).movedim(2, 1)
    mean, projection = fit_whitening(maps[..., None], dim=5)
    cells = maps.movedim(1, -1).reshape(-1, 5).float()
    covariance = np.cov(((cells - mean) @ projection).numpy().T)
    assert covariance == pytest.approx(np.diag(np.diag(covariance)), abs=1e-4)
    assert (np.diag(covariance) > 0.5).sum() >= 2
    assert np.diag(covariance).max() < 1.0  # the regularisation keeps noise from being blown up
    assert describe(maps[..., None], mean, projection).norm(dim=2) == pytest.approx(1.0)


def examples(n_spots: int = 12, each: int = 4) -> tuple[Examples, Tensor]:
    """Photos of spots: the cells show the spot, shuffled and noisy; the whole photo says nothing.

    Returns them and the number of each one's spot.
    """
    torch.manual_seed(1)
    spot = torch.arange(n_spots).repeat_interleave(each)
    shown = torch.randn(n_spots, sum(CHANNELS), SIDE * SIDE)
    maps = []
    for number in spot:
        cells = shown[number][:, torch.randperm(SIDE * SIDE)]
        maps.append(cells + 0.3 * torch.randn_like(cells))
    whole = torch.randn(len(spot), WIDTH)
    rows = torch.cat([whole, torch.stack(maps).flatten(1)], dim=1)
    targets = torch.randn(n_spots, 2)[spot]
    order = torch.randperm(len(spot))
    folds = []
    for part in order.chunk(4):
        seen = torch.tensor([row for row in range(len(spot)) if row not in part.tolist()])
        folds.append((seen, part))
    return Examples(rows, targets, torch.ones(2), folds), spot


def head(**knobs: float) -> Match:
    return Match(WIDTH, CHANNELS, MatchConfig(**knobs))  # type: ignore[arg-type]  # by name


def test_spots_are_recognised_by_their_parts_wherever_these_lie() -> None:
    given, _ = examples()
    answers = head().solve(given)
    error = (answers - given.targets).square().sum(dim=1).mean().sqrt()
    spread = given.targets.std(dim=0).norm()
    assert error < 0.3 * spread


def test_candidates_are_those_whose_whole_photos_look_most_alike() -> None:
    given, spot = examples()
    features = given.features.clone()
    features[:, :WIDTH] = torch.nn.functional.one_hot(spot % WIDTH, WIDTH).float()
    few = head(candidates=10)
    few.solve(Examples(features, given.targets, given.unit_m, given.folds))
    with torch.no_grad():
        whole = few._divide(features[:1])[0]
        scores = few._scores(whole - few.centre, few.descriptors[:1])
    seen = (~scores[0, 0].isnan()).nonzero().flatten()
    assert len(seen) == 10
    assert (spot[seen] % WIDTH == spot[0] % WIDTH).sum() >= 4


def test_no_photo_is_its_own_neighbour() -> None:
    given, _ = examples()
    moved = given.targets.clone()
    moved[7] += 100.0
    fixed = {"k": 3, "temperature": 1.0, "blend": 0.0}
    before = head(**fixed).solve(given)
    after = head(**fixed).solve(Examples(given.features, moved, given.unit_m, given.folds))
    assert torch.equal(before[7], after[7])


def test_a_match_head_read_from_a_file_answers_as_the_solved_one() -> None:
    given, _ = examples()
    solved, fresh = head(), head()
    solved.solve(given)
    fresh.load_state_dict(solved.state_dict())
    assert torch.equal(solved(given.features[:5]), fresh(given.features[:5]))
