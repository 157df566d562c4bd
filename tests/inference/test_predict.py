"""Photos to coordinates by a finished run, bad files named and the rest answered."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from img2gps import Localizer, train
from img2gps.cli.commands.predict import _files, _say_which
from img2gps.cli.main import main
from img2gps.core import signals
from img2gps.core.errors import BadInput
from img2gps.inference.evaluate import evaluate_test
from img2gps.inference.position import Position
from img2gps.inference.predict import Predictor
from img2gps.runs.folder import CHECKPOINT, CONFIG, PREDICTIONS, PREDICTIONS_TEST
from img2gps.runs.outcome import Outcome
from img2gps.runs.records import RESULT, StudyRecord, write_study
from img2gps.runs.winner import Winner, write_winner
from tests.helpers.tiny import tiny_config


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Outcome:
    """A finished tiny run with a test part, and its working directory as the current one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMG2GPS_CACHE", str(shared_cache))
        patch.chdir(tmp_path_factory.mktemp("predict"))
        outcome = train.run(tiny_config("split.n_val=10", "split.n_test=8"))
        return Outcome(**{**vars(outcome), "folder": outcome.folder.resolve()})


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def photos(quad_photos: Path) -> Path:
    """The files that the tiny run was trained and validated on."""
    return quad_photos


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def predict(*arguments: str) -> Done:
    """`img2gps predict` in this process, which has torch already."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
        main(["predict", *arguments])
    return Done(int(end.value.code or 0), out.getvalue(), err.getvalue())


def test_another_model_is_suggested_by_a_command_that_a_shell_reads_as_it_is_meant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("img2gps.inference.find.selected", lambda _: ["newest", "older"])
    localizer: Any = SimpleNamespace(card=SimpleNamespace(title="", synthetic=False, trust=None))
    args = Namespace(run="", root=Path(), photos=[Path("my photos/a b.jpg")])
    _say_which(localizer, args)
    said = "img2gps: another: img2gps predict 'my photos/a b.jpg' --run older\n"
    assert said in capsys.readouterr().err


def test_answers_are_those_of_the_run_itself(finished: Outcome, photos: Path) -> None:
    expected = rows(finished.folder / PREDICTIONS)
    answers = Localizer.load(finished.folder).predict(photos / row["photo"] for row in expected)
    for row, answer in zip(expected, answers, strict=True):
        assert answer.lat_deg == pytest.approx(float(row["pred_lat_deg"]), abs=1e-9)
        assert answer.lon_deg == pytest.approx(float(row["pred_lon_deg"]), abs=1e-9)
        assert answer.error_m == pytest.approx(float(row["error_m"]), abs=0.1)  # EXIF rounds


def test_bad_file_is_named_and_the_rest_answered(
    finished: Outcome, photos: Path, tmp_path: Path
) -> None:
    good = sorted(photos.glob("*.jpg"))[0]
    bad = tmp_path / "notes.jpg"
    bad.write_text("not a picture")
    done = predict(
        str(good), str(bad), str(tmp_path / "gone.jpg"), "--run", str(finished.folder), "--json"
    )
    answers = json.loads(done.stdout)
    assert done.returncode == 3
    assert [a["error"] is None for a in answers] == [True, False, False]
    assert 39.9 < answers[0]["lat_deg"] < 40
    assert -75.3 < answers[0]["lon_deg"] < -75.1
    assert "notes.jpg: not a picture that can be read" in done.stderr
    assert "gone.jpg: cannot be opened" in done.stderr


def test_table_has_one_line_a_photo(finished: Outcome, photos: Path) -> None:
    three = [str(path) for path in sorted(photos.glob("*.jpg"))[:3]]
    done = predict(*three, "--run", str(finished.folder))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["photo", "lat_deg", "lon_deg"]
    assert len(lines) == 4
    assert all(" m from the position in the photo" in line for line in lines[1:])


def test_a_web_address_is_no_photo(finished: Outcome) -> None:
    done = predict("https://example.com/a.jpg", "--run", str(finished.folder))
    assert done.returncode == 2
    assert done.stderr == (
        "img2gps: error: https://example.com/a.jpg: a web address; download the photo and give "
        "its file\n"
    )


def test_the_report_of_the_study_whose_winner_has_answered_is_next(
    finished: Outcome, photos: Path
) -> None:
    root = finished.folder.parent.parent
    winner = Winner("mine", path=f"default/{finished.run_id}", candidates=2)
    (root / "mine").mkdir()
    write_winner(root / "mine", winner)
    write_study(root, StudyRecord("mine"))
    answered = predict(str(photos / "IMG_00001.jpg"), "--runs", str(root))
    none = predict("gone.jpg", "--runs", str(root))
    shutil.rmtree(root / "mine")
    assert "next: img2gps report mine" in answered.stderr
    assert none.returncode == 2
    assert "next:" not in none.stderr


def test_a_path_that_is_too_long_is_a_photo_that_cannot_be_opened() -> None:
    path = Path("x" * 300)
    assert _files([path]) == ({str(path): path}, [])


def test_folder_gives_its_photos_and_passes_over_other_files(
    finished: Outcome, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "below").mkdir()
    shutil.copy(photos / "IMG_00001.jpg", tmp_path / "b.JPG")
    shutil.copy(photos / "IMG_00002.jpg", tmp_path / "below" / "a.jpg")
    for name in ("notes.txt", ".DS_Store", "._b.JPG", "below/track.gpx"):
        (tmp_path / name).write_text("no photo")
    done = predict(str(tmp_path), "--run", str(finished.folder), "--json")
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert [a["photo"] for a in answers] == ["b.JPG", "below/a.jpg"]
    (tmp_path / "c.NEF").write_text("a camera's own format")
    some = predict(str(tmp_path), "--run", str(finished.folder), "--json")
    assert (some.returncode, json.loads(some.stdout)) == (3, answers)
    assert "c.NEF: .nef pictures are not read; export it as JPEG" in some.stderr
    named = predict(str(tmp_path / "notes.txt"), "--run", str(finished.folder))
    assert named.returncode == 2
    assert "notes.txt: not a picture that can be read" in named.stderr


def test_folder_without_photos_is_bad_input(finished: Outcome, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no photo")
    done = predict(str(tmp_path), "--run", str(finished.folder))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"img2gps: error: {tmp_path}: no photos in it; give photos or a folder of JPEG, HEIC, "
        "AVIF, PNG, TIFF or WebP photos\n"
    )


def test_folder_that_cannot_be_read_whole_is_named(
    finished: Outcome, photos: Path, tmp_path: Path
) -> None:
    shutil.copy(photos / "IMG_00001.jpg", tmp_path / "a.jpg")
    (tmp_path / "back").symlink_to(tmp_path)
    done = predict(str(tmp_path), "--run", str(finished.folder), "--json")
    assert done.returncode == 3
    assert [a["error"] for a in json.loads(done.stdout)] == [None]
    assert f"img2gps: {tmp_path}/back: link to a folder already read; remove the" in done.stderr


def test_run_on_the_built_in_quad_is_said_to_be_synthetic(
    finished: Outcome, photos: Path, tmp_path: Path
) -> None:
    photo = str(photos / "IMG_00001.jpg")
    hint = "trained on the built-in quad, which is synthetic: "
    done = predict(photo, "--run", str(finished.folder), "--json")
    assert [a["synthetic"] for a in json.loads(done.stdout)] == [True]
    assert [line for line in done.stderr.splitlines() if hint in line] == [
        f"img2gps: {hint}its answers mean nothing for photos of a real place"
    ]
    real = tmp_path / "real"
    shutil.copytree(finished.folder, real)
    result = json.loads((real / RESULT).read_text())
    result["data"]["synthetic"] = False
    (real / RESULT).write_text(json.dumps(result))
    done = predict(photo, "--run", str(real), "--json")
    assert [a["synthetic"] for a in json.loads(done.stdout)] == [False]
    assert "synthetic" not in done.stderr


def test_name_that_the_terminal_lacks_is_shown_with_backslashes(
    finished: Outcome, photos: Path, tmp_path: Path
) -> None:
    photo, gone = tmp_path / "Münster.jpg", tmp_path / "Übersee.jpg"
    shutil.copy(photos / "IMG_00001.jpg", photo)
    command = [
        *(sys.executable, "-c", "from img2gps.cli.main import main; main()", "predict"),
        *(str(photo), str(gone), "--run", str(finished.folder)),
    ]
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, env=ascii_only)
    assert done.returncode == 3
    assert r"M\xfcnster.jpg  " in done.stdout
    assert r"\xdcbersee.jpg: cannot be opened" in done.stderr
    assert "Traceback" not in done.stderr


def test_test_part_is_scored_on_photos_that_training_never_saw(
    finished: Outcome, shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(shared_cache))
    figures = evaluate_test(finished.folder)
    scored = rows(finished.folder / PREDICTIONS_TEST)
    errors = [float(row["error_m"]) for row in scored]
    assert figures["n_test"] == len(scored) > 0
    assert figures["test/rmse_m"] == pytest.approx(
        (sum(e * e for e in errors) / len(errors)) ** 0.5
    )
    seen = {row["photo"] for row in rows(finished.folder / PREDICTIONS)}
    assert not seen & {row["photo"] for row in scored}


def test_hidden_photos_of_the_quad_are_made_and_scored_against_the_truth(
    finished: Outcome, shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMG2GPS_CACHE", str(shared_cache))
    figures = evaluate_test(finished.folder, hidden=12)
    scored = rows(finished.folder / PREDICTIONS_TEST)
    assert sorted({row["photo"].split("/")[0] for row in scored}) == ["test_known", "test_new"]
    assert figures["n_test"] == len(scored) == 12
    assert figures["test/rmse_m"] == pytest.approx(figures["truth/rmse_m"], rel=0.2)
    assert figures["test/rmse_m"] != figures["truth/rmse_m"]


def test_unfinished_or_foreign_run_is_refused(finished: Outcome, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / CONFIG).write_bytes((finished.folder / CONFIG).read_bytes())
    with pytest.raises(BadInput, match="the run is not finished"):
        Predictor.load(folder)
    (folder / RESULT).write_bytes((finished.folder / RESULT).read_bytes())
    with pytest.raises(BadInput, match=r"has no last\.ckpt"):
        Predictor.load(folder)
    (folder / CHECKPOINT).write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(BadInput, match="not a checkpoint of this run"):
        Predictor.load(folder)


def test_unknown_run_is_one_line_and_status_2() -> None:
    done = predict("photo.jpg", "--run", "nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("img2gps: error: nowhere: no such run below runs, results")


def test_file_that_cannot_be_written_is_named_before_any_work(
    finished: Outcome, photos: Path, tmp_path: Path
) -> None:
    photo = str(photos / "IMG_00001.jpg")
    for option in ("--map", "--explain"):
        done = predict(photo, "--run", str(finished.folder), option, str(tmp_path))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"img2gps: error: {option} {tmp_path}: is a folder; name a file\n"
    file = tmp_path / "file"
    file.write_text("")
    for option, place in (("--to", file / "answers.csv"), ("--map", file / "below" / "map.html")):
        done = predict(photo, "--run", str(finished.folder), option, str(place))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            f"img2gps: error: {option}: {file} is a file, not a folder; name another place\n"
        )
    done = predict(photo, "--run", str(finished.folder), "--write-exif", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    new = tmp_path / "new" / "folder" / "answers.csv"
    done = predict(photo, "--run", str(finished.folder), "--to", str(new))
    assert (done.returncode, len(rows(new))) == (0, 1)


def test_copies_stay_below_their_folder_whatever_the_photos_are_called(
    finished: Outcome, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("here/a", "b"):
        (tmp_path / folder).mkdir(parents=True)
        shutil.copy(photos / "IMG_00001.jpg", tmp_path / folder / "same.jpg")
    monkeypatch.chdir(tmp_path / "here")
    done = predict("a", "../b", "--run", str(finished.folder), "--write-exif", "copies", "--json")
    answers = json.loads(done.stdout)
    assert [one["photo"] for one in answers] == ["a/same.jpg", "../b/same.jpg"]
    copies = [path for path in tmp_path.rglob("*.jpg") if path.parent.name in "ab"]
    allowed = {"here/a", "b", "here/copies/a", "here/copies/b"}
    assert {str(path.parent.relative_to(tmp_path)) for path in copies} <= allowed


@pytest.fixture
def _own_signals() -> Iterator[None]:
    """Undo what an interruption leaves behind in the process."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    signals.raise_on_signals()  # forgets the interruption
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_own_signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruption_before_the_first_answer_is_said(
    number: int, status: int, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Localizer, "load", lambda *_: os.kill(os.getpid(), number))
    done = predict("photo.jpg", "--to", "answers.csv")
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr == "img2gps: interrupted\n"


@pytest.mark.usefixtures("_own_signals")
def test_interruption_loses_no_answer(
    finished: Outcome, photos: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = [str(path) for path in sorted(photos.glob("*.jpg"))[:3]]
    stream = Localizer.stream

    def interrupted(*arguments: Any, **options: Any) -> Iterator[Position]:
        answers = stream(*arguments, **options)
        yield next(answers)
        yield next(answers)
        os.kill(os.getpid(), signal.SIGINT)
        yield next(answers)

    monkeypatch.setattr(Localizer, "stream", interrupted)
    done = predict(*several, "--run", str(finished.folder), "--to", "answers.csv")
    assert done.returncode == 130
    assert "interrupted: 2 of 3 photos were answered" in done.stderr
    assert len(rows(workdir / "answers.csv")) == 2
