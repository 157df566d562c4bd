"""What the documents say can be typed can be typed, and what they link to is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from img2gps.cli.main import parser
from img2gps.config.compose import load_config, register_sweeps
from img2gps.core.paths import package_folder
from img2gps.report.fill import BLOCK, fill
from tests.conftest import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
CODE = re.compile(r"```(?:sh|bash)?\n(.*?)```|`([^`\n]+)`", re.DOTALL)


def commands(start: str) -> list[tuple[str, str]]:
    """(page, command) of all lines of code in the documents that begin so."""
    found = []
    for page in PAGES:
        for block, inline in CODE.findall(page.read_text(encoding="utf-8")):
            for line in (block.replace("\\\n", " ") or inline).splitlines():
                text = re.sub(r"\s+#.*", "", line.strip())
                if text.startswith(start):
                    found.append((page.name, text))
    return sorted(set(found))


def test_links_lead_to_files() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize(("page", "command"), commands("python -m img2gps.train"))
def test_training_commands_compose(page: str, command: str, tmp_path: Path) -> None:
    arguments = shlex.split(command)[3:]
    flags = {"-m", "--multirun", "--cfg", "job", "--config-dir", "my_conf"}
    overrides = [a.replace("DIR", str(tmp_path)) for a in arguments if a not in flags]
    if "my_conf" in arguments:
        pytest.skip("test_adopt.py runs it")
    if "data.root=photos.csv" in overrides or "data.root=FOLDER" in overrides:
        pytest.skip("names a file of the reader's")
    register_sweeps()
    folder = str(package_folder("conf"))
    # A sweep's values "a,b" are for the sweeper; the first of them makes a single run.
    single = [o if o.startswith(("+", "hydra.")) else o.split(",")[0] for o in overrides]
    single += _fixed_by_the_study(overrides)
    with initialize_config_dir(folder, version_base="1.3"):
        cfg = compose("train", overrides=[o for o in single if "..." not in o])
    load_config(cfg)


def _fixed_by_the_study(overrides: list[str]) -> list[str]:
    """The knobs to which a named study gives one value, as `-m` adds them."""
    given = dict(override.split("=", 1) for override in overrides)
    path = package_folder("sweeps") / f"{given.get('sweeps')}.yaml"
    if not path.is_file():
        return []
    params = yaml.safe_load(path.read_text())["hydra"]["sweeper"].get("params", {})
    return [
        f"{knob}={value}"
        for knob, value in params.items()
        if knob not in given and isinstance(value, str) and "," not in value
    ]


@pytest.mark.parametrize(("page", "command"), commands("img2gps "))
def test_subcommands_and_their_options_exist(page: str, command: str) -> None:
    words = [word.strip("[]") for word in shlex.split(command)[1:]]
    if words[0] == "NAME":
        pytest.skip("stands for any command")
    parser().parse_args(words if len(words) > 1 else [*words, *_filler(words[0])])


def _filler(name: str) -> list[str]:
    """Arguments that a bare mention of a command in prose leaves out."""
    return {
        "predict": ["a.jpg", "--run", "b"],
        "select": ["s"],
        "needs": ["s"],
        "publish": ["s"],
        "contrast": ["s", "--this", "lr=1", "--that", "lr=2"],
        "ingest": ["d"],
        "completion": ["bash"],
        "diff": ["a", "b"],
        "frames": ["v.mp4", "--track", "ride.gpx"],
        "final": ["s"],
        "evaluate": ["d"],
        "export": ["--run", "s", "--to", "d", "--format", "onnx"],
    }.get(name, [])


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/study.md",
        "docs/use-the-winner.md",
        "docs/accuracy.md",
        "docs/statistics.md",
    ],
)
def test_figures_in_documents_are_those_of_the_published_runs(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert len(BLOCK.findall(text)) >= 1
    assert fill(text, [ROOT / "results"]) == text, f"img2gps report --runs results --fill {page}"


@pytest.mark.parametrize(("page", "command"), commands("make "))
def test_make_targets_exist(page: str, command: str) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert shlex.split(command)[1] in targets
