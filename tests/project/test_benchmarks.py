"""Every comparison runs on tiny settings and says something sound; nothing here is about speed."""

from __future__ import annotations

import itertools
import json
import math
import re
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import (
    around,
    claims,
    coverage,
    coverage_page,
    harness,
    limit,
    others,
    photos,
    planning,
    power,
    precision,
    race,
    search,
)
from benchmarks.__main__ import COMPARISONS, PAGE, RESULTS, STATISTICS, measure
from benchmarks.harness import Comparison, Parts, Row, Settings
from benchmarks.page import BEGIN, END, tables, write_page
from img2gps.analysis import stats
from img2gps.analysis.stats.alone import SHARE
from img2gps.analysis.stats.luck import ASSUMED_FREEDOM, ASSUMED_RELATIVE, TYPICAL_RELATIVE
from img2gps.core.errors import BadInput
from img2gps.photos import exif
from tests.helpers.fake_study import (
    Noise,
    Options,
    draw_photos,
    draw_runs,
    make_study,
    rmse_of_average,
)

IN_PROCESS = {
    "around": Comparison(around.TITLE, around.measure, around.rows),
    "race": Comparison(race.TITLE, race.measure, race.rows),
    "limit": Comparison(limit.TITLE, limit.measure, limit.rows),
    "search": Comparison(search.TITLE, search.measure, search.rows),
    "coverage": Comparison(coverage.TITLE, coverage.every_case, coverage_page.rows),
    "ingest": others.ingest,
    "power": Comparison(power.TITLE, power.measure, power.rows),
    "ledger": others.ledger,
    "claims": Comparison(claims.TITLE, claims.measure, claims.rows),
    "planning": Comparison(planning.TITLE, planning.measure, planning.rows),
}

WIDE = "errors alike over 60 m, also what sets cells apart"


def check(comparison: Comparison) -> None:
    measured = comparison.measure(Settings(quick=True, threads=1))
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
@pytest.mark.parametrize("name", ["choice", "epoch", "scale", "tracking"])
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


@pytest.mark.parametrize("noise", [Noise(cell_seed=0.1), Noise(pull=0.4, cell_seed=0.05)])
def test_true_error_of_an_average_is_that_on_very_many_photos(noise: Noise) -> None:
    rng = np.random.default_rng(0)
    rmse_m = [66.0, 70.0, 80.0]
    offset, luck = draw_runs(rng, draw_photos(rng, 100_000, 100_000), rmse_m, 2, noise)
    shown = np.sqrt((offset.mean(axis=(0, 1)) ** 2).sum(axis=1).mean())
    assert rmse_of_average(rmse_m, luck, noise) == pytest.approx(shown, rel=0.005)


