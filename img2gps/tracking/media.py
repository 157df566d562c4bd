"""Pictures of a finished run: the scatter with error lines, and the errors photo by photo."""

from __future__ import annotations

import io
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from img2gps.photos.thumbnails import by_content
from img2gps.runs.cached import dataset_of
from img2gps.runs.folder import PREDICTIONS
from img2gps.runs.records import RunResult

if TYPE_CHECKING:
    import wandb

COLUMNS = (
    *("photo", "lat_deg", "lon_deg", "pred_lat_deg", "pred_lon_deg", "error_m", "east_m"),
    *("north_m", "mean_error_m", "spot", "known_spot", "nearest_train_m"),
)
THUMBNAIL_PX = 96


def of_run(folder: Path, result: RunResult) -> dict[str, Any]:
    """Return `scatter` and `errors` as W&B objects; empty where the run left no predictions."""
    predictions = read_predictions(folder)
    if predictions is None:
        return {}
    import wandb
    from PIL import Image

    picture = Image.open(io.BytesIO(scatter_png(predictions, result.spread_ratio)))
    return {"scatter": wandb.Image(picture), "errors": error_table(predictions, folder)}


def read_predictions(folder: Path) -> pd.DataFrame | None:
    """Return predictions.csv, worst photo first; None where there is none."""
    try:
        table = pd.read_csv(folder / PREDICTIONS, keep_default_na=False, na_values=[""])
    except (OSError, pd.errors.EmptyDataError):
        return None
    return table.sort_values("error_m", ascending=False, kind="stable", ignore_index=True)


def scatter_png(predictions: pd.DataFrame, spread_ratio: float | None) -> bytes:
    """Return the report's map of true and predicted positions, joined by error lines."""
    from img2gps.report.figures import base, maps

    figure = replace(
        maps.positions(predictions, spread_ratio=spread_ratio),
        caption=f"{len(predictions)} validation photos after the final epoch, in metres from their "
        "mean position; a line joins truth and prediction.",
    )
    with tempfile.TemporaryDirectory() as folder:
        base.save(figure, Path(folder))
        return (Path(folder) / f"{figure.name}.png").read_bytes()


def error_table(predictions: pd.DataFrame, folder: Path) -> wandb.Table:
    """Return one row for each photo, with a thumbnail if the data set's cache is available."""
    import wandb

    contents = predictions["content"].astype(str)
    dataset = dataset_of(folder)
    pictures = {} if dataset is None else by_content(dataset, contents, THUMBNAIL_PX)
    columns = [column for column in COLUMNS if column in predictions]
    table = wandb.Table(columns=["thumbnail", *columns])
    rows = predictions[columns].astype(object).to_numpy()
    for content, values in zip(contents, rows, strict=True):
        picture = wandb.Image(pictures[content]) if content in pictures else None
        table.add_data(picture, *(None if pd.isna(value) else value for value in values))
    return table
