"""The page in a real browser with the network off: what it asks for, what it complains about."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2gps.report import build
from tests.helpers.browser import Page, drive
from tests.helpers.fake_study import Options, make_study
from tests.report.test_page import EVIL, rename_photos

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=8000",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # the network is off: no name can be resolved
    "--enable-logging=stderr",
)
# What a reader would do: press every button, then look. The result is written into the page.
PRESS_ALL = """<script>
addEventListener("securitypolicyviolation", (e) => console.error("policy", e.blockedURI));
addEventListener("error", (e) => console.error("uncaught", e.message));
addEventListener("load", async () => {
  const buttons = [...document.querySelectorAll("button[data-figure]")];
  buttons.forEach((button) => button.click());
  await new Promise((resolve) => setTimeout(resolve, 5000));
  const found = {
    buttons: buttons.length,
    live: document.querySelectorAll(".chart .vega-embed svg").length,
    fetched: performance.getEntriesByType("resource").map((entry) => entry.name)
      .filter((name) => !name.startsWith("data:")),
    alerted: window.alerted || 0,
  };
  document.title = JSON.stringify(found);
});
window.alert = () => { window.alerted = (window.alerted || 0) + 1; };
</script>"""


@pytest.fixture(scope="module")
def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("no chromium here; `make test-all` installs it")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("browser") / "runs"
    study = make_study(root, "table1", Options(epochs=6))
    rename_photos(study.folder, EVIL)
    return build.report(["table1"], roots=[root], out=root.parent / "reports")


def browse(chromium: str, page: Path, profile: Path, *flags: str) -> tuple[str, list[str]]:
    """Standard output of a visit and what the console said."""
    done = subprocess.run(
        [chromium, *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_page_works_offline_without_a_request_an_error_or_an_alert(
    chromium: str, index: Path, tmp_path: Path
) -> None:
    pressed = index.with_name("pressed.html")
    html = index.read_text(encoding="utf-8")
    pressed.write_text(html.replace("<head>", f"<head>{PRESS_ALL}", 1), encoding="utf-8")
    dom, console = browse(chromium, pressed, tmp_path, "--dump-dom")
    assert console == []
    title = re.search(r"<title>(\{.*?\})</title>", dom)
    assert title is not None, "the page's script did not run to its end"
    found = json.loads(title[1])
    assert found["buttons"] >= 10
    assert found["live"] == found["buttons"]  # every figure became interactive
    assert found["fetched"] == []
    assert found["alerted"] == 0


@pytest.mark.parametrize(
    ("name", "flags", "bright"),
    [
        ("light", ("--window-size=1100,3000",), True),
        ("dark", ("--window-size=1100,3000", "--force-dark-mode"), False),
        ("narrow", ("--window-size=500,3000",), True),
    ],
)
def test_page_can_be_seen(
    chromium: str, index: Path, tmp_path: Path, name: str, flags: tuple[str, ...], bright: bool
) -> None:
    picture = tmp_path / f"{name}.png"
    _, console = browse(chromium, index, tmp_path / "profile", f"--screenshot={picture}", *flags)
    assert console == []
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("L"), dtype=float)
    paper = np.median(pixels)
    assert (paper > 240) == bright
    assert np.mean(np.abs(pixels - paper) > 60) > 0.01  # there is something on it


def test_page_prints_on_few_pages(chromium: str, index: Path, tmp_path: Path) -> None:
    pdf = tmp_path / "page.pdf"
    browse(chromium, index, tmp_path / "profile", f"--print-to-pdf={pdf}")
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf.read_bytes()))
    assert 3 <= pages <= 20


def test_a_telephone_shows_the_whole_width(chromium: str, index: Path, tmp_path: Path) -> None:
    async def look(page: Page) -> None:
        await page.send(
            "Emulation.setDeviceMetricsOverride", width=400, height=900, deviceScaleFactor=1,
            mobile=False,
        )  # fmt: skip
        await page.open(index.as_uri())
        assert await page.value("document.documentElement.scrollWidth") == 400
        table = "document.querySelector('figure[id$=summary] table')"
        assert await page.value(f"{table}.getBoundingClientRect().right <= 400")

    drive(tmp_path / "profile", look)
