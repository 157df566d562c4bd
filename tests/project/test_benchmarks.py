"""Every comparison runs on tiny settings and says something sound; nothing here is about speed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import coverage, harness, limit, others, photos, planning, precision, search
from benchmarks.__main__ import BEGIN, COMPARISONS, END, RESULTS, table, write_page
from benchmarks.harness import Comparison, Settings
from img2gps.photos import exif

QUICK = Settings(quick=True, threads=1)
IN_PROCESS = {
    "limit": Comparison(limit.TITLE, limit.measure, limit.rows),
    "search": Comparison(search.TITLE, search.measure, search.rows),
    "coverage": Comparison(coverage.TITLE, coverage.every_case, coverage.rows),
    "ingest": others.ingest,
    "ledger": others.ledger,
    "planning": Comparison(planning.TITLE, planning.measure, planning.rows),
}


def check(comparison: Comparison) -> None:
    measured = comparison.measure(QUICK)
    read = json.loads(json.dumps(measured, allow_nan=False))
    assert read == measured  # what is kept is what was measured
    rows = comparison.rows(read)
    assert rows
    assert all(row.what and row.figure for row in rows)
    assert all((row.reached is None) == (row.must == "") for row in rows)


@pytest.mark.parametrize("name", IN_PROCESS)
def test_comparison_gives_sound_figures(name: str, workdir: Path) -> None:
    check(IN_PROCESS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["epoch", "scale"])
def test_comparison_of_processes_gives_sound_figures(name: str, workdir: Path) -> None:
    check(COMPARISONS[name])


def test_ratios_are_taken_round_by_round() -> None:
    found = harness.ratios([1.0, 4.0, 9.0], [1.0, 2.0, 3.0])
    assert found == {"median": 2.0, "low": 1.0, "high": 3.0}


def test_watching_a_process_sees_its_memory_and_its_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "MEMORY_S", 0.1)
    code = (
        "import time, sys\n"
        "held = bytearray(b'x') * 200_000_000\n"
        "for text in ('head', '1', '2'):\n"
        "    open(sys.argv[1], 'a').write(text + chr(10)); time.sleep(0.3)\n"
        "print('done')\n"
    )
    path = tmp_path / "history.csv"
    seen = harness.watch([sys.executable, "-c", code, str(path)], {}, 1, (tmp_path, "history.csv"))
    assert seen.output == "done\n"
    assert 200 < seen.anonymous_mb < 300
    assert 200 < seen.peak_mb < 300
    assert len(seen.rows_s) == 2
    assert 0 < seen.rows_s[0] < seen.rows_s[1] <= seen.seconds


def test_failed_process_is_not_measured(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        harness.watch([sys.executable, "-c", "raise SystemExit(3)"], {}, 1)


def test_photos_are_geotagged_upright_views_of_the_size_asked_for(workdir: Path) -> None:
    made = photos.folder(6, (320, 240), 1)
    assert photos.folder(6, (320, 240), 1) == made
    files = sorted(made.glob("*.jpg"))
    assert len({path.read_bytes() for path in files}) == 6
    for path in files:
        found = exif.read(path.read_bytes(), path.name)
        assert found.lat_deg == pytest.approx(39.951, abs=0.01)
        with Image.open(path) as image:
            assert sorted(image.size) == [240, 320]


def test_interval_of_a_ratio_of_rmse_covers_a_known_ratio() -> None:
    rng = np.random.default_rng(0)
    spot = np.repeat(np.arange(40), 2).astype(float)
    common = rng.gamma(4.0, 10.0, (5, 80))
    found = precision.ratio_interval(1.1 * common, common, spot)
    assert found == pytest.approx({"estimate": 1.1, "low": 1.1, "high": 1.1})
    noisy = precision.ratio_interval(common * rng.lognormal(0, 0.1, common.shape), common, spot)
    assert noisy["low"] < noisy["estimate"] < noisy["high"]
    by_hand = np.sqrt((common**2).mean(axis=1))
    other = precision.ratio_interval(common, np.full_like(common, 40.0), spot)
    assert other["estimate"] == pytest.approx(math.exp(np.log(by_hand / 40).mean()))


def test_page_is_rewritten_between_its_markers_only(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_page(page, "new \\1 | text")
    assert page.read_text() == f"before\n{BEGIN}\n\nnew \\1 | text\n{END}\nafter\n"


def test_published_page_shows_the_figures_that_are_kept() -> None:
    page = Path("docs/performance.md")
    text = (RESULTS.parent.parent / page).read_text(encoding="utf-8")
    assert table(RESULTS).strip() in text
