"""The page that follows a study: what it says, that it keeps up, and a real browser."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from img2gps.analysis import collect
from img2gps.analysis.racing import Course, End, doubts, judge
from img2gps.analysis.study import Study
from img2gps.cli.commands import studies
from img2gps.core.process import identity
from img2gps.runs.race import Drop, Look, RaceRecord, Rules
from img2gps.runs.records import read_study, write_study
from img2gps.runs.states import RunState
from img2gps.study import slurm
from img2gps.study.display import best_line, progress_line
from img2gps.study.live import figures, following
from img2gps.study.live.content import Content, Figures, content_of
from img2gps.study.live.following import Follower
from tests.cli.test_studies import studies as command
from tests.helpers.browser import Page, drive
from tests.helpers.fake_study import Options, make_study
from tests.helpers.studies import executions, fake_spec, url_of, wait_for
from tests.study.test_kill import start

EVIL = "<script>window.alerted = 1</script> & 'more'"
AXES: dict[str, list[Any]] = {"lr": [0.001, 0.003, 0.03], "optimizer": ["adam", "sgd"]}
STATES = {
    ("lr=0.003,optimizer=sgd", 1): ("failed", EVIL),
    ("lr=0.03,optimizer=adam", 0): ("pruned", "worse than the median"),
    ("lr=0.03,optimizer=sgd", 0): ("running", ""),
    ("lr=0.03,optimizer=sgd", 1): ("queued", ""),
}
OPTIONS = Options(axes=AXES, seeds=(0, 1), epochs=6, states=STATES)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_study(tmp_path / "runs", "s", OPTIONS)
    return tmp_path / "runs"


def content(root: Path, drawn: Figures | None = None) -> Content:
    return content_of(collect.load_study(root / "s", [root]), drawn or Figures())


def change(root: Path, **changes: Any) -> None:
    write_study(root, replace(read_study(root, "s"), **changes))


def test_page_stands_in_the_words_of_the_terminal(root: Path) -> None:
    change(root, engine=identity(), left_s=5400.0)
    record, shown = read_study(root, "s"), content(root)
    assert shown.standing == [
        ("cells", progress_line(record)),
        ("best so far", best_line(record)),
        ("time left", "about 1 h 30 min"),
    ]
    assert shown.running == ["lr=0.03,optimizer=sgd seed=0, epoch 2"]
    assert shown.best is not None
    assert f": val/rmse_m {shown.cells[0].shown}" in best_line(record)
    change(root, engine=None, left_s=None)
    assert content(root).standing[-1][1].endswith(f"go on with {record.command}")


def test_cells_have_the_mean_of_their_seeds_and_the_curve_so_far(root: Path) -> None:
    record, cells = read_study(root, "s"), {row.cell: row for row in content(root).cells}
    own = [run.value for run in record.runs if run.cell == "lr=0.001,optimizer=adam"]
    assert cells["lr=0.001,optimizer=adam"].metric == pytest.approx(np.mean([*filter(None, own)]))
    assert len(cells["lr=0.001,optimizer=adam"].curve) == 6
    growing = cells["lr=0.03,optimizer=sgd"]
    assert (growing.states, growing.final, len(growing.curve)) == ("1 queued, 1 running", False, 2)
    assert growing.metric == growing.curve[-1]
    metrics = [row.metric for row in content(root).cells if row.metric is not None]
    assert metrics == sorted(metrics)


def test_axes_are_logarithmic_where_values_span_much_and_levels_where_there_are_no_numbers(
    root: Path,
) -> None:
    first, second = content(root).axes
    assert (first.key, first.title, first.log, first.levels) == ("lr", "learning rate", True, [])
    assert (second.key, set(second.levels)) == ("optimizer", {"adam", "sgd"})


def test_cells_with_names_are_told_apart_by_them(tmp_path: Path) -> None:
    named = replace(OPTIONS, name=lambda params: f"at {params['lr']}")
    make_study(tmp_path / "runs", "s", named)
    shown = content(tmp_path / "runs")
    assert [axis.title for axis in shown.axes] == ["cell", "learning rate", "optimizer"]
    assert {row.knobs["name"] for row in shown.cells} == {"at 0.001", "at 0.003", "at 0.03"}


def test_what_did_not_finish_is_listed_with_its_reason(root: Path) -> None:
    race = RaceRecord(looks=[Look(1, {}, {}, [Drop("lr=9", "shown to be worse")], [], [], 2)])
    change(root, race=race)
    found = [(one.what, one.state, one.reason) for one in content(root).ended]
    assert found == [
        ("lr=9", "dropped", "shown to be worse"),
        ("lr=0.003,optimizer=sgd seed=1", "failed", EVIL),
        ("lr=0.03,optimizer=adam seed=0", "pruned", "worse than the median"),
    ]


def test_a_race_drops_the_cells_whose_interval_lies_above_the_margin() -> None:
    rng = np.random.default_rng(0)
    scale = np.array([40.0, 41.0, 60.0, 90.0])[:, None, None]
    error = scale * np.abs(1 + 0.1 * rng.normal(size=(4, 3, 80)))
    spot, course, rules = np.arange(80), Course(2, 4, 5), Rules(margin_m=2.0)
    dropped = {shown.cell for shown in judge(error, spot, course, rules).dropped}
    found = doubts(error, spot, course)
    assert {i for i, one in enumerate(found) if one.low_m > 2.0} == dropped == {2, 3}
    leader = found[int(np.sqrt((error**2).mean(axis=2)).mean(axis=1).argmin())]
    assert (leader.difference_m, leader.low_m, leader.high_m) == (0.0, 0.0, 0.0)


def test_doubt_of_a_race_is_drawn_from_the_runs_that_its_last_look_judged(root: Path) -> None:
    runs = [run for run in read_study(root, "s").runs if run.state is RunState.finished]
    first = {run.cell: [run.run_id] for run in runs if run.seed == 0}
    look = Look(1, first, dict.fromkeys(first, 70.0), [], list(first)[:2], [], 2)
    change(root, race=RaceRecord(looks=[look]), kind="race")
    drawn, _ = figures.doubt_left(collect.load_study(root / "s", [root]))
    assert drawn is not None
    assert drawn.title.startswith("After look 1, learning rate 0.001, optimizer ")
    assert "dropped at this look" in drawn.svg
    shutil.rmtree(root / "s" / runs[0].run_id)
    drawn, why = figures.doubt_left(collect.load_study(root / "s", [root]))
    assert drawn is None
    assert "1 of the runs that look 1 judged are not in this copy" in why


def test_a_race_that_one_cell_has_won_leaves_no_doubt(tmp_path: Path) -> None:
    made = make_study(tmp_path, "s", Options(axes={"lr": [0.001, 0.003]}, seeds=(0,), kind="race"))
    look = Look(2, {"lr=0.001": ["a"]}, {"lr=0.001": 50.0}, [], ["lr=0.001"], [], 3, end=End.one)
    study = collect.load_study(made.folder, [tmp_path])
    ended = replace(study, record=replace(study.record, race=RaceRecord(looks=[look])))
    assert figures.doubt_left(ended) == (None, "None: one cell is left.")


def test_watching_goes_on_while_workers_wait_in_slurms_queue(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = [1, 1, 0]
    (root / "s" / slurm.SUBMITTED).write_text("7\n")
    monkeypatch.setattr(slurm, "alive", lambda *_: counts.pop(0))
    monkeypatch.setattr(studies, "WATCH_S", 0.0)
    monkeypatch.setattr(studies, "SCHEDULER_S", 0.0)
    command(root, "show", "s", "--watch")
    assert counts == []


@contextmanager
def served(root: Path, *words: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address at which `img2gps studies watch s` serves, and the process."""
    line = [sys.executable, "-m", "img2gps", "studies", "--runs", str(root), "watch", "s", *words]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        match = re.fullmatch(r"serving (http://127\.0\.0\.1:\d+) \(stop with Ctrl-C\)\n", said)
        assert match is not None, said or process.communicate()
        yield match[1], process
    finally:
        process.kill()
        process.communicate()


