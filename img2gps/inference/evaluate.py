"""Scoring a finished run on photos that training and selection never saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from img2gps.config.schema import Config, DataKind, SplitKind
from img2gps.core import geo
from img2gps.core.errors import BadInput
from img2gps.core.files import read_json
from img2gps.inference.predict import BATCH, Predictor
from img2gps.photos.dataset import Dataset
from img2gps.photos.split import Split, known_spot
from img2gps.runs import plan
from img2gps.runs.folder import PREDICTIONS_TEST, RESULT
from img2gps.runs.plan import open_dataset, open_split
from img2gps.runs.predictions import PredictionTable
from img2gps.training.metrics import summarise

SAME_SPOT_M = 10.0  # between true positions of one standing point of the quad
HIDDEN_PARTS = ("test_known", "test_new")  # of the built-in quad: known spots, new spots


@dataclass(frozen=True)
class TestPart:
    """Photos to score, as rows of a manifest that also holds the training photos."""

    dataset: Dataset  # its manifest; the pixels of the test rows are in `pixels`
    split: Split
    pixels: Sequence[NDArray[np.uint8]]
    known: NDArray[np.bool_]  # of each test row: whether training photos show its spot


def evaluate_test(
    folder: Path, hidden: int = 0, looking: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Score a run on its test part, or on `hidden` photos of the built-in quad made for it.

    Half of the hidden photos are of the training spots in new sessions, half of new spots. Writes
    predictions_test.csv. Returns the summary in metres as `test/rmse_m` and so on, the RMSE on
    known and on new spots, against the quad's truth where it is known, and the mean predictor's.
    `looking` is called once the photos are at hand, before the first is predicted.

    Raises:
        BadInput: the run has no test part, or hidden photos are asked of other data.
    """
    predictor = Predictor.load(folder)
    part = _part(predictor.config, folder, hidden)
    looking()
    answers = np.concatenate(
        [
            predictor.positions(pixels[start : start + BATCH])
            for pixels in part.pixels
            for start in range(0, len(pixels), BATCH)
        ]
    )
    rows, lat, lon = part.split.test, answers[:, 0], answers[:, 1]
    table = PredictionTable(part.dataset, part.split, "test", part.known)
    table.write(folder / PREDICTIONS_TEST, rows, lat, lon)
    errors = table.errors_m(rows, lat, lon)
    figures: dict[str, Any] = {f"test/{key}": value for key, value in summarise(errors).items()}
    for name, chosen in (("known_spots", part.known), ("new_spots", ~part.known)):
        if chosen.any():
            figures[f"test/{name}_rmse_m"] = float(np.sqrt(np.mean(errors[chosen] ** 2)))
    truth = part.dataset.manifest[["true_lat_deg", "true_lon_deg"]].to_numpy(np.float64)[rows]
    if not np.isnan(truth).any():
        figures["truth/rmse_m"] = geo.rmse_m(truth[:, 0], truth[:, 1], lat, lon)
    figures["mean_predictor/rmse_m"] = table.mean_predictor_rmse_m()
    figures["n_test"] = len(rows)
    return figures


def _part(config: Config, folder: Path, hidden: int) -> TestPart:
    if config.data.kind is DataKind.custom:
        raise BadInput(
            f"{folder}: its photos come from a source of your own ({config.data.name}), which is "
            "never imported from a saved run; predict its test photos with img2gps predict"
        )
    dataset = open_dataset(config)
    split = open_split(config, dataset)
    identity = (read_json(folder / RESULT) or {}).get("identity") or {}
    trained_on = {key: identity.get(key) for key in ("data", "split")}
    now = {"data": dataset.fingerprint, "split": plan.split_identity(dataset, split)}
    if identity and trained_on != now:
        raise BadInput(
            f"{folder}: its photos or their division have changed since it was trained, so that "
            "test photos may be among those it has learned; put them back, or repeat the study"
        )
    if not hidden:
        if len(split.test) == 0:
            raise BadInput(f"{folder}: its split has no test part; set split.n_test")
        known = known_spot(dataset.manifest, split, "test")
        return TestPart(dataset, split, [dataset.pixels()[split.test]], known)
    if config.data.kind is not DataKind.quad:
        raise BadInput(
            f"{folder}: only the built-in quad has hidden photos, not {dataset.name}; "
            "set split.n_test"
        )
    parts = [_hidden(config, part, hidden // len(HIDDEN_PARTS)) for part in HIDDEN_PARTS]
    manifest = pd.concat([dataset.manifest, *(p.manifest for p in parts)], ignore_index=True)
    rows = np.arange(len(dataset), len(manifest))
    return TestPart(
        replace(dataset, manifest=manifest),
        replace(split, test=rows),
        [p.pixels() for p in parts],
        np.concatenate(
            [_seen(config, dataset, split, parts[0]), np.zeros(len(parts[1]), np.bool_)]
        ),
    )


def _seen(config: Config, dataset: Dataset, split: Split, known: Dataset) -> NDArray[np.bool_]:
    """Which photos of the main part's spots are of spots that the training part has, too.

    All of them, and not by the noisy labels, but where a split holds out ground or photos.
    """
    whole = config.split.kind not in (SplitKind.place, SplitKind.place_kfold)
    if whole and config.split.n_train is None:
        return np.ones(len(known), np.bool_)
    columns = ["true_lat_deg", "true_lon_deg"]
    trained = dataset.manifest[columns].to_numpy(np.float64)[split.train]
    asked = known.manifest[columns].to_numpy(np.float64)
    away = geo.distance_m(asked[:, :1], asked[:, 1:], trained[:, 0], trained[:, 1])
    return np.asarray(away.min(axis=1) <= SAME_SPOT_M)


def _hidden(config: Config, part: str, n: int) -> Dataset:
    made = open_dataset(replace(config, data=replace(config.data, part=part, n=n)))
    names = part + "/" + made.manifest["photo"]  # the parts number their photos alike
    return replace(made, manifest=made.manifest.assign(photo=names))
