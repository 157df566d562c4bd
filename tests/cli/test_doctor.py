"""`img2gps doctor` says what there is, what is missing and what to do, without the network."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from img2gps.cli import machine
from img2gps.cli.main import main
from img2gps.config.schema import Precision
from img2gps.core.errors import BadInput
from img2gps.core.load import CpuTime
from img2gps.training.speed import Speed
from img2gps.training.timing import StepTimes

XEON = {"fp32": {"1": 1.434, "2": 0.763}, "bf16": {"1": 2.178, "2": 1.159}}


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A measured machine without a network, a W&B login or ResNet weights, in half a second."""

    def measured(*_: object) -> Speed:
        return Speed(2, Precision.fp32, "measured training steps", StepTimes(XEON, XEON))

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network here")

    def no_login() -> None:
        raise BadInput("W&B: no API key; run `wandb login`, or set WANDB_API_KEY")

    monkeypatch.setattr("img2gps.training.speed.measure_speed", measured)
    monkeypatch.setattr("img2gps.tracking.session.require_credentials", no_login)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(machine, "WATCHED_S", 0.01)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def doctor(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["doctor", *words])
    assert caught.value.code == 0
    return capsys.readouterr().out


def findings(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, dict[str, Any]]:
    return {found["name"].strip(): found for found in json.loads(doctor(capsys, "--json", *words))}


def test_what_is_missing_stands_beside_its_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    found = findings(capsys)
    assert found["resnet18"]["value"] == "missing"
    assert "download" in found["resnet18"]["remedy"]
    place = Path(found["resnet18"]["remedy"].rpartition(" ")[2])
    place.parent.mkdir(parents=True)
    place.touch()  # as the remedy says
    assert findings(capsys)["resnet18"]["value"] == "available"
    assert found["login"]["value"] == "missing"
    assert "wandb login" in found["login"]["remedy"]
    assert found["efficientnet_lite0"] == {
        "topic": "weights",
        "name": "efficientnet_lite0",
        "value": "available",
        "remedy": "",
    }
    assert {entry["topic"] for entry in found.values()} == {
        *("cores", "speed", "space", "weights", "extras", "W&B", "versions")
    }


def test_the_choice_of_auto_stands_beside_the_measured_times(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = findings(capsys)
    assert found["precision=auto takes"]["value"] == "fp32"
    assert found["fp32"]["value"] == "1.43 s on 1 core, 0.76 s on 2 cores"
    assert found["bf16"]["value"] == "2.18 s on 1 core, 1.16 s on 2 cores"


def test_the_network_is_asked_only_when_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    assert "api.wandb.ai" not in findings(capsys)
    tried = findings(capsys, "--online")["api.wandb.ai"]
    assert tried["value"] == "not reachable (no network here)"
    assert tried["remedy"]


def test_the_page_has_each_topic_once_and_indents_what_belongs_to_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = doctor(capsys).splitlines()
    topics = [line for line in lines if line and not line.startswith(" ")]
    assert topics == ["cores", "speed", "space", "weights", "extras", "W&B", "versions"]
    assert any(line.strip().startswith("-> ") for line in lines)


def test_cores_that_others_take_are_told_with_the_cost(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 2)
    monkeypatch.setattr(CpuTime, "taken_by_others", lambda _: 1.0)
    found = findings(capsys)["taken by others"]
    assert found["value"].startswith("1.0")
    assert "at least 1.5 times as long" in found["remedy"]


def test_too_little_room_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_available_memory_gb", lambda: 1.0)
    monkeypatch.setattr(machine, "STUDY_GB", 1e9)
    found = findings(capsys)
    assert "lower batch_size" in found["free memory"]["remedy"]
    assert "make room" in found["disk for runs"]["remedy"]
