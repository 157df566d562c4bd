"""Whether a photo is from the training ground: its style, and its distance from the others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial import distance
from torch import nn

from img2gps.analysis import radius
from img2gps.inference.style import noting, style_layer, style_of
from img2gps.inference.trust import FALSE_ALARMS, PHOTOS_AN_AXIS, SHRINKAGE, Styles, Trust, fitted
from img2gps.runs.records import read_study
from tests.conftest import ROOT

ERRORS = radius.scores(np.arange(1.0, 21.0), np.arange(20))
WIDTH = 8


def styles(n: int, seed: int, away: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    spread = np.linspace(0.1, 2.0, WIDTH)
    return (away + spread * rng.normal(size=(n, WIDTH))).astype(np.float32)


def test_distance_is_scipys_mahalanobis() -> None:
    train = styles(9, 0)
    trust = fitted(ERRORS, Styles(train, styles(20, 1), np.arange(20)))
    values, vectors = np.linalg.eigh(np.cov(train.T.astype(np.float64)))
    axes = 9 // PHOTOS_AN_AXIS
    main, rest = slice(WIDTH - axes, None), slice(None, WIDTH - axes)
    values[rest] = values[rest].mean()  # few photos do not tell the smaller ones
    values += SHRINKAGE * np.trace(np.cov(train.T)) / WIDTH
    inverse = vectors @ np.diag(1 / values) @ vectors.T
    assert trust.style_axes.shape == (len(range(WIDTH)[main]), WIDTH)
    asked = styles(5, 2, away=1.0)
    expected = [distance.mahalanobis(one, train.mean(axis=0), inverse) for one in asked]
    assert trust.distance(torch.from_numpy(asked)).numpy() == pytest.approx(expected, rel=1e-3)


def test_share_of_false_alarms_is_the_stated_one() -> None:
    trust = fitted(ERRORS, Styles(styles(200, 0), styles(1000, 1), np.arange(1000)))
    own = trust.strangeness(torch.from_numpy(styles(2000, 2)))
    other = trust.strangeness(torch.from_numpy(styles(2000, 3, away=3.0)))
    assert float((own > 1).float().mean()) == pytest.approx(FALSE_ALARMS, abs=0.03)
    assert float((other > 1).float().mean()) > 0.99


@pytest.mark.parametrize(("train", "spots"), [(2, 20), (30, 5)])
def test_nothing_is_said_of_strangers_where_there_are_too_few_photos(
    train: int, spots: int
) -> None:
    trust = fitted(ERRORS, Styles(styles(train, 0), styles(20, 1), np.arange(20) % spots))
    assert trust.strangeness(torch.from_numpy(styles(3, 2))).isnan().all()


def test_state_dict_gives_the_same_trust_and_no_radius_below_zero() -> None:
    trust = fitted(ERRORS, Styles(styles(30, 0), styles(20, 1), np.arange(20)))
    again = Trust.from_state(trust.state_dict())
    asked = torch.from_numpy(styles(3, 2))
    assert torch.equal(again.strangeness(asked), trust.strangeness(asked))
    with pytest.raises(ValueError, match="below 0"):
        Trust.from_state({**trust.state_dict(), "radius_m": torch.tensor(-1.0)})


def test_style_is_the_mean_and_the_spread_of_each_channel() -> None:
    maps = np.random.default_rng(0).normal(2.0, 3.0, size=(4, 5, 6, 7)).astype(np.float32)
    expected = np.concatenate([maps.mean(axis=(2, 3)), maps.std(axis=(2, 3))], axis=1)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert style_of(torch.from_numpy(maps)).numpy() == pytest.approx(expected, rel=1e-4)
    assert style_of(torch.ones(1, 2, 1, 1)).isfinite().all()  # a single cell has no spread


def test_layer_of_the_style_has_a_stride_of_16_and_is_noted_without_a_trace() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Conv2d(3, 3, 2, stride=2) for _ in range(5)), nn.AdaptiveAvgPool2d(1))
    assert style_layer(net) == "3"
    with torch.no_grad(), noting(net, "3") as noted:
        net(torch.zeros(1, 3, 64, 64))
    assert [tuple(maps.shape) for maps in noted] == [(1, 3, 4, 4)]
    assert not net[3]._forward_hooks
    assert style_layer(nn.Sequential(nn.Flatten(), nn.LazyLinear(2))) == ""


def conformal_radius_m(photos: pd.DataFrame) -> float:
    """The smallest radius that holds the due share of the photos of the average spot, by hand."""
    spots = [group.to_numpy() for _, group in photos.groupby("spot")["error_m"]]
    due = 0.9 * (len(spots) + 1) - 1e-9
    held = (r for r in sorted(photos["error_m"]) if sum((s <= r).mean() for s in spots) >= due)
    return float(next(held))


@pytest.mark.parametrize("study", ["penn_quad", "seneca_aerial"])
@pytest.mark.parametrize("split", ["kfold", "place_kfold"])
def test_share_of_real_photos_inside_the_radius_is_the_one_of_the_docs(
    study: str, split: str
) -> None:
    cells: dict[str, list[pd.DataFrame]] = {}
    for run in read_study(ROOT / "results", study).runs:
        if run.params["split"] == split:
            knobs = {key: knob for key, knob in run.params.items() if key != "split.fold"}
            table = pd.read_csv(ROOT / "results" / run.path / "predictions.csv")
            cells.setdefault(f"{knobs} {run.seed}", []).append(table)
    inside: list[bool] = []
    for folds in cells.values():
        for fold in folds:
            others = pd.concat([other for other in folds if other is not fold])
            inside += (fold["error_m"] <= conformal_radius_m(others)).tolist()
    page = (ROOT / "docs" / "use-the-winner.md").read_text()
    assert (
        f"| {study}, {split} | {np.mean(inside):.1%} of {len(inside)} |".replace("%", " %") in page
    )
