"""A newcomer's tour: the commands of the documents, typed one after the other, all work."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(
    not os.environ.get("IMG2GPS_TEST_ALL"), reason="takes minutes; make test-all runs it"
)

ELSEWHERE = (
    "img2gps start",
    "img2gps app",
    "img2gps studies watch",
    "make ",
    "pip ",
    ". ",
    "img2gps frames",
    "img2gps doctor",
)  # tested on their own
SMALLER = "max_epochs=1 image_size=32 logger=csv threads=1 trainer.progress_bar=false"
QUAD = "data.n=40 split.n_val=10 weights=none"
SMALLER_STUDY = "model=resnet18 batch_size=16 lr=0.001,0.003 hydra.sweeper.seeds=[0]"


def lines(page: str, first: str) -> Iterator[str]:
    """Commands of a page's blocks of code, from the block with this line on."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    start = next(i for i, block in enumerate(blocks) if first in block)
    for line in "".join(blocks[start:]).splitlines():
        command = re.sub(r"\s+#.*", "", line).strip()
        if command and not command.startswith(ELSEWHERE):
            yield command
        elif command.startswith("make report STUDY="):
            yield f"img2gps report {command.partition('=')[2]}"


def smaller(command: str) -> str:
    """The same command on little data, so that it takes seconds."""
    if command.startswith("python -m img2gps.train"):
        command += f" {SMALLER}"
        if "data=" not in command:
            command += f" {QUAD}"
        if "sweeps=table1" in command:
            command += f" {SMALLER_STUDY}"
        if "sweeps=every_photo" in command:
            command += " model=resnet18 hydra.sweeper.seeds=[0] weights=none"
    return command.replace("--to DIR", "--to exported").replace(" PHOTOS", " DIR")


def environment(tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "IMG2GPS_CACHE": str(tmp_path / "cache"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }


def test_the_guide_ends_with_a_page_and_a_model(tmp_path: Path, quad_photos: Path) -> None:
    (tmp_path / "my quad").symlink_to(quad_photos)
    cells = "{model.train: head, head: knn}, {model.train: head, head: kernel_ridge}"
    command = ["img2gps", "start", "my quad", "image_size=32", "logger=csv", "threads=1",
               f"hydra.sweeper.cells=[{cells}]", "--yes"]  # fmt: skip
    for _ in range(2):  # the second time everything is found
        done = subprocess.run(
            command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "done before: 20; to run: 0" in done.stdout
    assert (tmp_path / "reports" / "my-quad" / "index.html").is_file()
    assert list(tmp_path.glob("runs/my-quad/final/*"))


@pytest.mark.parametrize(
    ("page", "first"),
    [("README.md", "img2gps studies show"), ("docs/your-photos.md", "img2gps ingest DIR")],
)
def test_the_commands_of_a_page_work_in_its_order(
    page: str, first: str, tmp_path: Path, quad_photos: Path
) -> None:
    (tmp_path / "DIR").symlink_to(quad_photos)
    typed = []
    for command in lines(page, first):
        typed.append(smaller(command))
        done = subprocess.run(
            shlex.split(typed[-1]),
            cwd=tmp_path,
            env=environment(tmp_path),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{typed[-1]}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
    assert len(typed) >= 4
    pages = list(tmp_path.glob("reports/*/index.html"))
    assert pages, "a tour ends with a page to look at"
    results = [json.loads(p.read_text()) for p in tmp_path.glob("runs/*/*/result.json")]
    assert results
    assert {found["state"] for found in results} == {"finished"}
