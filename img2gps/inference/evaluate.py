"""Scoring a finished run on photos that neither training nor selection has seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from img2gps.config.schema import Config, DataKind, SplitKind
from img2gps.core import geo
from img2gps.core.errors import BadInput
from img2gps.inference.network import average
from img2gps.inference.predict import BATCH, Predictor
from img2gps.photos.dataset import Dataset
from img2gps.photos.split import Split, known_spot
from img2gps.runs.folder import PREDICTIONS_TEST
from img2gps.runs.plan import open_dataset, open_split, split_identity
from img2gps.runs.predictions import PredictionTable
from img2gps.runs.records import read_result
from img2gps.training.metrics import summarise

SAME_SPOT_M = 10.0  # between true positions of one standing point of the quad
HIDDEN_PARTS = ("test_known", "test_new")  # of the built-in quad: known spots, new spots


@dataclass(frozen=True)
class TestPart:
    """Photos to score.

    Attributes:
        dataset: the training photos, and behind them the hidden ones if these are scored.
        split: its `test` rows are the photos to score.
        pixels: of the photos to score, in the order of the rows.
        known: of each of these photos, whether training photos show its spot.
    """

    dataset: Dataset
    split: Split
    pixels: Sequence[NDArray[np.uint8]]
    known: NDArray[np.bool_]


def evaluate_test(
    folder: Path,
    hidden: int = 0,
    before_predict: Callable[[], None] = lambda: None,
    others: Sequence[Path] = (),
) -> dict[str, Any]:
    """Score a run on its test part, or on hidden photos of the built-in quad.

    Writes predictions_test.csv.

    Args:
        folder: the run folder.
        hidden: 0 scores the test part; otherwise so many photos are made, half of them of the
            training spots in new sessions and half of new spots.
        before_predict: called once the photos are ready, before the first is predicted.
        others: folders of runs whose answers are averaged with those of the run.

    Returns:
        The summary in metres (`test/rmse_m` and so on), the RMSE on known and on new spots, the
        RMSE against the quad's truth if there is one, and the mean predictor's.

    Raises:
        BadInput: the run has no test part, or hidden photos are asked of other data.
    """
    predictor = Predictor.load(folder)
    part = _test_part(predictor.config, folder, hidden)
    before_predict()
    members = [predictor, *map(Predictor.load, others)]
    each = [torch.from_numpy(_predict(member, part.pixels)) for member in members]
    answers = average(each).numpy()
    rows, lat, lon = part.split.test, answers[:, 0], answers[:, 1]
    table = PredictionTable(part.dataset, part.split, "test", part.known)
    table.write(folder / PREDICTIONS_TEST, rows, lat, lon)
    return {
        **_scores(table.errors_m(rows, lat, lon), part.known),
        **_against_truth(part, lat, lon),
        "mean_predictor/rmse_m": table.mean_predictor_rmse_m(),
        "n_test": len(rows),
    }


def _predict(predictor: Predictor, parts: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
    return np.concatenate(
        [
            predictor.positions(pixels[start : start + BATCH])
            for pixels in parts
            for start in range(0, len(pixels), BATCH)
        ]
    )


def _scores(errors: NDArray[np.float64], known: NDArray[np.bool_]) -> dict[str, float]:
    figures = {f"test/{key}": value for key, value in summarise(errors).items()}
    for name, chosen in (("known_spots", known), ("new_spots", ~known)):
        if chosen.any():
            figures[f"test/{name}_rmse_m"] = float(np.sqrt(np.mean(errors[chosen] ** 2)))
    return figures


def _against_truth(
    part: TestPart, lat: NDArray[np.float64], lon: NDArray[np.float64]
) -> dict[str, float]:
    truth = _true_positions(part.dataset)[part.split.test]
    if np.isnan(truth).any():
        return {}
    return {"truth/rmse_m": geo.rmse_m(truth[:, 0], truth[:, 1], lat, lon)}


def _true_positions(dataset: Dataset) -> NDArray[np.float64]:
    return dataset.manifest[["true_lat_deg", "true_lon_deg"]].to_numpy(np.float64)


def _test_part(config: Config, folder: Path, hidden: int) -> TestPart:
    if config.data.kind is DataKind.custom:
        raise BadInput(
            f"{folder}: its photos come from a source of your own ({config.data.name}), which is "
            "never imported from a saved run; predict its test photos with img2gps predict"
        )
    dataset = open_dataset(config)
    split = open_split(config, dataset)
    _check_unchanged(folder, dataset, split)
    if hidden:
        return _hidden_part(config, folder, dataset, split, hidden)
    if len(split.test) == 0:
        raise BadInput(f"{folder}: its split has no test part; set split.n_test")
    known = known_spot(dataset.manifest, split, "test")
    return TestPart(dataset, split, [dataset.pixels()[split.test]], known)


def _check_unchanged(folder: Path, dataset: Dataset, split: Split) -> None:
    """Refuse photos or a split other than those of the training."""
    result = read_result(folder)
    if result is None or not result.identity:
        return
    trained_on = result.identity.get("data"), result.identity.get("split")
    if trained_on != (dataset.fingerprint, split_identity(dataset, split)):
        raise BadInput(
            f"{folder}: its photos or their division have changed since it was trained, so that "
            "test photos may be among those it has learned; put them back, or repeat the study"
        )


def _hidden_part(config: Config, folder: Path, dataset: Dataset, split: Split, n: int) -> TestPart:
    if config.data.kind is not DataKind.quad:
        raise BadInput(
            f"{folder}: only the built-in quad has hidden photos, not {dataset.name}; "
            "set split.n_test"
        )
    known, new = (_hidden_photos(config, part, n // len(HIDDEN_PARTS)) for part in HIDDEN_PARTS)
    manifests = [dataset.manifest, known.manifest, new.manifest]
    manifest = pd.concat(manifests, ignore_index=True)
    return TestPart(
        replace(dataset, manifest=manifest),
        replace(split, test=np.arange(len(dataset), len(manifest))),
        [known.pixels(), new.pixels()],
        np.concatenate([_seen(config, dataset, split, known), np.zeros(len(new), np.bool_)]),
    )


def _hidden_photos(config: Config, part: str, n: int) -> Dataset:
    made = open_dataset(replace(config, data=replace(config.data, part=part, n=n)))
    names = part + "/" + made.manifest["photo"]  # the parts give their photos the same numbers
    return replace(made, manifest=made.manifest.assign(photo=names))


def _seen(config: Config, dataset: Dataset, split: Split, known: Dataset) -> NDArray[np.bool_]:
    """Return which photos of the main part's spots show a spot that the training part has, too.

    All of them do, unless the split holds out ground or photos. Then their true positions decide,
    because the labels are noisy.
    """
    whole = config.split.kind not in (SplitKind.place, SplitKind.place_kfold)
    if whole and config.split.n_train is None:
        return np.ones(len(known), np.bool_)
    trained, asked = _true_positions(dataset)[split.train], _true_positions(known)
    away = geo.distance_m(asked[:, :1], asked[:, 1:], trained[:, 0], trained[:, 1])
    return np.asarray(away.min(axis=1) <= SAME_SPOT_M)
