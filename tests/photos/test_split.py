from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from img2gps.config.schema import SplitConfig, SplitKind
from img2gps.core import geo
from img2gps.core.errors import BadInput
from img2gps.photos import exif
from img2gps.photos.split import (
    Split,
    known_spot,
    leakage,
    make_split,
    nearest_train_m,
)
from img2gps.photos.spots import extent_m, spot_radius_m, spots

LAT0, LON0 = 39.9515, -75.1914  # the study's quad
SPHERE = pyproj.Geod(a=geo.EARTH_RADIUS_M, b=geo.EARTH_RADIUS_M)
RANDOM, PLACE, TIME, KFOLD, PLACE_KFOLD = SplitKind


def manifest_at(
    east: Sequence[float] | NDArray[np.float64],
    north: Sequence[float] | NDArray[np.float64],
    *,
    gps_error_m: float = np.nan,
    lon0: float = LON0,
    **columns: Any,
) -> pd.DataFrame:
    """Photos at these metres around the quad, each with its own content."""
    n = len(east)
    lat, lon = geo.from_east_north_m(np.asarray(east), np.asarray(north), LAT0, lon0)
    return pd.DataFrame(
        {
            "lat_deg": lat,
            "lon_deg": lon,
            "gps_error_m": gps_error_m,
            "content": [f"c{i}" for i in range(n)],
            "session": "",
        }
        | columns
    )


