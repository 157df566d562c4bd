"""What the W&B tests share: the stand-in server, an SDK that starts anew, and runs to track."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from img2gps import tracking
from img2gps.config.schema import LoggerConfig, LoggerKind
from img2gps.runs.folder import CHECKPOINT, HISTORY, PREDICTIONS, History
from img2gps.runs.records import RunResult, read_result, read_study
from img2gps.runs.tracker import Tracker
from img2gps.tracking import content, session
from tests.helpers import fake_study
from tests.helpers.wandb_server import Server

LOGGER = LoggerConfig(LoggerKind.wandb, timeout_s=10)
SMALL: Mapping[str, Sequence[Any]] = {"lr": [0.001, 0.003], "batch_size": [8, 16]}


def fresh_sdk() -> None:
    """Forget what the SDK remembers for the rest of a process: server, key, settings."""
    import wandb

    wandb.teardown()
    session._unreachable_at = None


@pytest.fixture(scope="module", name="listening")
def listening_fixture() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(name="offline")
def offline_fixture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No account: neither key, nor netrc, nor settings."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_SWEEP_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "no-settings"))
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    fresh_sdk()


@pytest.fixture(name="server")
def server_fixture(
    listening: Server, offline: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    """The server, forgetful, with a key in the environment; no call may be unknown to it."""
    listening.forget()
    listening.down()
    listening.up()
    for name, value in listening.environment().items():
        monkeypatch.setenv(name, value)
    fresh_sdk()
    yield listening
    fresh_sdk()
    assert listening.unknown == []


@dataclass(frozen=True)
class Run:
    """A run folder that is done, to be told to a tracker as if it happened now."""

    folder: Path
    about: content.Description
    result: RunResult
    history: list[dict[str, float]]

    @property
    def id(self) -> str:
        return self.about.run_id

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What W&B's history has to be, read with nothing of the code under test."""
        line = {"mean_predictor/rmse_m": self.result.mean_predictor_rmse_m}
        return [{**row, "epoch": int(row["epoch"]), **line} for row in self.history]

    def open(self, logger: LoggerConfig = LOGGER) -> Tracker:
        return tracking.open_tracker(
            logger, self.folder, self.about.swept, self.result.mean_predictor_rmse_m
        )

    def play(self, tracker: Tracker, first: int, last: int) -> None:
        """Let epochs happen, as a run does it: cut what is newer, write the row, tell."""
        history = History(self.folder / HISTORY)
        history.cut_after(first - 1)
        for row in self.history[first - 1 : last]:
            history.append({**row, "epoch": int(row["epoch"])})
            tracker.epoch(int(row["epoch"]), row)

    def track(self, logger: LoggerConfig = LOGGER) -> None:
        """Open, all epochs, finish."""
        tracker = self.open(logger)
        self.play(tracker, 1, len(self.history))
        tracker.finish(self.result, 0)


def make_runs(
    root: Path,
    options: fake_study.Options | None = None,
    name: str = "table1",
    *,
    pictures: bool = False,
) -> list[Run]:
    """The runs of a small study, in its order; no predictions, no pictures to draw."""
    chosen = options or fake_study.Options(axes=SMALL, seeds=(0,), epochs=4)
    fake_study.make_study(root, name, chosen)
    study = read_study(root, name)
    found = []
    for planned in study.runs:
        folder = planned.folder(root)
        if not folder.is_dir():
            continue
        if not pictures:
            (folder / PREDICTIONS).unlink(missing_ok=True)
        (folder / CHECKPOINT).write_bytes(b"weights of " + planned.run_id.encode())
        result = read_result(folder)
        assert result is not None
        history = History(folder / HISTORY).rows()
        found.append(Run(folder, content.describe(folder, study), result, history))
    return found
