"""The first commands that somebody types with photos of their own."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from img2gps import train
from img2gps.cli.main import main, parser
from img2gps.config import usage
from img2gps.core import signals
from img2gps.core.files import read_json
from img2gps.core.paths import package_folder
from img2gps.photos.quad import QuadSpec, render
from tests.helpers.tiny import TINY, config

QUAD_ONLY = ("data", "split.n_val")
SMALL = [word for word in TINY if not word.startswith(QUAD_ONLY)]


@pytest.fixture
def photos(workdir: Path) -> Path:
    """Twenty-five geotagged photos in the folder `photos` of the working directory."""
    render(QuadSpec(n=25, width=96, height=72), workdir / "photos", threads=1, progress=False)
    return workdir / "photos"


def test_a_fifth_of_ones_own_photos_validates(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        outcome = train.run(config("data=photos", "data.root=photos", *SMALL))
    assert "trains on 20 photos, validates on 5" in caplog.messages
    data = (read_json(outcome.folder / "result.json") or {})["data"]
    assert (data["n_train"], data["n_val"]) == (20, 5)


@pytest.mark.parametrize(
    ("words", "n_val"),
    [
        (["data=photos", "data.root=."], 0.2),
        (["data=csv", "data.root=a.csv"], 0.2),
        (["data=photos", "data.root=.", "split=place"], 0.2),
        (["data=photos", "data.root=.", "split=kfold"], 0),
        (["data=photos", "data.root=.", "split.n_val=16"], 16),
        (["data=quad"], 60),
        (["data=quad_tiny", "split=place"], 60),
    ],
)
def test_only_the_built_in_quad_validates_on_60_photos_by_default(
    words: list[str], n_val: float
) -> None:
    assert config(*words).split.n_val == n_val


def img2gps(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "img2gps", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_img2gps_train_is_the_training_command(workdir: Path) -> None:
    done = img2gps("train", *TINY, "max_epochs=1", "lr=0.002")
    assert done.returncode == 0, done.stderr
    assert "finished: validation RMSE" in done.stdout.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith("next: img2gps report default    # ")
    (result,) = workdir.glob("runs/default/*/result.json")
    assert (read_json(result) or {})["swept"]["lr"] == 0.002
    assert img2gps("train", "--help").stdout == usage.text() + "\n"


def test_help_shows_every_root_knob() -> None:
    conf = yaml.safe_load((package_folder("conf") / "train.yaml").read_text(encoding="utf-8"))
    knobs = {*conf} - {"defaults", "hydra"}
    told = set(re.findall(r"^  (\w+):", usage.text(), flags=re.MULTILINE))
    assert {"head", "monitor", "baselines", "force"} <= knobs
    assert told == knobs


def test_img2gps_train_starts_studies_and_answers_bad_input_in_one_line(workdir: Path) -> None:
    dry = img2gps("train", "-m", *TINY, "lr=0.001,0.003", "hydra.sweeper.dry_run=true")
    assert dry.returncode == 0, dry.stderr
    assert "2 cells" in dry.stdout
    assert "with 1 worker of 1 thread" in dry.stdout  # threads=1, whatever the machine has
    wrong = img2gps("train", "lr=-1")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("img2gps: error: lr=-1")
    assert len(wrong.stderr.splitlines()) == 1


RUNS = {
    "contrast": ["s", "--this", "lr=1", "--that", "lr=2"],
    "needs": ["s"],
    "predict": ["a.jpg", "--run", "b"],
    "publish": ["s"],
    "replay": ["s"],
    "report": [],
    "select": ["s"],
    "studies": [],
    "sync": [],
}


@pytest.mark.parametrize("command", RUNS)
def test_every_command_finds_runs_by_one_option_and_one_variable(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def root(*words: str) -> Path:
        found: Path = parser().parse_args([command, *RUNS[command], *words]).root
        return found

    assert root() == Path("runs")
    assert root("--runs", "elsewhere") == root("--root", "elsewhere") == Path("elsewhere")
    monkeypatch.setenv("IMG2GPS_RUNS", "from_variable")
    assert root() == Path("from_variable")
    assert root("--runs", "elsewhere") == Path("elsewhere")


def test_training_follows_the_same_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config().runs.root == "runs"
    monkeypatch.setenv("IMG2GPS_RUNS", "from_variable")
    assert config().runs.root == "from_variable"
    assert config("runs.root=elsewhere").runs.root == "elsewhere"


def test_the_commands_of_a_report_run_as_they_are(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = ("study=mine", "lr=0.001,0.003", "max_epochs=1", "runs.root=my runs")
    quoted = [word.replace("my runs", '"my runs"') for word in study]
    done = img2gps("train", "-m", *TINY, *quoted)
    assert done.returncode == 0, done.stderr
    assert img2gps("report", "mine", "--runs", "my runs").returncode == 0
    (script,) = workdir.glob("reports/mine/**/commands.sh")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    again = subprocess.run(["sh", str(script)], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert (workdir / "my runs" / "mine" / "winner.json").is_file()


def test_hydras_own_sweeper_leaves_its_file_in_the_studys_folder(workdir: Path) -> None:
    done = img2gps("train", "-m", "hydra/sweeper=basic", *TINY, "max_epochs=1", "study=mine")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in workdir.iterdir()] == ["runs"]
    assert (workdir / "runs" / "mine" / "multirun.yaml").is_file()


def test_img2gps_alone_prints_its_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: img2gps")


def test_an_interrupted_dry_run_has_nothing_to_go_on_from() -> None:
    signals.raise_on_signals()
    try:
        assert "the same command goes on from here" in str(signals.Interrupted(2))
        signals.say_when_interrupted("interrupted; a dry run leaves nothing to go on from")
        assert "goes on from here" not in str(signals.Interrupted(2))
    finally:
        signals.raise_on_signals()  # forgets the message
    assert str(signals.Interrupted(2)) == signals.RESUMABLE
