"""`img2gps start`: the ordinary commands in a row, each printed as one would type it."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from img2gps.cli.commands import start
from img2gps.cli.main import main, parser
from tests.helpers.photos import make_photo
from tests.helpers.studies import wait_for


def begin(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["start", *words])
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Commands of the steps that were run; none of them really is."""
    found: list[str] = []

    def run(step: start.Step, root: Path) -> int:
        found.append(step.command)
        return 3 if "study=fails" in step.command else 0

    monkeypatch.setattr(start, "_run", run)
    return found


def test_every_step_is_a_command_that_exists(tmp_path: Path) -> None:
    photos = tmp_path / "My photos, spring"
    photos.mkdir()
    steps = start.guide(str(photos), start.study_name(str(photos)), ["threads=1"])
    assert [step.words[0] for step in steps] == (
        ["ingest", "train", "train", "report", "select", "final"]
    )
    for step in steps:
        name, *words = shlex.split(step.command)[1:]
        if name == "train":
            assert {f'data.root="{photos}"', "study=my-photos-spring", "threads=1"} <= {*words}
        else:
            parser().parse_args([name, *words])


def test_the_look_reads_the_photos_that_the_training_reads(tmp_path: Path) -> None:
    words = ["data.track=ride.gpx", "data.one_of_each=true", "threads=1"]
    first, *_ = start.guide(str(tmp_path), "mine", words)
    assert first.words == [
        "ingest",
        str(tmp_path),
        "--track",
        "ride.gpx",
        "--one-of-each",
        "--report",
    ]


def test_only_the_folder_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    assert begin() == 2
    assert capsys.readouterr().err.endswith("arguments are required: DIR\n")


def test_it_looks_and_estimates_before_it_asks_whether_to_train(
    tmp_path: Path, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "_agreed", lambda: False)
    assert begin(str(tmp_path)) == 0
    assert len(ran) == 2
    assert ran[1].endswith("hydra.sweeper.dry_run=true")


def test_it_trains_unasked_only_if_told_so(
    tmp_path: Path, ran: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert begin(str(tmp_path)) == 2  # pytest's stdin is no terminal
    assert "nobody can answer here; add --yes" in capsys.readouterr().err
    assert begin(str(tmp_path), "--yes") == 0
    shown = capsys.readouterr()
    assert len(ran) == 2 + 6
    assert all(f"$ {command}" in shown.out for command in ran)
    assert f"next: img2gps predict PHOTO.jpg --study {tmp_path.name.replace('_', '-')}" in shown.err


def test_a_step_that_fails_ends_it_with_its_status(tmp_path: Path, ran: list[str]) -> None:
    assert begin(str(tmp_path), "--study", "fails", "--yes") == 3
    assert "dry_run" in ran[-1]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_no_step_outlives_a_guide_that_is_told_to_stop(tmp_path: Path, signum: int) -> None:
    code = (
        "import sys; from img2gps.cli.main import main;"
        "sys.executable = '/bin/sh';"  # `sh -m img2gps ...` runs the file of that name
        "main(['start', '.'])"
    )
    (tmp_path / "img2gps").write_text("echo $$ > pid; exec sleep 60")
    guide = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.DEVNULL)
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    time.sleep(0.5)  # until the guide waits for the step
    guide.send_signal(signum)
    guide.wait(20)

    assert guide.returncode in (128 + signum, -signum)
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


@pytest.mark.slow
def test_the_guide_goes_all_the_way_on_real_files(tmp_path: Path) -> None:
    photos, draw = tmp_path / "photos", random.Random(0)
    photos.mkdir()
    for i in range(24):
        lat, lon = 39.95 + draw.uniform(0, 2e-3), -75.19 + draw.uniform(0, 2e-3)
        make_photo(photos / f"{i}.jpg", lat, lon, seed=i)
    small = ["image_size=32", "threads=1", "split.fold=0,1", "trainer.limit_train_batches=1"]
    done = subprocess.run(
        [sys.executable, "-m", "img2gps", "start", "photos", *small, "weights=none", "logger=csv",
         "--yes"],
        cwd=tmp_path, env={**os.environ, "IMG2GPS_CACHE": str(tmp_path / "cache")},
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "reports" / "photos" / "index.html").is_file()
    winner = json.loads((tmp_path / "runs" / "photos" / "winner.json").read_text())
    assert "split=kfold" in winner["cell"]
    assert (tmp_path / "runs" / "photos" / "final").is_dir()
    assert "study photos: 8 cells x 1 seed x 2 folds = 16 runs" in done.stdout
