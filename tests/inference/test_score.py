"""A model scored on other labelled photos, and two models contrasted on the same ones."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from img2gps import Localizer
from img2gps.cli.main import main
from img2gps.core import geo
from img2gps.core.errors import BadInput
from img2gps.inference.gallery import Gallery
from img2gps.inference.score import ALL, KNOWN, NEW, Score, difference, score
from img2gps.photos.dataset import Dataset
from img2gps.photos.ingest import ingest
from img2gps.photos.sources import FolderSource
from tests.helpers.photos import make_photo
from tests.photos.test_copies import EDITS, view


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def dataset(quad_photos: Path, shared_cache: Path) -> Dataset:
    return ingest(FolderSource(quad_photos), image_size=32, cache_dir=shared_cache, progress=False)


@pytest.fixture(scope="module")
def scored(tiny_runs: dict[str, Path], dataset: Dataset, shared_cache: Path) -> dict[str, Score]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMG2GPS_CACHE", str(shared_cache))
        return {name: score(Localizer.load(folder), dataset) for name, folder in tiny_runs.items()}


def test_photos_that_it_was_trained_on_are_left_out(
    scored: dict[str, Score], tiny_runs: dict[str, Path]
) -> None:
    expected = {row["content"]: row for row in rows(tiny_runs["resnet18"] / "predictions.csv")}
    found = scored["resnet18"]
    assert set(found.photos["content"]) == set(expected)  # the validation photos are left
    assert found.trained_on == 36
    for row in found.photos.to_dict("records"):
        own = expected[row["content"]]
        assert row["pred_lat_deg"] == pytest.approx(float(own["pred_lat_deg"]), abs=1e-9)
        assert row["error_m"] == pytest.approx(float(own["error_m"]), abs=0.1)
        assert row["mean_error_m"] == pytest.approx(float(own["mean_error_m"]), abs=0.1)
        assert row["known_spot"] == float(own["known_spot"])
        away = geo.to_east_north_m(
            row["pred_lat_deg"], row["pred_lon_deg"], row["lat_deg"], row["lon_deg"]
        )
        assert (row["east_m"], row["north_m"]) == pytest.approx([float(x) for x in away])


def test_scaled_copy_of_a_training_photo_is_left_out(tmp_path: Path) -> None:
    """As with a phone's original beside the smaller copy that the model was trained on."""
    for name in ("trained", "asked"):
        (tmp_path / name).mkdir()
    for seed in range(3):
        make_photo(tmp_path / "trained" / f"{seed}.jpg", 39.95, -75.19, image=view(seed))
    halved = EDITS["halved"](view(1))
    make_photo(tmp_path / "asked" / "halved.jpg", 39.95, -75.19, image=halved)
    make_photo(tmp_path / "asked" / "other.jpg", 39.95, -75.19, image=view(7))
    trained, asked = (
        ingest(FolderSource(tmp_path / name), image_size=64, cache_dir=tmp_path, progress=False)
        for name in ("trained", "asked")
    )
    gallery = Gallery(torch.zeros(3, 1), [], np.arange(3), trained)
    known = dict(zip(asked.manifest["photo"], gallery.has(asked), strict=True))
    assert known == {"halved.jpg": True, "other.jpg": False}
    assert not Gallery(torch.zeros(3, 1), [], np.arange(3)).has(asked).any()


def test_coverage_is_the_share_inside_the_radius(scored: dict[str, Score]) -> None:
    found = scored["resnet18"]
    inside = found.photos["error_m"] <= found.photos["radius_m"]
    assert found.coverage[ALL].share == inside.mean()
    known = found.photos["known_spot"] == 1
    assert found.coverage[KNOWN].n_photos == known.sum()
    assert found.coverage[NEW].share == inside[~known].mean()


def test_two_models_are_compared_photo_by_photo(scored: dict[str, Score]) -> None:
    one, other = scored["resnet18"], scored["efficientnet_lite0"]
    found = difference(one, other)
    both = one.photos.merge(other.photos, on="content")
    apart = [float(np.sqrt(np.mean(both[f"error_m_{side}"] ** 2))) for side in "yx"]
    assert found.estimate == pytest.approx(apart[0] - apart[1])
    t = stats.ttest_rel(both["error_m_y"] ** 2, both["error_m_x"] ** 2)
    assert (found.low > 0 or found.high < 0) == (t.pvalue < 0.05)


def test_source_that_it_was_trained_on_whole_is_refused(
    tiny_runs: dict[str, Path],
    quad_photos: Path,
    tmp_path: Path,
    shared_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(shared_cache))
    validated = {row["photo"] for row in rows(tiny_runs["resnet18"] / "predictions.csv")}
    seen = next(p for p in sorted(quad_photos.glob("*.jpg")) if p.name not in validated)
    shutil.copy(seen, tmp_path / "a.jpg")
    only = ingest(FolderSource(tmp_path), image_size=32, cache_dir=shared_cache, progress=False)
    with pytest.raises(BadInput, match="the model was trained on every photo of it"):
        score(Localizer.load(tiny_runs["resnet18"]), only)


def test_command_writes_predictions_and_a_page(
    tiny_runs: dict[str, Path],
    quad_photos: Path,
    workdir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = [f"--run={folder}" for folder in tiny_runs.values()]
    with pytest.raises(SystemExit) as end:
        main(["evaluate", str(quad_photos), *runs, "--to", "out"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert said.count("36 photos were left out: the model was trained on them") == 2
    assert "second minus first on the same photos: " in said
    for side in "12":
        assert len(rows(Path("out") / side / "predictions.csv")) == 12
        page = (Path("out") / side / "index.html").read_text()
        assert "RMSE" in page
        assert page.count("<li>\n<strong>") == 12


def test_models_of_different_picture_sizes_are_contrasted_on_the_same_photos(
    scored: dict[str, Score],
) -> None:
    one, other = scored["resnet18"], scored["efficientnet_lite0"]
    resized = other.photos.assign(content="x" + other.photos["content"])  # other pixels
    expected = difference(one, other)
    assert difference(one, replace(other, photos=resized)) == expected
    renamed = other.photos.assign(photo="x" + other.photos["photo"])
    with pytest.raises(BadInput, match="no photo is new to both models"):
        difference(one, replace(other, photos=renamed))
