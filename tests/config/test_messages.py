"""What the training command says to a line that cannot be run: one line, status 2."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import NoReturn

import pytest
from hydra import compose, initialize_config_dir

from img2gps.config import command_line, messages, usage
from img2gps.config.schema import Config
from img2gps.core.errors import BadInput
from img2gps.core.paths import package_folder
from img2gps.photos.dataset import Dataset
from img2gps.photos.ingest import QuadSource, ingest
from img2gps.report import photo_page


def never(config: Config) -> NoReturn:
    raise AssertionError(f"ran {config}")


def said(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> str:
    """The line that a command ends in, which must be the only one."""
    monkeypatch.setattr("sys.argv", ["train.py", *arguments])
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(command_line, "raise_on_signals", lambda: None)
    with pytest.raises(SystemExit) as caught:
        command_line.main(never)
    assert caught.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0].removeprefix("img2gps: error: ")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["lr=1,2"], "lr=1,2: several values need -m: python -m img2gps.train -m lr=1,2; "),
        (["lr=range(1,3)"], "lr=range(1,3): several values need -m: "),
        (["just_a_word"], "just_a_word: not an override; write KEY=VALUE, such as lr=0.001"),
        ([""], "'': not an override; write KEY=VALUE"),
        (["lr=interval(a,b)"], "lr=interval(a,b): interval(...) cannot be read; write choice("),
        (["-m", "lr=range(1,3"], "lr=range(1,3: range(...) cannot be read; write choice("),
        (["lr=(1"], "lr=(1: no readable value; quote one with special characters twice: "),
        (
            ["-m", "lr=1,2", "hydra.sweeper.confirm={topp:3}"],
            "hydra.sweeper.confirm.topp: no such key; hydra.sweeper.confirm has top, seeds",
        ),
        (
            ["-m", "lr=1,2", "hydra.sweeper.budget={hours:1}"],
            "hydra.sweeper.budget.hours: no such key; hydra.sweeper.budget has minutes, epochs, ",
        ),
        (
            ["-m", "lr=1,2", "hydra.sweeper.workers=two"],
            "hydra.sweeper.workers=two: not a whole number",
        ),
        (["model=3"], "model=3: not the name of a choice; see --help"),
        (["=3"], "=3: not the name of a choice; see --help"),
        (
            ["data=photos", "data.root=.", "data.part=x"],
            "data.part: the chosen data has no such",
        ),
        (
            ["logger=none", "-m", "lr=0.1,0.2"],
            "-m: comes before all KEY=VALUE; write python -m img2gps.train -m logger=none "
            "lr=0.1,0.2",
        ),
    ],
)
def test_line_names_key_value_and_remedy(
    arguments: list[str],
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert said(arguments, capsys, monkeypatch).startswith(line)


@pytest.mark.parametrize("path", ["/x/Münster", "Photos (2)", "it's", 'a "b"', "{"])
def test_suggested_quotes_make_the_path_readable(
    path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = said(["data=photos", f"data.root={path}"], capsys, monkeypatch)
    key, _, suggested = line.partition(" special characters twice: ")
    assert key.startswith(f"data.root={path}: ")
    (typed,) = shlex.split(suggested)
    folder = str(package_folder("conf"))
    with initialize_config_dir(folder, version_base="1.3"):
        assert compose("train", overrides=["data=photos", typed]).data.root == path


@pytest.mark.parametrize(
    "arguments",
    ["-m lr=1,2 seed=0", "lr=0.1 seed=1", "lr=0.1 --cfg job", "--cfg job lr=0.1", "-m", "lr=1 -m"],
)
def test_options_at_either_end_pass(arguments: str) -> None:
    usage.check_order(arguments.split())


def test_option_is_moved_with_its_value() -> None:
    with pytest.raises(BadInput, match=r"train --config-dir conf -m model=mine lr=1,2$"):
        usage.check_order(["model=mine", "--config-dir", "conf", "-m", "lr=1,2"])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    source = QuadSource(n=4, width=64, height=48)
    return ingest(source, image_size=32, cache_dir=tmp_path_factory.mktemp("c"), progress=False)


def test_report_into_a_folder_asks_for_a_file(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photo_page.page, "render", lambda _: "<html>")
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(
        BadInput, match=r"folder: cannot be written \(Is a directory\); name a file"
    ):
        photo_page.write(dataset, folder)
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("folder", ["/proc/nope", __file__])
def test_report_where_nothing_can_be_written_is_one_line(
    folder: str, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photo_page.page, "render", lambda _: "<html>")
    with pytest.raises(BadInput, match=rf"^--report {folder}/a.html: cannot be written \("):
        photo_page.write(dataset, Path(folder) / "a.html")


def test_an_option_of_a_study_that_is_misspelt_gets_a_suggestion() -> None:
    import hydra_plugins.img2gps_sweeper  # noqa: F401  # registers the options, as Hydra does

    class Unknown(Exception):
        full_key = "hydra.sweeper.worker"

    error = Unknown("Key 'worker' not in 'SweeperConfig'")
    assert messages.describe(error) == (
        "hydra.sweeper.worker: no such key; did you mean hydra.sweeper.workers?; see --cfg job for "
        "all keys"
    )
