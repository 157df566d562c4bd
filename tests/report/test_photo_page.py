"""The dataset report: figures against numbers worked out here, the page against hostile names."""

from __future__ import annotations

import base64
import html.parser
import io
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2gps.photos.dataset import Dataset
from img2gps.photos.facts import collect
from img2gps.photos.ingest import FolderSource, ingest
from img2gps.report import photo_page
from img2gps.report.photo_page.figures import (
    _sizes,
    all_figures,
    gps_errors,
    headings,
    hours,
    positions,
    spots,
)
from img2gps.report.photo_page.page import render
from tests.helpers.photos import HOSTILE, make_photo, make_site

LAT0, LON0 = 39.9515, -75.1914


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def dataset(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    cache = tmp_path_factory.mktemp("cache")
    return ingest(FolderSource(root), image_size=16, cache_dir=cache, progress=False)


class Elements(html.parser.HTMLParser):
    """All elements with their attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_splits_say_how_their_validation_photos_are_spread(dataset: Dataset) -> None:
    text = Elements(render(dataset)).text
    (place,) = [leak for leak in collect(dataset).leaks if leak.kind == "place"]
    assert f"{place.spread_m:.1f}" in text
    assert any("use split=place_kfold" in warning for warning in place.warnings)
    assert all(warning in text for warning in place.warnings)


def test_figures_state_their_finding(dataset: Dataset) -> None:
    facts = collect(dataset)
    manifest = dataset.manifest
    assert positions(manifest, facts).title == "43 photos cover an area of 100 m by 90 m"
    assert (
        "Not drawn because they are far from the others: 1." in positions(manifest, facts).caption
    )
    east = manifest["heading_deg"].notna()
    turned = manifest.assign(heading_deg=np.where(east, 90.0 * (np.cumsum(east) % 4 > 0), np.nan))
    looks, clock, error = headings(turned), hours(manifest), gps_errors(manifest)
    assert looks is not None
    assert looks.title == "75% of the photos look E, 0% NE"
    assert "32 of 44" in looks.caption
    assert clock is not None
    assert clock.title == "Taken between 10:00 and 11:19 on 2 days, 2024-05-01 to 2024-05-02"
    assert error is not None
    known = manifest["gps_error_m"].dropna()
    assert len(known) == 23
    assert error.title.endswith(f"median positioning error of {np.median(known):.1f}\u00a0m")


def test_what_is_the_same_in_all_photos_is_no_histogram(dataset: Dataset) -> None:
    manifest = dataset.manifest
    taken = manifest["taken_at"].where(manifest["taken_at"] == "", "2024-05-01T10:03:00")
    assert headings(manifest) is None  # all look east
    assert hours(manifest.assign(taken_at=taken)) is None
    assert gps_errors(manifest.assign(gps_error_m=5.0)) is None


def test_hours_of_a_short_visit_are_counted_in_steps_of_ten_minutes(dataset: Dataset) -> None:
    taken = dataset.manifest["taken_at"]
    minutes = taken[taken != ""].str[11:16].map(lambda t: 60 * int(t[:2]) + int(t[3:]))
    figure = hours(dataset.manifest)
    assert figure is not None
    (rows,) = figure.spec["datasets"].values()
    assert {row["time"]: row["photos"] for row in rows if row["photos"]} == {
        f"{tens // 6}:{tens % 6}0": n for tens, n in Counter(int(m) // 10 for m in minutes).items()
    }
    long = hours(dataset.manifest.assign(taken_at=taken.str.replace("T11:", "T15:")))
    assert long is not None
    assert "in hours" in long.caption


def test_only_errors_beyond_the_axis_are_counted_as_such(dataset: Dataset) -> None:
    """Of 100 phones, one without a fix states 900 m; 22 m still lies in the last bar."""
    stated = [14.3] * 60 + [21.4] * 38 + [21.9, 900.0]
    manifest = dataset.manifest.sample(100, replace=True, random_state=0)
    figure = gps_errors(manifest.assign(gps_error_m=stated))
    assert figure is not None
    rows = next(rows for rows in figure.spec["datasets"].values() if "from" in rows[0])
    assert sum(row["photos"] for row in rows) == 99
    assert rows[0]["from"] == 0
    assert rows[-1]["to"] >= 21.9
    assert "1 photo lies beyond the axis, up to 900" in figure.caption
    without = gps_errors(manifest.assign(gps_error_m=[*stated[:-1], 14.3]))
    assert without is not None
    assert "beyond" not in without.caption


def test_legend_of_spots_names_no_number_twice(dataset: Dataset) -> None:
    for busiest in (1, 2, 4, 9):
        values = _sizes(busiest)
        assert values == sorted(set(values))
        assert (values[0], values[-1]) == (1, busiest)
    spec = str(spots(dataset.manifest, collect(dataset)).spec)
    assert f"'values': {_sizes(3)}" in spec  # 00.jpg, its copy and "same place.jpg"


def test_what_photos_do_not_say_is_not_drawn(dataset: Dataset) -> None:
    bare = dataset.manifest.assign(heading_deg=np.nan, gps_error_m=np.nan, taken_at="", session="")
    facts = collect(dataset)
    assert {figure.name for figure in all_figures(bare, facts)} == {"map", "spots", "leakage"}


def test_map_points_where_the_lens_looked(dataset: Dataset) -> None:
    facts = collect(dataset)
    spec = positions(dataset.manifest, facts).spec
    (rows,) = spec["datasets"].values()
    east = [row for row in rows if row["heading_deg"] == 90]
    assert len(east) == 32
    for row in east:
        assert row["to_north"] == pytest.approx(row["north"])
        assert row["to_east"] > row["east"] + 1


def test_page_holds_everything_and_asks_for_nothing(dataset: Dataset, tmp_path: Path) -> None:
    path = photo_page.write(dataset, tmp_path / "a" / "page.html")
    page = Elements(path.read_text(encoding="utf-8"))
    for tag, attributes in page.found:
        for name in ("src", "href"):
            value = attributes.get(name) or ""
            assert not value or value.startswith(("data:", "#")), (tag, value)
        assert not [name for name in attributes if name.startswith("on")], tag
    policy = next(a["content"] for t, a in page.found if t == "meta" and "http-equiv" in a)
    assert policy is not None
    assert "default-src 'none'" in policy
    assert [a["id"] for t, a in page.found if t == "figure"] == [
        f"figure-{name}" for name in ("map", "spots", "hours", "gps_errors", "leakage")
    ]
    assert sum(t == "svg" for t, _ in page.found) >= 5
    assert list(tmp_path.rglob("*.tmp")) == []


@pytest.mark.browser
def test_figures_become_interactive_in_a_browser(dataset: Dataset, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium; `make servers` installs it")
    before, end, after = render(dataset).rpartition("</body>")
    click = "<script>for (const b of document.querySelectorAll('button')) b.click()</script>"
    (tmp_path / "page.html").write_text(before + click + end + after, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"]
    shown = subprocess.run(
        [
            chromium,
            *flags,
            f"--user-data-dir={tmp_path}",
            "--dump-dom",
            str(tmp_path / "page.html"),
        ],
        capture_output=True,
        check=True,
        encoding="utf-8",
        timeout=120,
    ).stdout
    drawn = [a for _, a in Elements(shown).found if "vega-embed" in (a.get("class") or "")]
    assert len(drawn) == 5


def test_hostile_names_stay_text(dataset: Dataset) -> None:
    source = render(dataset)
    page = Elements(source)
    assert HOSTILE in page.text
    assert "WhatsApp Image <b>.jpg" in page.text
    assert ("b", {}) not in page.found
    assert not [a for t, a in page.found if t == "img" and a.get("src") == "x"]
    assert "<img src=x" not in source


def test_photos_are_shown_upright_in_their_own_proportions(dataset: Dataset) -> None:
    page = Elements(render(dataset))
    sizes = set()
    for tag, attributes in page.found:
        if tag == "img":
            data = (attributes["src"] or "").partition(",")[2]
            sizes.add(Image.open(io.BytesIO(base64.b64decode(data))).size)
    assert sizes == {(149, 112), (84, 112)}  # of 64 x 48, stored upright and on its side


def test_synthetic_photos_are_said_to_be_synthetic(dataset: Dataset) -> None:
    assert "Synthetic photos" in render(replace(dataset, synthetic=True))
    assert "Synthetic photos" not in render(dataset)


def test_one_photo_makes_a_page(tmp_path: Path) -> None:
    make_photo(tmp_path / "a.jpg", LAT0, LON0)
    single = ingest(
        FolderSource(tmp_path), image_size=16, cache_dir=tmp_path / "cache", progress=False
    )
    page = Elements(render(single))
    assert "1 photo of 1 spot can be used" in page.text
