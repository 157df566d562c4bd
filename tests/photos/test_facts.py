"""Facts about a data set, against numbers worked out here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from img2gps.config.schema import SplitKind
from img2gps.core import geo
from img2gps.photos.dataset import Dataset
from img2gps.photos.facts import _leak, collect, n_val
from img2gps.photos.ingest import FolderSource, ingest
from tests.helpers.photos import HOSTILE, make_photo, make_site


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    site, cache = make_site(tmp_path_factory.mktemp("site")), tmp_path_factory.mktemp("cache")
    return ingest(FolderSource(site), image_size=16, cache_dir=cache, progress=False)


def test_facts_are_those_of_the_photos(dataset: Dataset) -> None:
    facts = collect(dataset)
    assert facts.n == 44
    assert facts.extent_m == pytest.approx((100, 90), abs=0.1)
    lat, lon = dataset.manifest["lat_deg"].to_numpy(), dataset.manifest["lon_deg"].to_numpy()
    by_hand = np.sqrt(np.mean(geo.distance_m(lat, lon, lat.mean(), lon.mean()) ** 2))
    assert facts.mean_rmse_m == pytest.approx(by_hand, rel=1e-9)
    assert facts.sessions["photos"].tolist() == [22, 20]
    assert facts.sessions["minutes"].tolist() == [19, 19]
    assert int(facts.far.sum()) == 1
    assert {tuple(sorted(d.photos)) for d in facts.duplicates} == {
        ("00.jpg", "copy.jpg"),
        ("01.jpg", HOSTILE),
    }
    assert facts.same_label == 2  # "same place.jpg" and 00.jpg
    assert {group.reason: len(group.files) for group in facts.rejects} == {
        "not a picture that can be read": 2,
        "no GPS: location was off, or removed on export": 1,
        "no GPS: sent through WhatsApp, which removes it": 1,
    }


def test_leakage_of_each_split_is_measured_or_its_impossibility_said(dataset: Dataset) -> None:
    leaks = {leak.kind: leak for leak in collect(dataset).leaks}
    assert set(leaks) == {"random", "place", "time"}
    for leak in leaks.values():
        assert not leak.impossible
        assert leak.within_10m == pytest.approx(np.mean(leak.nearest_m <= 10))
        assert leak.nearest_median_m == pytest.approx(np.median(leak.nearest_m))
    assert leaks["place"].known_spots == 0
    one_session = dataset.manifest.assign(session="a")
    impossible = _leak(one_session, SplitKind.time)
    assert "only one session" in impossible.impossible


def test_small_sets_validate_on_a_fifth_and_others_like_the_study() -> None:
    assert n_val(81) == 0.2
    assert n_val(741) == 60


def test_shared_positions_of_real_phones_are_counted(real_photos: Path, tmp_path: Path) -> None:
    quad = ingest(
        FolderSource(real_photos / "penn-quad"), image_size=16, cache_dir=tmp_path, progress=False
    )
    assert collect(quad).same_label == 11  # counted by the set's own README


def test_a_time_split_of_any_number_of_photos_is_possible(tmp_path: Path) -> None:
    for i in range(43):
        when = f"2024:05:{1 + i // 8:02} 10:{i % 8:02}:00"
        make_photo(
            tmp_path / f"{i}.jpg", 39.95 + i / 1e4, -75.19, seed=i, taken_at=when, size=(32, 24)
        )
    made = ingest(FolderSource(tmp_path), image_size=32, cache_dir=tmp_path / "c", progress=False)
    (time,) = [leak for leak in collect(made).leaks if leak.kind == "time"]
    assert (time.impossible, time.n_val >= 3) == ("", True)
