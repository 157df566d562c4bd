"""What a study has beyond its runs: the averaged curve of each finished cell, and its Table 1.

W&B averages a group on its own only while looking at it; here each cell's mean over its seeds is a
run of its own (job type "cell-mean"), which charts, filters and exports treat like any other. Its
metrics have names of their own (`seed_mean/val/rmse_m`), so that no chart of the runs counts twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from img2gps.analysis import collect, stats
from img2gps.analysis.ranking import FOLD_AXIS
from img2gps.analysis.study import Study
from img2gps.config.schema import LoggerConfig
from img2gps.core.files import read_json, write_json
from img2gps.runs.folder import run_id
from img2gps.tracking import mirror, session

CELL_MEAN = "cell-mean"
TABLE = "study"
RECEIPT = "wandb.json"  # in the study's folder
FINAL = ("finished", "diverged", "pruned", "failed")
MEAN, LOWEST, HIGHEST = "seed_mean", "seed_min", "seed_max"
SPREAD = ("train/mse", "val/rmse_m")  # metrics whose lowest and highest seed are logged too


@dataclass(frozen=True)
class Extra:
    """One W&B run that is drawn from several run folders."""

    about: mirror.Description
    name: str
    job_type: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    table: pd.DataFrame | None = None


def extras(study: Study) -> Iterator[Extra]:
    """The mean of every cell whose seeds are all over, and the table once all cells are."""
    over = study.runs["state"].isin(FINAL)
    for cell in dict.fromkeys(study.runs["rank_cell"]):
        planned = study.runs["rank_cell"] == cell
        done = study.runs[planned & (study.runs["state"] == "finished")]
        if over[planned].all() and len(done):
            yield _cell_mean(study, cell, done)
    if over.all() and len(study.finished):
        about = _about(study, {"table": sorted(study.finished["run_id"])}, {})
        yield Extra(about, f"{study.name}: Table 1", TABLE, table=table(study))


def _about(study: Study, identity: dict[str, Any], figures: dict[str, Any]) -> mirror.Description:
    identifier = run_id({"study": study.name, **identity})
    return mirror.Description(identifier, study.name, {}, figures)


def _cell_mean(study: Study, cell: str, done: pd.DataFrame) -> Extra:
    depth = done["depth"].iloc[0] if "depth" in done else None
    figures = {**_knobs(study, done), "depth": depth, "seeds": done["seed"].nunique()}
    figures = {key: _plain(value) for key, value in figures.items()}
    about = _about(study, {"runs": sorted(done["run_id"])}, figures)
    history = study.history[study.history["run_id"].isin(done["run_id"])]
    mean_predictor = float(done[mirror.MEAN_PREDICTOR].mean())
    history = history.assign(**{mirror.MEAN_PREDICTOR: mean_predictor})
    rows = mirror.rows(mean_curve(history, len(done)), None)
    final = done["val/rmse_m"]
    summary = {
        f"{MEAN}/val/rmse_m": float(final.mean()),
        "seed_std/val/rmse_m": float(final.std(ddof=1)),
        f"{MEAN}/{mirror.MEAN_PREDICTOR}": mean_predictor,
        "state": "finished",
    }
    what = "runs" if FOLD_AXIS in study.axes else "seeds"
    many = f"mean of {len(done)} {what}" if len(done) > 1 else "one seed"
    return Extra(about, f"{cell} ({many})", CELL_MEAN, rows, _sound(summary))


def _knobs(study: Study, rows: pd.DataFrame) -> dict[str, Any]:
    """A cell's values on the axes; its folds are one cell."""
    return {axis: rows[axis].iloc[0] for axis in study.axes if axis in rows and axis != FOLD_AXIS}


def mean_curve(history: pd.DataFrame, n_runs: int) -> list[dict[str, float]]:
    """Mean over runs of every metric, epoch by epoch, with the extremes of the chief metrics.

    Epochs that not all runs reached are left out: their mean would jump as runs drop out.
    """
    numbers = history.drop(columns=["run_id", "cell", "seed"])
    by_epoch = numbers.groupby("epoch", sort=True)
    curve = by_epoch.mean().add_prefix(f"{MEAN}/")
    for metric in SPREAD:
        if metric in numbers:
            curve[f"{LOWEST}/{metric}"] = by_epoch[metric].min()
            curve[f"{HIGHEST}/{metric}"] = by_epoch[metric].max()
    whole = curve[by_epoch.size() == n_runs].reset_index()
    return [
        {str(key): float(value) for key, value in row.items()} for row in whole.to_dict("records")
    ]


def table(study: Study) -> pd.DataFrame:
    """One row a cell: its knobs, seeds, RMSE with interval, and the mean predictor beside it.

    Cells that cannot be compared (other validation photos, other kind of start) differ in `group`.
    """
    rows = []
    for group in study.groups():
        errors = study.errors(group.runs)
        for number, cell in enumerate(errors.cells):
            own = group.runs[group.runs["rank_cell"] == cell]
            interval = stats.cell_interval(errors.error_m[number], errors.spot)
            mean = float(own[mirror.MEAN_PREDICTOR].mean())
            rows.append(
                {
                    **_knobs(study, own),
                    "seeds": interval.n_seeds,
                    "val/rmse_m": interval.estimate,
                    "low_m": interval.low,
                    "high_m": interval.high,
                    mirror.MEAN_PREDICTOR: mean,
                    "skill": 1 - (interval.estimate / mean) ** 2,
                    "photos": interval.n_photos,
                    "spots": interval.n_spots,
                    "group": group.label,
                }
            )
    return pd.DataFrame(rows)


def publish(
    folder: Path, logger: LoggerConfig, roots: list[Path], *, dry_run: bool = False
) -> list[tuple[str, int]]:
    """Send what is not at W&B yet: (name, epochs) of each run sent.

    Raises:
        BadInput: the folder holds no study.
        Exception: whatever the SDK raises; what was sent is not sent again.
    """
    study = collect.load_study(folder, roots)
    target = f"{session.server()}/{logger.entity}/{logger.project}"
    receipt = read_json(folder / RECEIPT) or {}
    there = set(receipt.get(target, []))
    sent = []
    for extra in extras(study):
        if extra.about.run_id in there:
            continue
        sent.append((extra.name, len(extra.rows)))
        if dry_run:
            continue
        _send(extra, logger, folder)
        there.add(extra.about.run_id)
        write_json(folder / RECEIPT, {**receipt, target: sorted(there)})
    return sent


def _send(extra: Extra, logger: LoggerConfig, folder: Path) -> None:
    import wandb

    run = session.start(
        extra.about, logger, folder, online=True, name=extra.name, job_type=extra.job_type
    )
    try:
        session.log_rows(run, extra.rows)
        if extra.table is not None:
            shown = wandb.Table(dataframe=extra.table.astype(object))
            run.log({"table1": shown}, step=1)
        run.summary.update(extra.summary)
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish(exit_code=0)


def _plain(value: Any) -> Any:
    item = value.item() if hasattr(value, "item") else value
    return None if isinstance(item, float) and math.isnan(item) else item


def _sound(figures: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in figures.items() if not (isinstance(v, float) and math.isnan(v))}