def test_page_is_rewritten_between_its_markers_only(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_page(page, "new \\1 | text")
    assert page.read_text() == f"before\n{BEGIN}\n\nnew \\1 | text\n{END}\nafter\n"


def test_published_page_shows_the_figures_that_are_kept() -> None:
    assert tables(RESULTS, COMPARISONS).strip() in PAGE.read_text(encoding="utf-8")


def keep(folder: Path, processor: str, auto: str, figures: dict[str, str]) -> None:
    """The result of a comparison `speed` on a processor."""
    about = {"at": "now", "load": 0.1, "hardware": {"cpu": processor, "cores": 2}, "auto": auto}
    result = {"context": {**about, "versions": {"torch": "2"}}, "threads": 2, "measured": figures}
    (folder / processor).mkdir()
    (folder / processor / "speed.json").write_text(json.dumps(result))


def test_each_processor_has_a_column(tmp_path: Path) -> None:
    def rows(measured: dict[str, str]) -> list[Row]:
        return [Row(what, said, "<= 1", said < "1") for what, said in measured.items()]

    comparison = Comparison("Speed", lambda _: {}, rows)  # type: ignore[arg-type]
    keep(tmp_path, "amd", "bf16 and 2 threads", {"step": "0.9", "epoch": "1.2"})
    keep(tmp_path, "intel", "fp32 and 2 threads", {"step": "0.8"})
    lines = tables(tmp_path, {"speed": comparison}).splitlines()
    assert lines[0] == "### Speed"
    assert lines[2].startswith("- amd: `speed`, now")
    assert lines[3].endswith("load before the start 0.1, auto takes fp32 and 2 threads.")
    assert lines[5:] == [
        "| what | amd | intel |",
        "|---|---|---|",
        "| step | 0.9 [<= 1: reached] | 0.8 [<= 1: reached] |",
        "| epoch | 1.2 [<= 1: **not reached**] |  |",
    ]


@pytest.mark.parametrize(
    ("cpu", "folder"),
    [
        ("AMD EPYC", "amd-epyc-2-cores"),
        ("Intel(R) Xeon(R) CPU @ 2.60GHz", "intel-xeon-2-cores"),
        ("aarch64", "aarch64-2-cores"),
    ],
)
def test_results_lie_in_a_folder_named_after_the_processor(
    cpu: str, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("img2gps.core.hardware.cpu_name", lambda: cpu)
    monkeypatch.setattr(harness, "usable_cores", lambda: 2)
    assert harness.processor() == folder


def test_a_stopped_comparison_goes_on_with_the_parts_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[int] = []

    def two_parts(settings: Settings) -> dict[str, int]:
        def part(number: int) -> int:
            if number == 2 and len(done) == 1:
                done.append(0)
                raise KeyboardInterrupt
            done.append(number)
            return number

        return {f"part {n}": settings.part(f"part {n}", partial(part, n)) for n in (1, 2)}

    monkeypatch.setitem(COMPARISONS, "two", Comparison("Two parts", two_parts, lambda _: []))
    monkeypatch.setattr("benchmarks.__main__.context", dict)
    settings = Settings(quick=True, threads=1)
    with pytest.raises(KeyboardInterrupt):
        measure("two", settings, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".two.partial.json"]
    found = measure("two", settings, tmp_path)
    assert done == [1, 0, 2]
    assert found["measured"] == {"part 1": 1, "part 2": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["two.json"]
    assert "  part 1: known" in capsys.readouterr().out


def test_parts_of_another_setting_are_measured_anew(tmp_path: Path) -> None:
    path = tmp_path / "partial.json"
    assert Parts(path, {"rounds": 1})("a part", lambda: 1) == 1
    assert Parts(path, {"rounds": 1})("a part", lambda: 2) == 1
    assert Parts(path, {"rounds": 3})("a part", lambda: 3) == 3


def test_coverage_of_a_study_like_ones_own_is_simulated_with_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_study(tmp_path / "runs", "mine", Options(seeds=(0, 1), n_val=50, n_spots=35))
    measured = coverage.like_study("mine", Settings(quick=True, threads=1))
    (case,) = measured["cases"]
    assert (case["seeds"], case["photos"], case["spots"]) == (2, 50, 35)
    assert {coverage.CELL, coverage.DIFFERENCE, coverage.FALSE_MARK} <= set(case)
    make_study(tmp_path / "runs", "small", Options(axes={"lr": [0.001, 0.003]}))
    with pytest.raises(BadInput, match="small: fewer than 4 ranked cells; name a larger study"):
        coverage.like_study("small", Settings(quick=True, threads=1))


def measured_coverage() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / "coverage.json").read_text())["measured"]
    return found


def written_shares() -> dict[tuple[str, str], str]:
    """Return the shares of the table by case and kind, as the page's text writes them."""
    return {
        (case["text"], kind): coverage_page.written(kind, case[kind]).replace("%", " %")
        for case in measured_coverage()["cases"]
        for kind in coverage.KINDS
        if kind in case
    }


def test_the_page_quotes_the_coverage_that_was_measured() -> None:
    text = STATISTICS.read_text(encoding="utf-8")
    measured = measured_coverage()
    share = written_shares()
    several, alike = "3 seeds, luck 3 %", ", errors alike over 30 m"
    one, more = ("1 seed, luck 3 %, 41 spots", "1 seed, luck 4.3 %, 41 spots")
    apart = coverage.DIFFERENCE
    far = (f"{several}, 41 spots{alike}", f"{several}, 100 spots{alike}", f"{one}{alike}")
    whole, of_two, of_one = (share[case, apart] for case in far)
    assert f"held in {share[one, apart]} where the luck was 3 %" in text
    assert f"in {share[more, apart]} where it was 4.3 %" in text
    assert f"differences of single runs held in {share[f'{one}{alike}', apart]} (" in text
    assert f"that of a difference in {share[f'{several}, 20 spots', apart]};" in text
    assert f"and {share[f'{several}, 8 spots', apart]}." in text
    assert f"held in {whole}, {of_two} (100 spots) and {of_one} (one seed)" in text
    assert f"({measured['studies']:,}): nine cells" in text
    corrected = [share[case, coverage.WINNER] for case in (more, one, f"{one}{alike}")]
    assert "Its interval held in {} (4.3 %), {} (3 %) and {} (3 %,".format(*corrected) in text
    high_m = {case["text"]: case["too_high_m"] for case in measured["cases"]}
    assert abs(high_m[more]) < 0.1
    assert "was right to 0.1 m where the luck was larger" in text
    said = "{:.1f} m too high where it was smaller (3 %; {:.1f} m with errors alike over 30 m)"
    assert said.format(high_m[one], high_m[f"{one}{alike}"]) in text
    steady = [
        high
        for case, high in high_m.items()
        if not case.startswith("1 seed") and "astray" not in case and "alike" not in case
    ]
    assert f"out {min(steady):.1f} to {max(steady):.1f} m too high. With one seed" in text
    gone = [-high_m[f"{case}, 5% of the runs astray"] for case in (one, more)]
    assert "it is {:.1f} m (luck 3 %) and {:.1f} m (4.3 %) too low".format(*gone) in text
    typical = f"a little less than the typical {100 * TYPICAL_RELATIVE:.1f} % of our studies"
    assert f"interval takes {100 * ASSUMED_RELATIVE:.2f} %, {typical}" in text
    assert f"with {ASSUMED_FREEDOM:.0f} degrees of freedom for the seeds' part" in text
    assert f"{100 * stats.OF_DIFFERENCES.alike:.0f} % for the difference of two cells" in text
    assert f"in {coverage.MORE * measured['studies']:,} studies of each kind" in text
    kept = min(case[coverage.ALL_KEPT] for case in measured["cases"] if coverage.ALL_KEPT in case)
    assert f"were all in the set in {math.floor(1000 * kept) / 10:.1f} % or more" in text


def test_the_page_has_the_tables_of_what_was_measured() -> None:
    text = STATISTICS.read_text(encoding="utf-8")
    assert f"{BEGIN}\n\n{coverage_page.page(measured_coverage())}\n{END}" in text


def test_the_page_says_how_many_crossed_shares_miss_their_limits() -> None:
    cases = {case["text"]: case for case in measured_coverage()["cases"]}
    found = {
        (key, kind): cases[coverage.crossed_case(*key).text][kind]
        for key in itertools.product(coverage.CONDITIONS, coverage.LUCKS, coverage.SEEDS)
        for kind in coverage.OF_CROSSED
    }
    low, high = coverage.TWO_SIDED
    missed = [key for (key, _), share in found.items() if not low <= share <= high]
    assert {seeds for _, _, seeds in missed} == {1}
    said = f"of its {len(found)} shares, {len(missed)} miss their limits, all of them with one seed"
    assert said in STATISTICS.read_text(encoding="utf-8")


def test_the_page_quotes_single_runs_together_with_another_difficulty() -> None:
    text, share = STATISTICS.read_text(encoding="utf-8"), written_shares()
    low, high = ("1 seed, luck 3 %, ", "1 seed, luck 4.3 %, ")
    astray = [
        share[f"{luck}41 spots, 5% of the runs astray", kind].removesuffix(" %")
        for kind in coverage.OF_CROSSED
        for luck in (low, high)
    ]
    said = (
        "intervals of a cell hold in {} % (luck 3 %) and {} % (4.3 %), those of a difference in {} "
        "and {} %, and those of the corrected winner in {} and {} %"
    )
    assert said.format(*astray) in text
    few = share[f"{low}20 spots", coverage.DIFFERENCE]
    assert f"With 20 spots and a luck of 3 %, differences hold in {few}" in text
    many = [
        share[f"{luck}100 spots", kind].removesuffix(" %")
        for luck in (low, high)
        for kind in coverage.OF_CROSSED
    ]
    said = "corrected winners hold in {}, {} and {} % (luck 3 %), the last two too"
    assert said.format(*many[:3]) in text
    assert "and in {}, {} and {} % (4.3 %). No assumed figure".format(*many[3:]) in text
    assert f"The assumed {SHARE:.0%} are".replace("%", " %") in text


def test_the_page_says_what_was_measured_where_errors_are_alike_over_much_of_the_ground() -> None:
    text, share = STATISTICS.read_text(encoding="utf-8"), written_shares()
    cases = measured_coverage()["cases"]
    few, many = (f"3 seeds, luck 3 %, {spots} spots, {WIDE}" for spots in (41, 100))
    for kind, named in (
        (coverage.DIFFERENCE, "they held in {} (41 spots) and {} (100 spots)"),
        (coverage.CELL, "intervals of a cell held in {} (41 spots) and {} (100 spots)"),
        (coverage.WINNER, "those of the corrected winner in {} and {}"),
        (coverage.AVERAGE, "those of an average in {} and {}"),
    ):
        assert named.format(share[few, kind], share[many, kind]) in text
    wide = [next(case for case in cases if case["text"] == text) for text in (few, many)]
    near = next(case for case in cases if case["text"] == few.replace("60 m", "30 m"))
    low_m = [-case[of] for of in ("too_high_m", "average_too_high_m") for case in (*wide, near)]
    said = "those of the winner by {:.1f} and {:.1f} m and those of an average by {:.1f} and {:.1f}"
    assert said.format(*low_m[:2], *low_m[3:5]) in text
    assert f"alike over 30 m, by {low_m[2]:.1f} and {low_m[5]:.1f} m" in text
    kind = coverage.SOLVED_KEPT
    solved = {case["text"]: case[kind] for case in cases if kind in case}
    least = min(kept for case, kept in solved.items() if WIDE not in case)
    assert (
        f"no seed changes were all in it in {math.floor(1000 * least) / 10:.1f} % or more" in text
    )
    assert f"and in {share[few, coverage.SOLVED_KEPT]} where errors are alike over 60 m" in text
    for kind, said in (
        (coverage.FALSE_MARK, "{:.1f} % of the studies had a false mark, at most {:.1f} % ({:.1f}"),
        (coverage.FALSE_EQUAL, "by just the margin, at most {1:.1f} % ({2:.1f} %)"),
    ):
        wrong = {case["text"]: 100 * case[kind] for case in cases if kind in case}
        most = max(value for case, value in wrong.items() if WIDE not in case)
        ends = (math.ceil(10 * value) / 10 for value in (most, max(wrong.values())))
        assert said.format(statistics.fmean(wrong.values()), *ends) in text


def test_shares_near_a_limit_are_of_ten_times_as_many_studies() -> None:
    measured = measured_coverage()
    whole = {case.text for case in coverage.CASES}
    for case in measured["cases"]:
        if case["text"] not in whole:
            continue
        near = [coverage.near_limit(case[of], measured["studies"]) for of in coverage.OF_PAIRS]
        more = case.get("pairs", measured["studies"]) == coverage.MORE * measured["studies"]
        assert more or not any(near), case["text"]


def test_more_studies_of_two_cells_go_on_where_whole_studies_ended() -> None:
    case = coverage.Case(1, spots=8, photos=12)
    some, whole = coverage.Simulation(case), coverage.Simulation(case)
    for _ in range(2):
        some.step()
    some.step_of_pair()
    for _ in range(3):
        whole.step()
    assert some.pairs == whole.pairs
    assert (some.shares()["pairs"], len(some.studies)) == (3, 2)


def test_a_share_that_misses_its_mark_by_less_than_a_tenth_has_two_digits() -> None:
    shares = (0.9295, 0.93, 0.9703, 0.976)
    written = [coverage_page.written(coverage.DIFFERENCE, share) for share in shares]
    assert written == ["92.95%", "93.0%", "97.03%", "97.6%"]


def test_the_page_quotes_the_powers_that_were_measured() -> None:
    text = STATISTICS.read_text(encoding="utf-8")
    [path] = RESULTS.glob("*/power.json")  # measured on one machine
    needs = json.loads(path.read_text())["measured"]["needs"]
    alone, beside, alike = needs[:6], needs[6:12], needs[12:]
    for three in (alone[:3], alone[3:], beside[:3], beside[3:], alike):
        a, b, c, d, e, f = (round(100 * one[of]) for of in ("stated", "real") for one in three)
        assert re.search(rf"{a}, {b} and {c} %[^.]{{,60}} {d}, {e} and {f} %", text)
    held = [[round(100 * one["held"]) for one in part] for part in (alone, beside, alike)]
    for part in held:
        assert f"in {min(part)} to {max(part)} %" in text
    assert max(abs(one["stated"] - one["real"]) for one in needs) <= 0.05
    assert "on average within 5 points of the real one" in text
    observed = [round(100 * one["observed_held"]) for one in needs]
    assert f"held it in {min(observed)} to {max(observed)} % of 200 pilots" in text
    for part in (needs[:12], alike):
        off = [round(100 * one["off"]) for one in part]
        assert f"by {min(off)} to {max(off)}" in text
