"""A bar is shown to a person who waits, and to nobody else."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from img2gps.core import progress


def shown(monkeypatch: pytest.MonkeyPatch, seconds_an_item: float, *, terminal: bool) -> str:
    """What is written while three items are taken, by a clock that no test waits for."""
    written, clock = io.StringIO(), [0.0]

    def console(**_: Any) -> Console:
        return Console(file=written, force_terminal=terminal, width=80)

    monkeypatch.setattr(progress, "Console", console)
    monkeypatch.setattr("img2gps.core.progress.time.monotonic", lambda: clock[0])
    found = []
    for item in progress.watched("abc", 3, "letters"):
        clock[0] += seconds_an_item
        found.append(item)
    assert found == ["a", "b", "c"]
    return written.getvalue()


def test_a_step_that_takes_long_is_shown_in_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "letters" in shown(monkeypatch, 2.0, terminal=True)
    assert shown(monkeypatch, 0.1, terminal=True) == ""
    assert shown(monkeypatch, 2.0, terminal=False) == ""


def test_a_bar_that_is_left_early_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    monkeypatch.setattr(progress, "PATIENCE_S", -1.0)
    items = progress.watched([1, 2, 3], 3, "numbers")
    assert (next(items), next(items)) == (1, 2)
    items.close()  # type: ignore[attr-defined]  # it is a generator
    with console.status("another display, of which there may be one at a time"):
        pass
