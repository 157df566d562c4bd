"""Blocks by rule 2 are spread over the ground like all photos."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from img2gps.config.compose import read_config
from img2gps.config.schema import SPLIT_RULES, SplitConfig, SplitKind
from img2gps.core import geo
from img2gps.core.errors import BadInput
from img2gps.photos.resemblance import Resemblance, log_resemblance, resemblance
from img2gps.photos.split import Split, make_split
from img2gps.runs.folder import CONFIG
from tests.conftest import ROOT
from tests.helpers.tiny import config as composed
from tests.photos.test_split import LAT0, contents, manifest_at

PLACE = SplitConfig(kind=SplitKind.place, rule=2)
PLACE_KFOLD = SplitConfig(kind=SplitKind.place_kfold, rule=2, n_val=0)


def ground(seed: int, spots: int, photos: int) -> pd.DataFrame:
    """Photos of so many spots on a rectangle or along two streets, some spots with many photos."""
    rng = np.random.default_rng(seed)
    where = rng.uniform(-1, 1, (spots, 2)) * rng.uniform(100, 400, 2)
    if seed % 2:
        where[np.arange(spots), rng.integers(0, 2, spots)] = 0.0
    spot = rng.choice(spots, photos, p=rng.dirichlet(np.full(spots, 2.0)))
    east, north = (where[spot] + rng.normal(0, 2, (photos, 2))).T
    return manifest_at(east, north)


grounds = st.builds(ground, st.integers(0, 10_000), st.integers(60, 160), st.integers(300, 700))


def plane_m(manifest: pd.DataFrame) -> NDArray[np.float64]:
    """Metres on a plane that touches the ground at the quad."""
    scale = np.radians(1) * geo.EARTH_RADIUS_M * np.array([np.cos(np.radians(LAT0)), 1])
    return np.asarray(manifest[["lon_deg", "lat_deg"]].to_numpy() * scale)


def spread_m(manifest: pd.DataFrame, rows: NDArray[np.int64]) -> float:
    """Root mean squared distance from the mean position."""
    return float(np.sqrt(plane_m(manifest)[rows].var(axis=0).sum()))


def mean_predictor_m(manifest: pd.DataFrame, split: Split) -> float:
    plane = plane_m(manifest)
    return rms(np.linalg.norm(plane[split.val] - plane[split.train].mean(axis=0), axis=1))


def rms(values: ArrayLike) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


@settings(max_examples=20, deadline=None)
@given(grounds, st.integers(0, 5), st.floats(0.12, 0.35))
def test_validation_is_apart_from_training_near_its_size_and_spread_like_all_photos(
    manifest: pd.DataFrame, seed: int, share: float
) -> None:
    split = make_split(manifest, replace(PLACE, seed=seed, n_val=share))
    assert split.buffer_m is not None
    plane = plane_m(manifest)
    assert cdist(plane[split.val], plane[split.train]).min() > 0.99 * split.buffer_m
    assert not split.known_spot.any()
    wanted = round(share * len(manifest))
    assert abs(len(split.val) - wanted) <= 0.05 * wanted
    whole = spread_m(manifest, np.arange(len(manifest)))
    assert 0.8 < spread_m(manifest, split.val) / whole < 1.25
    assert 0.8 < mean_predictor_m(manifest, split) / whole < 1.25


@settings(max_examples=10, deadline=None)
@given(grounds, st.integers(0, 5))
def test_every_photo_validates_in_one_fold(manifest: pd.DataFrame, seed: int) -> None:
    folds = [make_split(manifest, replace(PLACE_KFOLD, seed=seed, fold=f)) for f in range(5)]
    validated = np.concatenate([fold.val for fold in folds])
    assert sorted(validated.tolist()) == list(range(len(manifest)))


def test_folds_resemble_the_ground_more_than_those_of_rule_1() -> None:
    worst: dict[int, list[float]] = {1: [], 2: []}
    for seed in range(12):
        manifest = ground(seed, 100, 500)
        whole = spread_m(manifest, np.arange(500))
        for rule in SPLIT_RULES:
            config = replace(PLACE_KFOLD, rule=rule)
            folds = [make_split(manifest, replace(config, fold=fold)) for fold in range(5)]
            off = [abs(mean_predictor_m(manifest, fold) / whole - 1) for fold in folds]
            worst[rule].append(max(off))
    assert rms(worst[2]) < 0.75 * rms(worst[1])


@settings(max_examples=10, deadline=None)
@given(grounds, st.integers(0, 5), st.sampled_from([PLACE, PLACE_KFOLD]))
def test_rows_may_be_shuffled_and_the_seed_repeats_the_split(
    manifest: pd.DataFrame, seed: int, config: SplitConfig
) -> None:
    config = replace(config, seed=seed, n_test=0.1)
    shuffled = manifest.sample(frac=1, random_state=seed)
    one, other = make_split(manifest, config), make_split(shuffled, config)
    for part in ("train", "val", "test"):
        assert contents(manifest, getattr(one, part)) == contents(shuffled, getattr(other, part))


def test_another_seed_gives_another_split() -> None:
    manifest = ground(1, 100, 500)
    chosen = {tuple(make_split(manifest, replace(PLACE, seed=seed)).val) for seed in range(8)}
    assert len(chosen) == 8


def test_rule_2_resembles_the_ground_more_than_rule_1() -> None:
    off: dict[int, list[float]] = {1: [], 2: []}
    for seed in range(12):
        manifest = ground(seed, 100, 741)
        whole = spread_m(manifest, np.arange(741))
        for rule in SPLIT_RULES:
            split = make_split(manifest, replace(PLACE, rule=rule))
            off[rule].append(mean_predictor_m(manifest, split) / whole - 1)
    assert rms(off[2]) < rms(off[1]) / 2


def test_the_test_part_is_spread_too() -> None:
    manifest = ground(2, 120, 700)
    split = make_split(manifest, SplitConfig(n_test=100, rule=2))
    whole = spread_m(manifest, np.arange(700))
    assert spread_m(manifest, split.test) == pytest.approx(whole, rel=0.15)
    assert len(split.test) == pytest.approx(100, abs=5)


@pytest.mark.parametrize("kind", [SplitKind.random, SplitKind.time, SplitKind.kfold])
def test_rules_differ_in_blocks_only(kind: SplitKind) -> None:
    manifest = ground(3, 80, 300).assign(session=[f"s{i % 9}" for i in range(300)])
    one, two = (make_split(manifest, SplitConfig(kind=kind, rule=rule)) for rule in SPLIT_RULES)
    assert one.val.tolist() == two.val.tolist()
    assert one.train.tolist() == two.train.tolist()


@pytest.mark.parametrize("config", [PLACE, PLACE_KFOLD])
def test_one_photo_of_another_country_does_not_decide_the_split(config: SplitConfig) -> None:
    manifest = ground(4, 100, 500)
    away = pd.concat([manifest, manifest_at([0.0], [900_000.0], content=["away"])])
    split = make_split(away.reset_index(drop=True), config)
    near = split.val[split.val < 500]
    assert spread_m(manifest, near) == pytest.approx(spread_m(manifest, np.arange(500)), rel=0.15)


def test_photos_of_one_position_are_refused_in_one_line() -> None:
    manifest = manifest_at([0.0] * 40, [0.0] * 40)
    with pytest.raises(BadInput, match=r"split\.block_m=null: all photos lie in one block"):
        make_split(manifest, replace(PLACE, n_val=8))


def test_new_splits_have_the_newest_rule_and_published_runs_the_first() -> None:
    shipped = yaml.safe_load((ROOT / "conf/split/random.yaml").read_text())
    assert shipped["rule"] == SPLIT_RULES[-1] == 2
    published = next((ROOT / "results/splits").glob(f"*/{CONFIG}"))
    assert read_config(published).split.rule == 1


@pytest.mark.parametrize(
    ("sweep", "kind"),
    [
        ("splits", "place"),
        ("augmentation", "place"),
        ("every_photo", "place_kfold"),
        ("frozen", "place_kfold"),
    ],
)
def test_published_sweeps_keep_the_rule_of_their_runs(sweep: str, kind: str) -> None:
    assert composed(f"sweeps={sweep}", f"split={kind}").split.rule == 1
    assert composed(f"split={kind}").split.rule == 2


def test_unknown_rule_is_refused() -> None:
    with pytest.raises(BadInput, match=r"split\.rule=3: .*between 1 and 2"):
        SplitConfig(rule=3)


# --- in words -----------------------------------------------------------------------------------


def test_figures_of_resemblance_by_hand() -> None:
    manifest = manifest_at([-30.0, 30.0, 0.0, 0.0, 100.0, 100.0], [0, 0, -40, 40, -10, 10])
    blank = make_split(manifest, SplitConfig(n_val=1))
    split = replace(blank, train=np.array([0, 1, 2, 3]), val=np.array([4, 5]))
    found = resemblance(manifest, split)
    assert found is not None
    assert found.spread_m == pytest.approx(10, abs=0.01)
    assert found.mean_predictor_m == pytest.approx(np.hypot(100, 10), abs=0.01)
    whole = np.sqrt((2 * 900 + 2 * 1600 + 2 * (100**2 + 100)) / 6 - (200 / 6) ** 2)
    assert found.whole_m == pytest.approx(whole, abs=0.01)
    assert found.n_spots == 2
    assert not found.is_alike
    assert resemblance(manifest, replace(split, val=np.array([], dtype=np.int64))) is None


def test_warnings_name_what_to_use_instead() -> None:
    corner = Resemblance(whole_m=90.0, spread_m=40.0, mean_predictor_m=150.0, n_spots=7)
    unlike, few = corner.warnings(replace(PLACE, rule=1))
    assert "not spread like all photos" in unlike
    assert "use split.rule=2 or another split.seed or split=place_kfold" in unlike
    assert "validation has 7 spots" in few
    assert "use split=place_kfold" in few
    assert "split.rule" not in corner.warnings(PLACE)[0]
    (sessions,) = corner.warnings(SplitConfig(kind=SplitKind.time))
    assert "split=kfold" in sessions
    for quiet in (SplitKind.random, SplitKind.kfold, SplitKind.place_kfold):
        assert not corner.warnings(SplitConfig(kind=quiet))
    assert not Resemblance(90.0, 85.0, 92.0, 35).warnings(PLACE)


def test_a_run_logs_how_its_validation_photos_are_spread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    manifest = ground(6, 30, 200)
    split = make_split(manifest, PLACE)
    with caplog.at_level("INFO"):
        log_resemblance(manifest, split, PLACE)
    levels = [record.levelname for record in caplog.records]
    whole, validation = (spread_m(manifest, rows) for rows in (np.arange(200), split.val))
    assert levels == ["INFO", "WARNING"]
    assert f"spread over {validation:.1f} m, all photos over {whole:.1f} m" in caplog.messages[0]
    assert "use split=place_kfold" in caplog.messages[1]
