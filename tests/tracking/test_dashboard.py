"""The W&B workspace: its JSON, without any server, and how it is saved."""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from img2gps.analysis import collect
from img2gps.cli.main import main
from img2gps.core.errors import BadInput
from img2gps.tracking import cells, content, workspace
from tests.helpers import fake_study
from tests.helpers.wandb_cases import (
    SMALL,
    make_runs,
)
from tests.helpers.wandb_server import ENTITY, Server

pytest.importorskip("wandb_workspaces")


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    return workspace.spec(workspace.build("team", "quad", "table1"))


def panels(spec: dict[str, Any], kind: str | None = None) -> list[dict[str, Any]]:
    sections = spec["section"]["panelBankConfig"]["sections"]
    found = [panel for section in sections for panel in section["panels"]]
    return [panel for panel in found if kind is None or panel["viewType"] == kind]


def strings(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for value in node.values():
            yield from strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)
    elif isinstance(node, str):
        yield node


@pytest.mark.parametrize("knob", ["lr", "depth"])
def test_curves_are_grouped_with_their_spread(spec: dict[str, Any], knob: str) -> None:
    lines = [panel["config"] for panel in panels(spec, "Run History Line Plot")]
    grouped = [line for line in lines if line.get("groupBy") == f"{knob}.value"]
    assert [line["metrics"] for line in grouped] == [
        ["val/rmse_m", "mean_predictor/rmse_m"],
        ["train/mse"],
    ]
    for line in grouped:
        assert (line["groupAgg"], line["groupArea"]) == ("mean", "minmax")
        assert line["aggregate"] is True
        assert line["xAxis"] == "epoch"


def test_every_rmse_chart_over_epochs_has_the_mean_predictor(spec: dict[str, Any]) -> None:
    titled = [
        panel["config"]["metrics"]
        for panel in panels(spec, "Run History Line Plot")
        if "mean predictor" in panel["config"]["chartTitle"]
    ]
    assert len(titled) == 3
    assert all(any("mean_predictor/rmse_m" in name for name in metrics) for metrics in titled)


def test_everything_that_compares_runs_is_there(spec: dict[str, Any]) -> None:
    kinds = {panel["viewType"] for panel in panels(spec)}
    assert {
        "Scatter Plot",
        "Parallel Coordinates Plot",
        "Run Comparer",
        "Media Browser",
        "Run History Line Plot",
    } <= kinds
    assert {"errors", "table1"} <= {text for p in panels(spec, "Weave") for text in strings(p)}


def test_every_metric_shown_is_one_that_runs_have(spec: dict[str, Any], tmp_path: Path) -> None:
    run = make_runs(tmp_path, fake_study.Options(axes=SMALL, seeds=(0, 1), epochs=2))[0]
    mean = next(cells.extras(collect.load_study(tmp_path / "table1", [tmp_path])))
    rows = content.rows(run.history, 90.0)
    known = {*rows[0], *mean.rows[0], *content.summary(run.result, run.history)}
    shown = {
        name
        for panel in panels(spec)
        for name in panel["config"].get("metrics") or []
        if isinstance(name, str)
    }
    assert shown <= known
    knobs = {f"config:{key}" for key in run.about.flat_config()}
    pinned = set(spec["section"]["runSets"][0]["runFeed"]["columnPinned"])
    assert pinned <= {"run:displayName", *knobs, *(f"summary:{name}" for name in known)}
    (parallel,) = panels(spec, "Parallel Coordinates Plot")
    axes = {column["accessor"].removesuffix(".value") for column in parallel["config"]["columns"]}
    assert axes <= {*knobs, *(f"summary:{name}" for name in known)}


def test_a_study_is_a_filter(spec: dict[str, Any]) -> None:
    assert "table1" in set(strings(spec["section"]["runSets"][0]["filters"]))
    everything = workspace.spec(workspace.build("team", "quad"))
    assert "table1" not in set(strings(everything["section"]["runSets"][0]["filters"]))


def test_the_spec_reads_back_as_the_same_workspace() -> None:
    import wandb_workspaces.workspaces as ws

    made = workspace.build("team", "quad", "table1")
    again = ws.Workspace._from_model(made._to_model())
    assert [s.name for s in again.sections] == [s.name for s in made.sections]
    assert [[type(p) for p in s.panels] for s in again.sections] == [
        [type(p) for p in s.panels] for s in made.sections
    ]


def test_json_needs_neither_key_nor_server(
    offline: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["dashboard", "--project", "quad", "--json"])
    assert end.value.code == 0
    assert len(panels(json.loads(capsys.readouterr().out))) > 10


def test_saving_twice_makes_one_workspace(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = []
    for _ in range(2):
        with pytest.raises(SystemExit) as end:
            main(["dashboard", "--project", "quad", "--study", "table1"])
        assert end.value.code == 0
        printed.append(capsys.readouterr().out)
    (view,) = server.views
    assert view["entityName"] == ENTITY
    assert view["displayName"] == "img2gps: table1"
    assert len(panels(json.loads(view["spec"]))) > 10
    assert printed[0] == printed[1]
    assert "/quad/quad?nw=" in printed[0]


def test_without_a_key_it_says_what_to_do(
    offline: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["dashboard"])
    assert end.value.code == 2
    assert "no API key; run `wandb login`, or set WANDB_API_KEY" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("wandb_workspaces"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(BadInput, match=r"pip install 'img2gps\[dashboard\]'"):
        workspace.build("team", "quad")
