"""The W&B workspace of a study, as code, so that everyone gets the same charts at any time."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from img2gps.core.errors import BadInput
from img2gps.runs.records import MEAN_PREDICTOR
from img2gps.tracking import session

if TYPE_CHECKING:
    import wandb_workspaces.workspaces as ws

RMSE = "val/rmse_m"
LOSS = "train/mse"
KNOBS = ("lr", "batch_size", "depth", "seed")
PINNED = (
    *(f"summary:{RMSE}", "summary:best/val_rmse_m", f"summary:{MEAN_PREDICTOR}", "summary:skill"),
    *(f"config:{knob}" for knob in (*KNOBS, "split")),
)
_ADVICE = (
    "A line at or above the mean predictor's has learned nothing. Read RMSE with its interval: "
    "`make report`."
)


def build(entity: str, project: str, study: str | None = None) -> ws.Workspace:
    """Return the workspace without saving it.

    Args:
        entity: user or team that owns the project.
        project: W&B project.
        study: show the runs of this study only.

    Raises:
        BadInput: wandb-workspaces is not installed.
    """
    session.quiet()
    try:
        import wandb_workspaces.expr as ex
        import wandb_workspaces.workspaces as ws
    except ImportError as error:
        raise BadInput(
            "img2gps dashboard: wandb-workspaces is not installed; "
            "run `pip install 'img2gps[dashboard]'`"
        ) from error
    titles = {
        "Mean over the seeds, one line for each cell": _cells(),
        "By learning rate": _by("lr", "learning rate"),
        "By depth": _by("depth", "depth"),
        "The grid": _grid(),
        "Photo by photo": _photos(),
    }
    return ws.Workspace(
        entity=entity,
        project=project,
        name="img2gps" if study is None else f"img2gps: {study}",
        sections=[ws.Section(name=name, panels=p, is_open=True) for name, p in titles.items()],
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=[] if study is None else [ex.Metric("Group") == study],
            order=[ex.Ordering(ex.Summary(RMSE), ascending=True)],
            pinned_columns=list(PINNED),
        ),
    )


def _cells() -> list[Any]:
    import wandb_workspaces.reports.v2.interface as wr

    rmse = [f"seed_{which}/{RMSE}" for which in ("mean", "min", "max")]
    return [
        _line("Validation RMSE (m) and mean predictor", [rmse[0], f"seed_mean/{MEAN_PREDICTOR}"]),
        _line("Validation RMSE (m): mean, lowest and highest seed", rmse),
        _line("Training loss", [f"seed_mean/{LOSS}"]),
        wr.WeavePanelSummaryTable(table_name="table1"),
    ]


def _by(knob: str, said: str) -> list[Any]:
    return [
        _line(f"Validation RMSE (m) and mean predictor by {said}", [RMSE, MEAN_PREDICTOR], knob),
        _line(f"Training loss by {said}", [LOSS], knob),
    ]


def _line(title: str, metrics: list[str], knob: str | None = None) -> Any:
    """Return curves over the epochs. Grouped by a knob, the range of the runs is shaded."""
    import wandb_workspaces.reports.v2.interface as wr

    grouped: dict[str, Any] = {}
    if knob is not None:
        grouped = {
            "groupby": wr.Config(knob),
            "groupby_aggfunc": "mean",
            "groupby_rangefunc": "minmax",
        }
    return wr.LinePlot(
        title=title, x="epoch", y=[*metrics], title_x="epoch", smoothing_type="none", **grouped
    )


def _grid() -> list[Any]:
    import wandb_workspaces.reports.v2.interface as wr

    def axis(metric: Any, said: str, log: bool = False) -> Any:
        return wr.ParallelCoordinatesPlotColumn(metric, display_name=said, log=log)

    return [
        wr.ScatterPlot(
            title="Validation RMSE (m) by learning rate; colour: batch size",
            x=wr.Config("lr"),
            y=wr.SummaryMetric(RMSE),
            z=wr.Config("batch_size"),
            log_x=True,
        ),
        wr.ParallelCoordinatesPlot(
            title="Every run",
            columns=[
                axis(wr.Config("depth"), "depth"),
                axis(wr.Config("lr"), "learning rate", log=True),
                axis(wr.Config("batch_size"), "batch size", log=True),
                axis(wr.Config("seed"), "seed"),
                axis(wr.SummaryMetric(MEAN_PREDICTOR), "mean predictor (m)"),
                axis(wr.SummaryMetric(RMSE), "validation RMSE (m)"),
            ],
        ),
        wr.BarPlot(
            title="Validation RMSE (m) beside the mean predictor",
            metrics=[RMSE, MEAN_PREDICTOR],
            max_runs_to_show=40,
        ),
        wr.MarkdownPanel(markdown=_ADVICE),
        wr.RunComparer(diff_only="split"),
    ]


def _photos() -> list[Any]:
    import wandb_workspaces.reports.v2.interface as wr

    return [
        wr.MediaBrowser(title="True and predicted positions", media_keys=["scatter"]),
        wr.WeavePanelSummaryTable(table_name="errors"),
    ]


def spec(workspace: ws.Workspace) -> dict[str, Any]:
    """Return what W&B stores of the workspace."""
    dumped = workspace._to_model().spec.model_dump_json(by_alias=True, exclude_none=True)
    found: dict[str, Any] = json.loads(dumped)
    return found


def save(workspace: ws.Workspace) -> str:
    """Save the workspace in place of the one that an earlier call made, and return its address.

    The library can only make a new workspace at each call, so its private names are set here.
    """
    from wandb_workspaces.workspaces import internal

    title = f"{workspace.entity}/{workspace.project}/{workspace.name}"
    name = f"nw-{hashlib.sha256(title.encode()).hexdigest()[:11]}-v"
    workspace._internal_name = name
    with suppress(ValueError):  # there is none yet, or one of an older form
        found = internal.View.from_name(workspace.entity, workspace.project, name)
        workspace._internal_id = found.id
    workspace.save()  # type: ignore[no-untyped-call]  # the library has no hints
    return str(workspace.url)
