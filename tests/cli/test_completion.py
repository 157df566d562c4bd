"""The shell completes commands, options, groups and knobs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from img2gps.config.messages import known_keys
from img2gps.config.usage import words

BASH = shutil.which("bash")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    command = [sys.executable, "-m", "img2gps", "completion", "bash"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    path = tmp_path_factory.mktemp("completion") / "img2gps.bash"
    path.write_text(done.stdout)
    return path


def completed(script: Path, line: str) -> set[str]:
    """What bash offers at the end of a line, whose words it breaks at "=", too."""
    broken = [word for word in re.split(r"\s+|(=)", line) if word]
    if line.endswith((" ", "=")):
        broken.append("")
    code = """
        source "$1"; COMP_LINE="$2"; COMP_POINT=${#2}; shift 2
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        _img2gps img2gps "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    """
    command = [str(BASH), "-c", code, "bash", str(script), line, *broken]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.skipif(BASH is None, reason="no bash")
@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("img2gps tr", {"train"}),
        ("img2gps studies re", {"retry"}),
        ("img2gps report --r", {"--runs"}),
        ("img2gps train mod", {"model=resnet18", "model.name="}),
        ("img2gps train -m model=resnet1", {"resnet18", "resnet101"}),
        ("img2gps train model=resnet18 split=pl", {"place", "place_kfold"}),
        ("img2gps train sweeps=table1_q", {"table1_quick"}),
    ],
)
def test_bash_completes_a_line(script: Path, line: str, some: set[str]) -> None:
    found = completed(script, line)
    assert some <= found
    start = re.split(r"[ =]", line)[-1]
    assert all(word.startswith(start) for word in found)


def test_every_knob_and_every_choice_of_a_group_can_be_completed() -> None:
    offered = set(words())
    assert {"lr=", "split.n_val=", "optimizer=sgd", "logger=csv"} <= offered
    groups = {word.partition("=")[0] for word in offered if not word.endswith("=")}
    assert {f"{key}=" for key in known_keys() if key not in groups} <= offered


def test_a_script_for_zsh_offers_the_same_words() -> None:
    command = [sys.executable, "-m", "img2gps", "completion", "zsh"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("#compdef img2gps")
    assert " model=resnet18 " in done.stdout
