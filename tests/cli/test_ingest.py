"""`img2gps ingest`: what it reads, what it refuses, and what it says."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from img2gps.cli.commands.ingest import _source
from img2gps.cli.main import main, parser
from img2gps.photos.ingest import HuggingFaceSource, QuadSource
from tests.helpers.photos import make_photo, make_site

LAT0, LON0 = 39.9515, -75.1914


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_site(tmp_path_factory.mktemp("site"))


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["ingest", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_command_names_every_reject_and_ends_in_a_summary(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache, page = tmp_path / "cache", tmp_path / "page.html"
    status = command(
        *(str(root), "--image-size", "16", "--cache", str(cache), "--report", str(page), "--verify")
    )
    out = capsys.readouterr().out
    assert status == 0
    assert page.is_file()
    for name in ("no gps.jpg", "WhatsApp Image <b>.jpg", "text.jpg", "more text.jpg"):
        assert f"  {name}\n" in out
    last = out.splitlines()[-1]
    assert ": 44 photos ready, 4 left out, 2 groups of duplicates, 1 far from the others;" in last


def test_command_without_a_usable_photo_ends_with_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_photo(tmp_path / "a.jpg", None, None)
    assert command(str(tmp_path), "--cache", str(tmp_path / "cache")) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("img2gps: error: ")
    assert f"{tmp_path}: a.jpg cannot be used (no GPS: " in error
    assert "turn location on" in error


def test_command_suggests_the_table_that_has_the_positions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_photo(tmp_path / "0.jpg", LAT0, LON0)
    for i in range(1, 4):
        make_photo(tmp_path / f"{i}.jpg", None, None, seed=i)
    table = tmp_path / "photos.csv"
    table.write_text(f"path,lat,lon\n1.jpg,{LAT0},{LON0}\n")

    assert command(str(tmp_path), "--image-size", "16", "--cache", str(tmp_path / "cache")) == 0
    assert f"next: img2gps ingest {table} --report" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone"], "no such folder"),
        (["gone.csv"], "give a CSV file"),
        (["x" * 300], f"{'x' * 300}: File name too long; give another path (source)"),
        ([".", "--image-size", "0"], "--image-size 0: must be 1 to 2048 pixels"),
        ([".", "--image-size", "10000000"], "--image-size 10000000: must be 1 to 2048 pixels"),
    ],
)
def test_command_refuses_impossible_input_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*arguments, "--cache", str(tmp_path)) == 2
    assert message in capsys.readouterr().err


def test_a_folder_that_may_not_be_read_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: object) -> None:  # root, who runs tests, may read everything
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "album").mkdir()
    monkeypatch.setattr(Path, "is_file", refused)  # as of anything below the folder
    monkeypatch.setattr("img2gps.photos.sources.walk.os.scandir", refused)
    assert command(str(tmp_path / "album"), "--cache", str(tmp_path / "cache")) == 2
    said = "album: . cannot be used (folder cannot be read: Permission denied); check the permi"
    assert said in capsys.readouterr().err


def test_command_reads_a_csv(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = root.parent / "labels.csv"
    table.write_text(f"path,lat,lon\n{root.name}/00.jpg,1,2\n")
    cache = ["--image-size", "16", "--cache", str(tmp_path)]
    assert command(str(table), *cache) == 0
    assert "labels: 1 photos ready" in capsys.readouterr().out


def test_command_reads_the_photos_of_a_folder_that_also_holds_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "site"
    (folder / "below").mkdir(parents=True)
    make_photo(folder / "below" / "a.JPG", LAT0, LON0)
    (folder / "tracks.parquet").write_bytes(b"PAR1")
    assert command(str(folder), "--image-size", "16", "--cache", str(tmp_path / "cache")) == 0
    assert "site: 1 photos ready, 0 left out," in capsys.readouterr().out


def test_command_takes_a_folder_of_tables_alone_for_a_hugging_face_data_set(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.parquet").touch()
    (tmp_path / "README.md").touch()
    args = parser().parse_args(["ingest", str(tmp_path)])
    assert _source(args) == HuggingFaceSource(tmp_path)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_command_shows_names_that_the_terminal_lacks_with_backslashes(
    tmp_path: Path, encoding: str
) -> None:
    folder = tmp_path / "Münster 写真"
    folder.mkdir()
    make_photo(folder / "a.jpg", 39.95, -75.19)
    make_photo(folder / "Straße.jpg", None, None)
    done = subprocess.run(
        [sys.executable, "-m", "img2gps", "ingest", str(folder), "--image-size", "16"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding, "IMG2GPS_CACHE": str(folder / "cache")},
    )
    assert done.returncode == 0, done.stderr
    assert "Straße.jpg".encode(encoding, "backslashreplace") in done.stdout
    assert "Münster 写真".encode(encoding, "backslashreplace") in done.stdout
    assert b"Traceback" not in done.stderr


def test_command_knows_the_quad_by_its_name() -> None:
    args = parser().parse_args(["ingest", "quad", "-n", "2", "--seed", "5"])
    assert _source(args) == QuadSource(n=2, seed=5)
