"""Building blocks of the tests of studies."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from img2gps.study.space import Axis, Space
from img2gps.study.spec import Limits, Spec
from img2gps.study.storage import default_url

FAKE = "tests.helpers.fake_runner:FakeRunner"
QUICK = Limits(heartbeat_s=0.3, grace_s=2.0)
PATIENCE_S = 240.0  # a busy machine is no failure


def fake_spec(root: Path, axes: dict[str, list[Any]], name: str = "s", **changes: Any) -> Spec:
    """Return a study over these axes, for fake runs; `fixed` are overrides that all of them share.

    Its test module uses the fixture `fake_runs`.
    """
    fixed = tuple(changes.pop("fixed", ()))
    space = changes.pop("space", Space(tuple(Axis(k, tuple(v)) for k, v in axes.items())))
    settings: dict[str, Any] = {
        "kind": "grid",
        "limits": QUICK,
        "max_epochs": 3,
        "select": {"by": "val/rmse_m", "aggregate": "mean"},
        **changes,
    }
    overrides = (*fixed, f"study={name}")
    return Spec(name=name, root=str(root), space=space, overrides=overrides, **settings)


def url_of(spec: Spec) -> str:
    """The study's journal file."""
    return default_url(spec.root, spec.name)


def cells_of(spec: Spec) -> list[dict[str, Any]]:
    """What study.json says of each run."""
    found: list[dict[str, Any]] = read_record(spec)["cells"]
    return found


def read_record(spec: Spec) -> dict[str, Any]:
    """The study's study.json."""
    path = Path(spec.root) / spec.name / "study.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def executions(spec: Spec) -> list[str]:
    """Run ids of all runs that were carried to their end, in that order."""
    path = Path(spec.root) / "executions.txt"
    return path.read_text().split() if path.exists() else []


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until the condition holds; fail if it never does."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            pytest.fail("it never happened")
        time.sleep(0.05)
