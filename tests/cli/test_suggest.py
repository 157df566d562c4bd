"""Every command ends in the next one, which can be typed as it stands."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from img2gps.cli.commands.report import data_words
from img2gps.cli.main import main, parser
from img2gps.core.advice import next_step
from img2gps.photos.quad import QuadSpec, render
from img2gps.runs.folder import CHECKPOINT
from tests.helpers.fake_study import Options, make_study

LR = {"lr": [0.001, 0.003]}


def suggestion(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command and return what it suggests, which must be a command that exists."""
    with pytest.raises(SystemExit):
        main(words)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("next: img2gps ")
    command, _, why = line.removeprefix("next: ").partition("    # ")
    assert why
    known = shlex.split(command)[1:]
    if known[0] != "train":  # its words are Hydra's
        parser().parse_args(known)
    return command


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of runs of a finished study `s`, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "cache"))
    make_study(tmp_path / "runs", "s", Options(axes=LR, seeds=(0, 1), epochs=3))
    return tmp_path / "runs"


def test_a_study_is_listed_shown_reported_selected_and_used(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = ["img2gps studies"]
    for _ in range(4):
        commands.append(suggestion(capsys, *shlex.split(commands[-1])[1:]))
    assert commands[1:] == [
        "img2gps studies show s",
        "img2gps report s",
        "img2gps select s",
        "img2gps predict PHOTO.jpg --run s",
    ]
    assert suggestion(capsys, "report", "s") == "img2gps needs s"  # fake runs have no weights
    for run in (runs / "s").glob("*/result.json"):
        run.with_name(CHECKPOINT).touch()
    assert suggestion(capsys, "report", "s") == "img2gps predict PHOTO.jpg --run s"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["contrast", "s", "--this", "lr=0.001", "--that", "lr=0.003"], "img2gps report s"),
        (["publish", "s"], "img2gps report s --runs results"),
        (["sync", "s", "--dry-run", "--all"], "img2gps sync s"),
    ],
)
def test_other_commands_lead_on(
    runs: Path, words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert suggestion(capsys, *words) == expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("failed", "img2gps studies retry s"),
        ("queued", "img2gps train -m sweeps=s"),
    ],
)
def test_an_unfinished_study_needs_another_try_or_more_time(
    tmp_path: Path, state: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    states = {("lr=0.003", 1): (state, "")}
    made = make_study(tmp_path, "s", Options(axes=LR, seeds=(0, 1), epochs=3, states=states))
    path = made.folder / "study.json"
    path.write_text(path.read_text().replace("python -m img2gps.train", "img2gps train"))
    found = suggestion(capsys, "studies", "show", "s", "--runs", str(tmp_path))
    assert found.removesuffix(f" --runs {tmp_path}") == expected


def test_photos_are_looked_at_before_they_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "cache"))
    render(QuadSpec(n=6, width=96, height=72), tmp_path / "photos", threads=1, progress=False)
    look = suggestion(capsys, "ingest", "photos", "--image-size", "32")
    assert look == "img2gps ingest photos --report"
    train = suggestion(capsys, "ingest", "photos", "--image-size", "32", "--report", "a.html")
    assert train == "img2gps train data=photos data.root=photos"


def test_what_places_the_photos_stays_in_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMG2GPS_CACHE", str(tmp_path / "cache"))
    render(QuadSpec(n=6, width=96, height=72), tmp_path / "a, b", threads=1, progress=False)
    words = ["ingest", "a, b", "--image-size", "32", "--one-of-each"]
    assert suggestion(capsys, *words) == "img2gps ingest 'a, b' --one-of-each --report"
    assert suggestion(capsys, *words, "--report", "a.html") == (
        "img2gps train data=photos 'data.root=\"a, b\"' data.one_of_each=true"
    )


def test_a_second_learning_rate_is_tried_on_the_same_photos(tmp_path: Path) -> None:
    run = tmp_path / "mine" / "a1"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("data: {kind: photos, root: my photos}\n")
    assert data_words(tmp_path / "mine") == ["data=photos", "'data.root=\"my photos\"'"]
    (run / "config.yaml").write_text("data: {kind: quad, root: null}\n")
    assert data_words(tmp_path / "mine") == []


def test_a_folder_of_runs_elsewhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    line = next_step("img2gps report s", "tables", "elsewhere")
    assert line == "next: img2gps report s --runs elsewhere    # tables"
    monkeypatch.setenv("IMG2GPS_RUNS", "elsewhere")
    assert next_step("img2gps report s", "tables", "elsewhere") == (
        "next: img2gps report s    # tables"
    )
