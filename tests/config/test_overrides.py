"""The command that trains a saved configuration again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from img2gps.config.compose import config_to_dict, read_config
from img2gps.config.overrides import overrides, training_command
from img2gps.core.nested import flat
from tests.conftest import ROOT
from tests.helpers.tiny import config

CHOICE = re.compile(r"^(?:  (?:name|kind|train)|head): .*$", re.MULTILINE)
NOT_THE_RUN = ("runs.", "logger.", "trainer.progress_bar", "force", "threads", "data.cache")


def _one_of_each_kind() -> list[Path]:
    """Return one published configuration for each set of choices that the results have."""
    found: dict[tuple[str, ...], Path] = {}
    for path in sorted(ROOT.glob("results/*/*/config.yaml")):
        found.setdefault(tuple(CHOICE.findall(path.read_text(encoding="utf-8"))), path)
    return list(found.values())


def test_defaults_need_no_overrides() -> None:
    assert overrides(config()) == []


def test_groups_come_before_their_keys() -> None:
    given = ["data=quad_tiny", "model=resnet50", "lr=0.003", "split=place", "split.n_val=9"]
    command = training_command(config(*given))
    assert command.startswith("python -m img2gps.train ")
    assert command.index("model=resnet50") < command.index("lr=0.003")
    assert "split=place" in command
    assert "split.n_val=9" in command


def test_choices_that_need_keys_of_their_own_are_named_with_them() -> None:
    given = ["loss=nll", "head=mixture"]
    assert overrides(config(*given)) == given


@pytest.mark.parametrize("path", _one_of_each_kind(), ids=lambda path: path.parent.name)
def test_command_gives_a_published_configuration_again(path: Path) -> None:
    saved = read_config(path)
    if saved.data.root is None and saved.data.kind != "quad":
        saved.data.root = "DIR"
    again = flat(config_to_dict(config(*overrides(saved))))
    for key, value in flat(config_to_dict(saved)).items():
        assert again[key] == value or key.startswith(NOT_THE_RUN), key
