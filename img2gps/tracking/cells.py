"""What W&B shows of a study beside its runs: the mean curve of each finished cell, and a table.

W&B averages a group only while somebody looks at it. Here the mean of a cell over its seeds is a
W&B run of its own (job type "cell-mean"), which charts, filters and exports treat like any other.
Its metrics have names of their own (`seed_mean/val/rmse_m`), so that no chart counts a run twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from img2gps.analysis import collect
from img2gps.analysis.overview import analyse
from img2gps.analysis.study import Study
from img2gps.analysis.winner import FOLD_AXIS
from img2gps.config.schema import LoggerConfig
from img2gps.core.files import read_json, write_json
from img2gps.core.progress import watched
from img2gps.runs.folder import UPLOADS
from img2gps.runs.names import run_id
from img2gps.runs.records import MEAN_PREDICTOR
from img2gps.runs.states import RunState
from img2gps.tracking import content, session

CELL_MEAN = "cell-mean"  # job types
TABLE = "study"
MEAN, LOWEST, HIGHEST = "seed_mean", "seed_min", "seed_max"
SPREAD = ("train/mse", "val/rmse_m")  # the lowest and highest seed of these are sent too
NOT_METRICS = ("epoch", "run", "run_id", "cell", "seed")  # columns of a study's history


@dataclass(frozen=True)
class Extra:
    """One W&B run that is drawn from several run folders, or else from the whole study."""

    about: content.Description
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    table_of: Study | None = None


def extras(study: Study) -> Iterator[Extra]:
    """Yield the mean of every cell whose seeds have all ended, and the table once all have."""
    ended = study.runs["state"].map(lambda state: RunState(state).has_ended)
    finished = study.deciding(study.finished)
    for cell in dict.fromkeys(study.runs["rank_cell"]):
        planned = study.runs["rank_cell"] == cell
        done = finished[finished["rank_cell"] == cell]
        if ended[planned].all() and len(done):
            yield _cell_mean(study, cell, done)
    if ended.all() and len(study.finished):
        identifier = run_id({"study": study.name, "table": sorted(study.finished["run_id"])})
        name = f"{study.name}: Table 1"
        about = content.Description(identifier, study.name, name, {}, {}, TABLE)
        yield Extra(about, table_of=study)


def _cell_mean(study: Study, cell: str, done: pd.DataFrame) -> Extra:
    """Return the mean over the finished runs of one cell."""
    what = "runs" if FOLD_AXIS in study.axes else "seeds"
    many = f"mean of {len(done)} {what}" if len(done) > 1 else "one seed"
    about = content.Description(
        run_id({"study": study.name, "runs": sorted(done["run_id"])}),
        study.name,
        f"{cell} ({many})",
        {},
        _knobs(study, done),
        CELL_MEAN,
    )
    mean_predictor = float(done[MEAN_PREDICTOR].mean())
    history = study.history[study.history["run"].isin(done.index)]
    rows = mean_curve(history.assign(**{MEAN_PREDICTOR: mean_predictor}), len(done))
    summary = {
        f"{MEAN}/val/rmse_m": float(done["val/rmse_m"].mean()),
        "seed_std/val/rmse_m": float(done["val/rmse_m"].std(ddof=1)),
        f"{MEAN}/{MEAN_PREDICTOR}": mean_predictor,
        "state": str(RunState.finished),
    }
    return Extra(about, content.rows(rows, None), content.sound(summary))


def _knobs(study: Study, done: pd.DataFrame) -> dict[str, Any]:
    """Return a cell's values on the axes, with its depth and number of seeds."""
    axes = [axis for axis in study.axes if axis in done and axis != FOLD_AXIS]
    depth = done["depth"].iloc[0] if "depth" in done else None
    found = {**{axis: done[axis].iloc[0] for axis in axes}, "depth": depth}
    return {key: _plain(value) for key, value in found.items()} | {"seeds": done["seed"].nunique()}


def mean_curve(history: pd.DataFrame, n_runs: int) -> list[dict[str, float]]:
    """Return the mean over runs of every metric at each epoch, with the extremes of some.

    Epochs that not all runs reached are left out, because the mean would jump as runs drop out.
    """
    metrics = [column for column in history if column not in NOT_METRICS]
    by_epoch = history.groupby("epoch", sort=True)[metrics]
    curve, lowest, highest = by_epoch.mean().add_prefix(f"{MEAN}/"), by_epoch.min(), by_epoch.max()
    for metric in SPREAD:
        if metric in metrics:
            curve[f"{LOWEST}/{metric}"] = lowest[metric]
            curve[f"{HIGHEST}/{metric}"] = highest[metric]
    whole = curve[by_epoch.size() == n_runs].reset_index()
    return [
        {str(key): float(value) for key, value in row.items()} for row in whole.to_dict("records")
    ]


def table(study: Study) -> pd.DataFrame:
    """Return one row for each ranked cell: its knobs, its RMSE with interval, its mark.

    Cells that cannot be compared (other validation photos, another kind of start) differ in
    `group`, and each group has its winner. The figures are those of the report.
    """
    rows = []
    for ranking in analyse(study).rankings:
        mean = ranking.mean_predictor.estimate
        for cell in ranking.cells:
            interval = cell.interval
            rows.append(
                {
                    **cell.params,
                    "seeds": interval.n_seeds,
                    "val/rmse_m": interval.estimate,
                    "low_m": interval.low,
                    "high_m": interval.high,
                    MEAN_PREDICTOR: mean,
                    "skill": 1 - (interval.estimate / mean) ** 2,
                    "winner": cell.cell == ranking.winner.cell,
                    "photos": interval.n_photos,
                    "spots": interval.n_spots,
                    "group": ranking.group.label,
                }
            )
    return pd.DataFrame(rows)


def publish(
    folder: Path, logger: LoggerConfig, roots: Sequence[Path], *, dry_run: bool = False
) -> list[tuple[str, int]]:
    """Send what W&B lacks, and return the name and number of epochs of each run sent.

    Raises:
        BadInput: the folder holds no study.
        Exception: whatever the SDK raises. What was sent is not sent again.
    """
    study = collect.load_study(folder, roots)
    target = f"{session.server()}/{logger.entity}/{logger.project}"
    receipt = read_json(folder / UPLOADS) or {}
    there = set(receipt.get(target, []))
    missing = [extra for extra in extras(study) if extra.about.run_id not in there]
    sent = []
    for extra in watched(missing, len(missing), f"W&B: means of {study.name}"):
        sent.append((extra.about.name, len(extra.rows)))
        if not dry_run:
            _send(extra, logger, folder)
            there.add(extra.about.run_id)
            write_json(folder / UPLOADS, {**receipt, target: sorted(there)})
    return sent


def _send(extra: Extra, logger: LoggerConfig, folder: Path) -> None:
    import wandb

    run = session.start(extra.about, logger, folder, online=True)
    with session.finishing(run):
        session.log_rows(run, extra.rows)
        if extra.table_of is not None:
            shown = wandb.Table(dataframe=table(extra.table_of).astype(object))
            run.log({"table1": shown}, step=1)
        run.summary.update(extra.summary)


def _plain(value: Any) -> Any:
    item = value.item() if hasattr(value, "item") else value
    return None if isinstance(item, float) and math.isnan(item) else item
