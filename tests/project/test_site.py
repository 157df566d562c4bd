"""The documentation as pages: built without a warning, readable without a network."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


def test_every_page_is_there_and_can_be_searched(site: Path) -> None:
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    for page in ROOT.glob("docs/*.md"):
        assert (site / f"{page.stem}.html").is_file()
        assert f'"{page.stem}.html"' in index


def test_pages_fetch_nothing_from_other_servers(site: Path) -> None:
    for page in site.glob("*.html"):
        html = page.read_text(encoding="utf-8")
        fetched = re.findall(r'<(?:script|img|link)[^>]+(?:src|href)="(https?:[^"]+)"', html)
        assert not fetched, page.name


def test_the_reference_is_made_of_the_docstrings(site: Path) -> None:
    html = (site / "api.html").read_text(encoding="utf-8")
    assert 'id="img2gps.inference.localizer.Localizer.predict"' in html
    assert "the probability with which the radius holds the true position" in html


@pytest.mark.parametrize("page", sorted(p.name for p in ROOT.glob("docs/*.md")))
def test_python_in_the_documents_is_python(page: str) -> None:
    for block in PYTHON.findall((ROOT / "docs" / page).read_text(encoding="utf-8")):
        ast.parse(block)