def campus(n: int = 741, seed: int = 0, **columns: Any) -> pd.DataFrame:
    """Photos at 100 standing points over 250 m, in nine sessions."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-125, 125, (100, 2))[rng.integers(0, 100, n)]
    east, north = (points + rng.normal(0, 4, (n, 2))).T
    session = [f"s{i}" for i in rng.integers(0, 9, n)]
    return manifest_at(east, north, **{"session": session} | columns)


def distances_m(manifest: pd.DataFrame) -> NDArray[np.float64]:
    """All pairs of photos, by pyproj."""
    lat, lon = manifest["lat_deg"].to_numpy(), manifest["lon_deg"].to_numpy()
    a, b = np.meshgrid(np.arange(len(lat)), np.arange(len(lat)), indexing="ij")
    metres = SPHERE.inv(lon[a].ravel(), lat[a].ravel(), lon[b].ravel(), lat[b].ravel())[2]
    return np.asarray(metres).reshape(a.shape)


def contents(manifest: pd.DataFrame, rows: NDArray[np.int64]) -> set[str]:
    return set(manifest["content"].iloc[rows])


def split_or_message(manifest: pd.DataFrame, config: SplitConfig) -> Split | str:
    try:
        return make_split(manifest, config)
    except BadInput as error:
        return str(error)


# --- every kind ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n_test", [0, 70, 0.1])
@pytest.mark.parametrize("kind", list(SplitKind))
def test_parts_are_disjoint_ascending_and_all_accounted_for(kind: SplitKind, n_test: float) -> None:
    manifest = campus()
    split = make_split(manifest, SplitConfig(kind=kind, n_test=n_test))
    parts = [split.train, split.val, split.test, split.left_out]
    assert sorted(np.concatenate(parts).tolist()) == list(range(741))
    for part in parts:
        assert np.all(np.diff(part) > 0)
    assert len(split.known_spot) == len(split.val) > 0
    assert (len(split.test) > 0) == (n_test > 0)


@pytest.mark.parametrize("kind", list(SplitKind))
def test_order_of_the_rows_changes_nothing(kind: SplitKind) -> None:
    manifest = campus()
    shuffled = manifest.sample(frac=1, random_state=3)
    config = SplitConfig(kind=kind, n_test=50, n_train=300)
    one, other = make_split(manifest, config), make_split(shuffled, config)
    for part in ("train", "val", "test", "left_out"):
        assert contents(manifest, getattr(one, part)) == contents(shuffled, getattr(other, part))


@pytest.mark.parametrize("kind", list(SplitKind))
def test_seed_changes_the_split_and_repeats_it(kind: SplitKind) -> None:
    manifest = campus()
    chosen = [
        tuple(make_split(manifest, SplitConfig(kind=kind, seed=seed)).val)
        for seed in (*range(10), 3)
    ]
    assert chosen[3] == chosen[-1]
    # nine sessions of about 80 have few choices that come near to 60
    assert len(set(chosen)) >= (3 if kind == "time" else 10)


@pytest.mark.parametrize("kind", list(SplitKind))
def test_smaller_training_parts_are_nested_and_leave_validation_alone(kind: SplitKind) -> None:
    manifest = campus()
    full = make_split(manifest, SplitConfig(kind=kind))
    previous: set[int] = set()
    for n_train in (10, 50, 250, len(full.train)):
        split = make_split(manifest, SplitConfig(kind=kind, n_train=n_train))
        assert len(split.train) == n_train
        assert previous < set(split.train.tolist()) <= set(full.train.tolist())
        assert split.val.tolist() == full.val.tolist()
        assert split.left_out.tolist() == full.left_out.tolist()
        previous = set(split.train.tolist())


@pytest.mark.parametrize("kind", list(SplitKind))
def test_equal_photos_lie_on_one_side_whatever_their_labels_and_sessions(kind: SplitKind) -> None:
    # 300 pictures, some stored up to four times, with labels all over the campus
    copies = [f"c{i}" for i in np.random.default_rng(1).integers(0, 300, 741)]
    manifest = campus(content=copies)
    split = make_split(manifest, SplitConfig(kind=kind, n_test=60, seed=5))
    train, val, test = (contents(manifest, part) for part in (split.train, split.val, split.test))
    assert not train & val
    assert not train & test
    assert not val & test


@pytest.mark.parametrize("kind", list(SplitKind))
def test_test_part_depends_on_neither_kind_nor_validation(kind: SplitKind) -> None:
    manifest = campus()
    reference = make_split(manifest, SplitConfig(n_test=80))
    for n_val in (60, 100, 0.3):
        split = make_split(manifest, SplitConfig(kind=kind, n_val=n_val, n_test=80, fold=1))
        assert split.test.tolist() == reference.test.tolist()
    assert len(reference.test) == pytest.approx(80, abs=5)


@pytest.mark.parametrize("kind", list(SplitKind))
def test_test_part_is_disjoint_in_place(kind: SplitKind) -> None:
    manifest = campus()
    split = make_split(manifest, SplitConfig(kind=kind, n_test=80))
    others = np.concatenate([split.train, split.val])
    assert split.buffer_m == 10
    assert distances_m(manifest)[np.ix_(split.test, others)].min() > 10


def test_pandas_index_is_not_taken_for_row_numbers() -> None:
    manifest = campus()
    moved = manifest.set_index(np.arange(5000, 5741))
    for kind in list(SplitKind):
        config = SplitConfig(kind=kind, n_test=50)
        assert make_split(moved, config).val.tolist() == make_split(manifest, config).val.tolist()


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 80),
    config=st.builds(
        SplitConfig,
        kind=st.sampled_from(list(SplitKind)),
        seed=st.integers(0, 5),
        n_val=st.one_of(st.integers(1, 20), st.floats(0.01, 0.6)),
        n_test=st.one_of(st.just(0), st.integers(1, 12)),
        n_train=st.one_of(st.none(), st.integers(1, 20)),
        folds=st.integers(2, 6),
        buffer_m=st.one_of(st.none(), st.floats(14.5, 40)),
        block_m=st.one_of(st.none(), st.floats(1, 100)),
    ),
)
def test_any_photos_and_values_give_sound_parts_or_one_line(
    seed: int, n: int, config: SplitConfig
) -> None:
    rng = np.random.default_rng(seed)
    east, north = (rng.integers(0, 8, (2, n)) * 12) + rng.normal(0, 2, (2, n))
    manifest = manifest_at(
        east,
        north,
        gps_error_m=rng.choice([np.nan, 3.0, 14.0]),
        content=[f"c{i}" for i in rng.integers(0, 2 * n + 1, n)],
        session=rng.choice(["", "a", "b", "c"], n).astype(object),
    )
    split = split_or_message(manifest, config)
    if isinstance(split, str):
        assert split.startswith("split.")
        assert "\n" not in split
        return
    train, val, test, left_out = (
        set(part.tolist()) for part in (split.train, split.val, split.test, split.left_out)
    )
    assert train
    assert val
    assert len(train | val | test | left_out) == sum(map(len, (train, val, test, left_out)))
    assert not contents(manifest, split.train) & contents(manifest, split.val)
    assert not contents(manifest, split.test) & contents(
        manifest, np.array(sorted(train | val), dtype=np.int64)
    )
    metres = distances_m(manifest)
    if split.buffer_m is not None and test:
        assert np.all(metres[np.ix_(sorted(test), sorted(train | val))] > split.buffer_m - 1e-6)
    if split.buffer_m is not None and config.kind.startswith("place"):
        assert np.all(metres[np.ix_(sorted(val), sorted(train))] > split.buffer_m - 1e-6)
    if config.n_train is not None:
        assert len(train) == config.n_train


# --- random -------------------------------------------------------------------------------------


def test_default_is_the_studys_681_and_60() -> None:
    split = make_split(campus(), SplitConfig())
    assert (len(split.train), len(split.val), len(split.left_out)) == (681, 60, 0)
    assert split.block_m is split.buffer_m is None


def test_fraction_is_of_all_photos() -> None:
    split = make_split(campus(200), SplitConfig(n_val=0.15, n_test=0.1))
    assert len(split.val) == 30


def test_adding_photos_moves_few() -> None:
    manifest = campus(741)
    fewer = manifest.iloc[:721]
    for seed in range(5):
        config = SplitConfig(seed=seed)
        before = contents(fewer, make_split(fewer, config).val)
        after = contents(manifest, make_split(manifest, config).val)
        # each of 20 photos displaces at most one, and 20 * 60 / 741 = 1.6 on average
        assert len(before - after) <= 6


def test_validation_is_exact_beside_a_few_copies() -> None:
    content = [f"c{i}" for i in range(70)] + [f"c{i}" for i in (0, 0, 0, 1, 1, 2, 3, 4, 5, 6)]
    manifest = campus(80, content=content)
    for n_val in range(1, 70):
        assert len(make_split(manifest, SplitConfig(n_val=n_val)).val) == n_val


def sums(sizes: Iterable[int]) -> set[int]:
    found = {0}
    for size in sizes:
        found |= {s + size for s in found}
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=60), st.data())
def test_validation_is_as_near_as_any_choice_of_whole_groups(
    copies: list[int], data: st.DataObject
) -> None:
    content = [f"c{i}" for i, k in enumerate(copies) for _ in range(k)]
    n = len(content)
    n_val = data.draw(st.integers(1, n - 1))
    possible = {size for size in sums(copies) if size < n}
    nearest = min(abs(size - n_val) for size in possible)
    split = split_or_message(campus(n, content=content), SplitConfig(n_val=n_val))
    if isinstance(split, str):  # taking none, or all, would be as near
        assert nearest == min(n_val, n - n_val) or n - n_val <= nearest
    else:
        assert abs(len(split.val) - n_val) == nearest


def test_validation_of_pairs_only_is_as_near_as_pairs_allow() -> None:
    content = [f"c{i // 2}" for i in range(40)]
    split = make_split(campus(40, content=content), SplitConfig(n_val=7))
    assert len(split.val) == 6


def test_validation_photos_are_a_fair_draw() -> None:
    manifest = campus(100)
    times = np.zeros(100)
    for seed in range(400):
        times[make_split(manifest, SplitConfig(seed=seed, n_val=25)).val] += 1
    # binomial(400, 1/4): mean 100, standard deviation 8.7
    assert times.mean() == 100
    assert abs(times - 100).max() < 4.5 * 8.7
    assert times.std() == pytest.approx(8.7, rel=0.35)


# --- place --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PLACE, PLACE_KFOLD])
@pytest.mark.parametrize("buffer_m", [None, 25.0])
@pytest.mark.parametrize("gps_error_m", [np.nan, 4.0, 14.0])
def test_buffer_keeps_training_away_by_brute_force(
    kind: SplitKind, buffer_m: float | None, gps_error_m: float
) -> None:
    manifest = campus(400, gps_error_m=gps_error_m)
    split = make_split(manifest, SplitConfig(kind=kind, buffer_m=buffer_m))
    expected_m = buffer_m or (14.0 if gps_error_m == 14 else 10.0)
    assert split.buffer_m == expected_m
    metres = distances_m(manifest)
    assert metres[np.ix_(split.val, split.train)].min() > expected_m
    # and nothing else was left out
    assert np.all(metres[np.ix_(split.val, split.left_out)].min(axis=0) <= expected_m)
    assert not split.known_spot.any()


def test_blocks_are_taken_whole() -> None:
    # a 5 x 5 lattice of heaps, 100 m apart, in blocks of 30 m: a heap of 2 m is rarely cut
    rng = np.random.default_rng(0)
    heap = np.repeat(np.arange(25), 8)
    east = heap % 5 * 100 + rng.uniform(0, 2, 200)
    north = heap // 5 * 100 + rng.uniform(0, 2, 200)
    whole = 0
    for seed in range(10):
        split = make_split(
            manifest_at(east, north),
            SplitConfig(kind=PLACE, n_val=40, block_m=30, seed=seed),
        )
        assert len(split.val) == pytest.approx(40, abs=4)
        whole += all(np.sum(heap[split.val] == h) == 8 for h in set(heap[split.val].tolist()))
        assert not set(heap[split.val].tolist()) & set(heap[split.train].tolist())
    assert whole >= 5


def test_blocks_do_not_move_when_photos_are_added_elsewhere() -> None:
    manifest = campus(741)
    fewer = manifest.iloc[:731]
    config = SplitConfig(kind=PLACE, n_val=120)
    before = contents(fewer, make_split(fewer, config).val)
    after = contents(manifest, make_split(manifest, config).val)
    assert len(before & after) / len(before | after) > 0.6


def test_default_block_grows_with_the_noise_and_the_ground() -> None:
    def block_m(**columns: float) -> float | None:
        return make_split(campus(300, 0, **columns), SplitConfig(kind=PLACE)).block_m

    assert block_m() == 30  # three buffers of 10 m
    assert block_m(gps_error_m=14.0) == 50  # 42 m, rounded up
    wide = manifest_at(*np.random.default_rng(0).uniform(0, 10_000, (2, 500)))
    assert make_split(wide, SplitConfig(kind=PLACE)).block_m == 700  # 9,000 m / 16, rounded up


def test_place_across_the_date_line() -> None:
    rng = np.random.default_rng(0)
    manifest = manifest_at(*rng.uniform(-150, 150, (2, 300)), lon0=180.0)
    assert manifest["lon_deg"].max() > 179
    assert manifest["lon_deg"].min() < -179
    split = make_split(manifest, SplitConfig(kind=PLACE))
    assert distances_m(manifest)[np.ix_(split.val, split.train)].min() > 10


def test_random_and_place_compare_at_equal_training_size() -> None:
    manifest = campus()
    place = make_split(manifest, SplitConfig(kind=PLACE))
    random = make_split(manifest, SplitConfig(kind=RANDOM, n_train=len(place.train)))
    assert len(random.train) == len(place.train)
    near, far = leakage(manifest, random), leakage(manifest, place)
    assert near["known_spots"] > 0.95
    assert far["known_spots"] == 0
    assert near["nearest_train_median_m"] < 5 < 10 < far["nearest_train_median_m"]


# --- time ---------------------------------------------------------------------------------------


def test_sessions_are_taken_whole() -> None:
    manifest = campus()
    split = make_split(manifest, SplitConfig(kind=TIME, n_val=160))
    held, trained = (set(manifest["session"].iloc[part]) for part in (split.val, split.train))
    assert not held & trained
    assert len(split.val) == pytest.approx(160, abs=10)
    assert len(split.left_out) == 0


def test_a_session_that_is_too_large_does_not_hide_the_others() -> None:
    session = ["big"] * 500 + [f"s{i % 4}" for i in range(80)]
    manifest = campus(580, session=session)
    for seed in range(8):
        split = make_split(manifest, SplitConfig(kind=TIME, n_val=20, seed=seed))
        assert len(split.val) == 20


def test_photos_without_a_session_are_left_out_of_a_time_split() -> None:
    session = np.array([f"s{i % 5}" for i in range(100)], dtype=object)
    session[:7] = np.nan
    session[7:10] = ""
    split = make_split(campus(100, session=session), SplitConfig(kind=TIME, n_val=18))
    assert split.left_out.tolist() == list(range(10))


# --- k-fold -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [KFOLD, PLACE_KFOLD])
@pytest.mark.parametrize("n_test", [0, 60])
def test_folds_validate_each_photo_once(kind: SplitKind, n_test: int) -> None:
    manifest = campus()
    splits = [
        make_split(manifest, SplitConfig(kind=kind, fold=f, folds=5, n_test=n_test, n_val=0))
        for f in range(5)
    ]
    validated = np.concatenate([split.val for split in splits])
    assert len(set(validated.tolist())) == len(validated)
    near_test = distances_m(manifest)[splits[0].test].min(axis=0) <= 10 if n_test else np.zeros(741)
    assert len(validated) == 741 - np.sum(near_test)
    sizes = [len(split.val) for split in splits]
    tolerance = 1 if kind == "kfold" else 40  # blocks are taken whole
    assert max(sizes) - min(sizes) <= tolerance


def test_adding_photos_moves_few_between_folds() -> None:
    manifest = campus()
    fewer = manifest.iloc[:731]
    config = SplitConfig(kind=KFOLD, fold=2)
    before = contents(fewer, make_split(fewer, config).val)
    after = contents(manifest, make_split(manifest, config).val)
    assert len(before - after) <= 10


# --- spots and leakage --------------------------------------------------------------------------


def test_standing_points_far_apart_are_one_spot_each_numbered_from_the_south() -> None:
    rng = np.random.default_rng(0)
    point = rng.integers(0, 6, 120)
    east, north = rng.normal(0, 1.5, 120), point * 40.0 + rng.normal(0, 1.5, 120)
    manifest = manifest_at(east, north)
    assert spots(manifest["lat_deg"], manifest["lon_deg"], manifest["gps_error_m"]).tolist() == (
        point.tolist()
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([np.nan, 3.0, 14.0, 30.0]))
def test_spots_are_no_finer_than_the_error_and_do_not_chain(seed: int, gps_error_m: float) -> None:
    rng = np.random.default_rng(seed)
    manifest = manifest_at(*rng.uniform(0, 120, (2, 80)), gps_error_m=gps_error_m)
    spot = spots(manifest["lat_deg"], manifest["lon_deg"], manifest["gps_error_m"])
    radius_m = max(10.0, gps_error_m if np.isfinite(gps_error_m) else 0.0)
    metres = distances_m(manifest)
    same = spot[:, None] == spot
    assert metres[same].max() <= 2 * radius_m  # single linkage would make one spot of all
    # each spot has a leader within the radius of all its photos, and leaders keep apart
    leaders = [
        [i for i in np.flatnonzero(spot == s) if metres[i, spot == s].max() <= radius_m]
        for s in range(spot.max() + 1)
    ]
    assert all(leaders)


def test_spots_ignore_the_order_of_the_photos() -> None:
    manifest = campus(500)
    order = np.random.default_rng(1).permutation(500)
    shuffled = manifest.iloc[order]
    columns = ("lat_deg", "lon_deg", "gps_error_m")
    here, there = (spots(*(m[c] for c in columns)) for m in (manifest, shuffled))
    assert here[order].tolist() == there.tolist()


def test_spots_of_no_photos_and_of_one() -> None:
    assert spots([], [], []).tolist() == []
    assert spots([1.0], [2.0], [np.nan]).tolist() == [0]


def test_spot_radius_is_the_median_stated_error_but_no_less_than_ten_metres() -> None:
    assert spot_radius_m([np.nan, np.nan]) == 10
    assert spot_radius_m([4.0, 6.0, np.nan]) == 10
    assert spot_radius_m([14.0, 12.0, 500.0, np.nan, 0.0]) == 14


@pytest.mark.slow
def test_a_hundred_thousand_photos_have_as_many_spots_as_fit_the_ground() -> None:
    rng = np.random.default_rng(0)
    manifest = manifest_at(*rng.uniform(0, 3000, (2, 100_000)))
    spot = spots(manifest["lat_deg"], manifest["lon_deg"], manifest["gps_error_m"])
    # leaders over 10 m apart whose circles of 10 m cover nearly all of the ground
    densest = 3010**2 / (10**2 * np.sqrt(3) / 2)
    loosest = 3000**2 / (np.pi * 10**2) * 0.95
    assert loosest < spot.max() + 1 < densest


def hand_made() -> tuple[pd.DataFrame, Split]:
    """Training photos at 0 and 100 m east; validation at 4, 8, 30, 91 and 200 m."""
    manifest = manifest_at([0, 100, 4, 8, 30, 91, 200], [0] * 7)
    blank = make_split(manifest, SplitConfig(n_val=1))
    return manifest, replace(blank, train=np.array([0, 1]), val=np.array([2, 3, 4, 5, 6]))


def test_nearest_training_photo_by_hand() -> None:
    manifest, split = hand_made()
    assert nearest_train_m(manifest, split) == pytest.approx([4, 8, 30, 9, 100], abs=1e-3)


def test_known_spots_and_leakage_by_hand() -> None:
    manifest, split = hand_made()
    known = known_spot(manifest, split)
    assert known.tolist() == [True, True, False, True, False]
    figures = leakage(manifest, replace(split, known_spot=known))
    assert figures == pytest.approx(
        {"nearest_train_median_m": 9, "within_5m": 0.2, "within_10m": 0.6, "known_spots": 0.6},
        abs=1e-3,
    )


def test_known_spots_of_the_test_part_are_none() -> None:
    manifest = campus()
    split = make_split(manifest, SplitConfig(n_test=80))
    assert not known_spot(manifest, split, "test").any()
    assert split.known_spot.tolist() == known_spot(manifest, split).tolist()


# --- impossible values --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "start", "remedy"),
    [
        ({"n_val": 741}, "split.n_val=741", "from 1 to 740"),
        ({"n_val": -3}, "split.n_val=-3", "give a count"),
        ({"n_val": 1.5}, "split.n_val=1.5", "give a count"),
        ({"n_val": float("nan")}, "split.n_val=nan", "give a count"),
        ({"n_val": 0.0001}, "split.n_val=0.0001: 0 of 741", "fraction that comes to one"),
        ({"n_val": 700, "n_test": 41}, "split.n_val=700: nothing is left", "or split.n_test"),
        ({"n_val": 600, "n_test": 100}, "split.n_val=600: only", "lower it"),
        ({"n_test": -1}, "split.n_test=-1", "give a count"),
        ({"n_test": 1000}, "split.n_test=1000", "from 1 to 740"),
        ({"n_test": 60, "block_m": 1e4}, "split.n_test=60: the smallest test block", "block_m"),
        ({"n_train": 0}, "split.n_train=0", "above 0"),
        ({"n_train": 682}, "split.n_train=682: only 681 training photos", "lower it"),
        ({"seed": -1}, "split.seed=-1", "between 0 and"),
        ({"kind": KFOLD, "folds": 1}, "split.folds=1", "between 2 and 1000"),
        ({"kind": KFOLD, "folds": 742}, "split.folds=742", "2 to 741"),
        ({"kind": KFOLD, "fold": 5}, "split.fold=5", "between 0 and 4"),
        ({"kind": KFOLD, "fold": -1}, "split.fold=-1", "between 0 and 4"),
        ({"kind": PLACE_KFOLD, "folds": 300}, "split.folds=300", "split.block_m"),
        ({"kind": PLACE, "block_m": 1e5}, "split.block_m=100000", "lower it"),
        ({"kind": PLACE, "block_m": 0}, "split.block_m=0", "above 0 metres"),
        ({"kind": PLACE, "buffer_m": -1}, "split.buffer_m=-1", "0 or more"),
        (
            {"kind": PLACE, "buffer_m": 400},
            "split.block_m=null: all photos",
            "split.buffer_m",
        ),
        (
            {"kind": PLACE, "buffer_m": 400, "block_m": 50},
            "split.kind=place",
            "split.buffer_m",
        ),
    ],
)
def test_impossible_values_name_key_value_and_remedy(
    wanted: dict[str, Any], start: str, remedy: str
) -> None:
    with pytest.raises(BadInput) as caught:
        make_split(campus(), SplitConfig(**wanted))
    message = str(caught.value)
    assert message.startswith(start)
    assert remedy in message
    assert "\n" not in message


def test_buffer_below_the_label_noise_is_refused() -> None:
    with pytest.raises(BadInput, match=r"split\.buffer_m=5: below the labels' own error .*14 m"):
        make_split(campus(gps_error_m=14.0), SplitConfig(kind=PLACE, buffer_m=5))


def test_validation_smaller_than_any_block_is_refused() -> None:
    heaps = np.repeat([0.0, 500.0, 1000.0], 50)
    with pytest.raises(BadInput, match=r"split\.n_val=10: the smallest block has 50 photos; raise"):
        make_split(manifest_at(heaps, heaps), SplitConfig(kind=PLACE, n_val=10, block_m=10))


@pytest.mark.parametrize(("session", "found"), [("", "no photo with a time"), ("s", "only one")])
def test_time_without_sessions_says_so(session: str, found: str) -> None:
    with pytest.raises(BadInput, match=f"split.kind=time: {found}.*split=random"):
        make_split(campus(session=session), SplitConfig(kind=TIME))


def test_one_photo_cannot_be_divided() -> None:
    with pytest.raises(BadInput, match="1 photos cannot be divided"):
        make_split(campus(1), SplitConfig())


# --- extent -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 50, 400])
def test_extent_is_the_largest_distance_between_two_photos(n: int) -> None:
    manifest = campus(n, seed=n)
    exact = distances_m(manifest).max()
    assert extent_m(manifest["lat_deg"], manifest["lon_deg"]) == pytest.approx(exact, rel=3e-4)


def test_extent_of_many_photos_takes_no_table_of_all_pairs() -> None:
    manifest = campus(20_000)
    tracemalloc.start()
    metres = extent_m(manifest["lat_deg"], manifest["lon_deg"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200e6  # 3.2 GB for one table of pairs
    assert 250 < metres < 400


# --- real photos --------------------------------------------------------------------------------


def test_real_quad_leaks_at_random_and_not_by_place(real_photos: Path) -> None:
    files = [path.read_bytes() for path in sorted((real_photos / "penn-quad").glob("*.jpg"))]
    readings = [exif.read(data) for data in files]
    manifest = pd.DataFrame(
        {
            "lat_deg": [r.lat_deg for r in readings],
            "lon_deg": [r.lon_deg for r in readings],
            "gps_error_m": [r.gps_error_m for r in readings],
            "content": [hashlib.sha256(data).hexdigest() for data in files],
            "session": [r.taken_at[:10] for r in readings],
        }
    ).astype({"gps_error_m": float})
    assert len(manifest) == 81
    assert manifest["gps_error_m"].count() == 60

    place = make_split(manifest, SplitConfig(kind=PLACE, n_val=16))
    random = make_split(manifest, SplitConfig(n_val=16, n_train=len(place.train)))
    noise_m = manifest["gps_error_m"].median()
    assert place.buffer_m == pytest.approx(noise_m)
    assert noise_m == pytest.approx(14, abs=1)
    assert leakage(manifest, random)["known_spots"] > 0.5
    assert leakage(manifest, place)["known_spots"] == 0
    assert distances_m(manifest)[np.ix_(place.val, place.train)].min() > noise_m