def newest(address: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{address}/content").json()
    return found


def is_up_to_date(address: str) -> bool:
    """Whether a page that has the newest content gets no second copy of it."""
    version = httpx.get(f"{address}/content").headers["X-Version"]
    again = httpx.get(f"{address}/content", params={"version": version})
    return (again.status_code, again.content) == (204, b"")


def test_a_copied_folder_is_served_to_this_machine_alone_until_ctrl_c(
    root: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(root, copied)
    shutil.rmtree(root)
    with served(copied) as (address, process):
        assert newest(address)["study"] == "s"
        wait_for(lambda: is_up_to_date(address))
        assert httpx.get(f"{address}/../study.json").status_code == 404
        other = httpx.get(f"{address}/content", headers={"Host": "evil.org:80"})
        assert other.status_code == 403
        at_port_80 = httpx.get(f"{address}/content", headers={"Host": "localhost"})
        assert at_port_80.status_code == 200
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (130, "", "img2gps: interrupted\n")


def test_a_study_that_is_forgotten_under_the_page_stays_on_it(root: Path) -> None:
    with served(root) as (address, _):
        shutil.rmtree(root / "s")
        wait_for(lambda: newest(address)["problem"])
        found = newest(address)
        assert "the page shows how it stood before" in found["problem"]
        assert len(found["cells"]) == 6


def test_a_figure_that_cannot_be_drawn_does_not_end_the_page(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise ValueError("no such colour")

    monkeypatch.setattr(figures, "curves", fail)
    with Follower(root / "s", [root]) as follower:
        wait_for(lambda: b"The figures could not be drawn: no such colour" in follower.newest[1])
        change(root, question="And now?")
        wait_for(lambda: b"And now?" in follower.newest[1])


def test_a_study_whose_content_cannot_be_made_is_shown_as_it_stood_before(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_on_news(study: Study, drawn: Figures) -> Content:
        if study.record.question == "And now?":
            raise KeyError("no such knob")
        return content_of(study, drawn)

    monkeypatch.setattr(following, "content_of", fail_on_news)
    with Follower(root / "s", [root]) as follower:
        change(root, question="And now?")
        said = b"KeyError('no such knob'); the page shows how it stood before"
        wait_for(lambda: said in follower.newest[1])
        change(root, question="And then?")
        wait_for(lambda: b"And then?" in follower.newest[1])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none"], "none: no such study below"),
        (["s", "--port", "70000"], "--port 70000: cannot listen on 127.0.0.1"),
    ],
)
def test_what_cannot_be_watched_is_said_in_one_line(
    root: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(root, "watch", *words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.usefixtures("fake_runs")
def test_page_follows_an_engine_and_says_that_it_was_killed(tmp_path: Path) -> None:
    spec = fake_spec(tmp_path, {"lr": [0.1, 0.2, 0.3, 0.4]}, fixed=("pause=0.5",), command="go on")
    engine = start(spec, url_of(spec), workers=1)
    try:
        wait_for(lambda: (tmp_path / "s" / "study.json").exists())
        with served(tmp_path) as (address, _):
            wait_for(lambda: newest(address)["standing"][-1][1].startswith("about"))
            assert executions(spec)
            engine.kill()
            wait_for(lambda: not newest(address)["at_work"])
            left = newest(address)["standing"][-1][1]
            assert left == "not known: nothing works on it; go on with go on"
    finally:
        engine.kill()
        engine.communicate()


WIDTHS = (400, 1100, 1900)
LINES = "document.querySelectorAll('#parallel .cell').length"
OUT = "document.querySelectorAll('#parallel .cell.out').length"
ROWS = "document.querySelectorAll('#cells tbody tr').length"
BRUSHES = "document.querySelectorAll('#parallel .brush').length"
CENTRE = """(() => {
  const hit = document.querySelector('#parallel .hit[data-axis="optimizer"]');
  hit.scrollIntoView({block: "center"});
  const box = hit.getBoundingClientRect();
  return [box.x + box.width / 2, box.y, box.height].join();
})()"""


@pytest.mark.slow
@pytest.mark.browser
def test_browser_follows_a_study_without_losing_a_brush(root: Path, tmp_path: Path) -> None:
    async def brush(page: Page, meanwhile: Callable[[], None] = lambda: None) -> None:
        x, y, height = map(float, (await page.value(CENTRE)).split(","))
        for kind, at in (("mousePressed", 0.0), ("mouseMoved", 0.3), ("mouseReleased", 0.3)):
            where = {"x": x, "y": y + 2 + at * height, "button": "left", "clickCount": 1}
            await page.send("Input.dispatchMouseEvent", type=kind, buttons=1, **where)
            if kind == "mouseMoved":
                meanwhile()
                await asyncio.sleep(2.5)  # the page asks every second

    async def use(page: Page) -> None:
        await page.open(address)
        await page.until("document.querySelector('#doubt svg') !== null")
        await page.until("document.querySelector('#curves svg') !== null")
        assert await page.value(LINES) == 6
        assert await page.value("document.querySelector('#ended').innerText.includes('<script>')")
        assert await page.value("window.alerted === undefined")
        for width in WIDTHS:
            await page.send(
                "Emulation.setDeviceMetricsOverride",
                width=width, height=900, deviceScaleFactor=1, mobile=False,
            )  # fmt: skip
            assert await page.value("document.documentElement.scrollWidth") == width
        paper = "getComputedStyle(document.body).backgroundColor"
        for theme, colour in (("dark", "rgb(21, 24, 28)"), ("light", "rgb(255, 255, 255)")):
            wanted = [{"name": "prefers-color-scheme", "value": theme}]
            await page.send("Emulation.setEmulatedMedia", features=wanted)
            assert await page.value(paper) == colour

        await page.value("window.before = true")
        await brush(page, lambda: finish("lr=0.03,optimizer=sgd"))
        await page.until(f"{ROWS} === 3")
        assert (await page.value(OUT), await page.value(BRUSHES)) == (3, 1)
        await page.until("!document.querySelector('#standing').innerText.includes('running')")
        doubt = await page.value("document.querySelector('#doubt svg').outerHTML.length")
        change(root, question=EVIL)
        await page.until("document.querySelector('#question').textContent.startsWith('<script>')")
        assert (await page.value(ROWS), await page.value(BRUSHES)) == (3, 1)
        same = await page.value("document.querySelector('#doubt svg').outerHTML.length")
        assert same == doubt
        assert await page.value("window.before && window.alerted === undefined")  # not reloaded
        await page.value("document.querySelector('#clear').click()")
        assert (await page.value(ROWS), await page.value(BRUSHES)) == (6, 0)
        process.kill()
        await page.until("document.querySelector('#problem').innerText.includes('has ended')")
        assert await page.value(ROWS) == 6

    def finish(cell: str) -> None:
        runs = read_study(root, "s").runs
        ended = [replace(r, state=RunState.failed) if r.cell == cell else r for r in runs]
        change(root, runs=ended)

    with served(root) as (address, process):
        page = drive(tmp_path / "profile", use)
    assert [text for text in page.complaints if "CONNECTION_REFUSED" not in text] == []
    assert all(url.startswith((address, "data:")) for url in page.requested)
