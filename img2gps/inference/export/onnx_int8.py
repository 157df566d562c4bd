"""The ONNX graph with convolutions in eight bits, and what that costs in metres."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from img2gps.config.compose import read_config
from img2gps.core import geo
from img2gps.core.errors import BadInput
from img2gps.inference.deployed import Deployed
from img2gps.inference.export.onnx import GRAPH, INPUT, session
from img2gps.inference.predict import BATCH
from img2gps.photos.dataset import Dataset
from img2gps.photos.split import Split
from img2gps.runs.cached import dataset_of
from img2gps.runs.folder import CONFIG
from img2gps.runs.plan import open_split

GRAPH_INT8 = "model.int8.onnx"
CALIBRATED_ON = 128  # training photos, which show the range of each layer's outputs


@dataclass(frozen=True)
class Price:
    """What eight bits cost, on the validation photos.

    Attributes:
        rmse_m, int8_rmse_m: RMSE before and after.
        moved_m: how far answers move, on average.
        bytes, int8_bytes: size of the files.
    """

    rmse_m: float
    int8_rmse_m: float
    moved_m: float
    bytes: int
    int8_bytes: int

    def __str__(self) -> str:
        return (
            f"int8: {self.int8_bytes / 1e6:.1f} MB instead of {self.bytes / 1e6:.1f}; RMSE "
            f"{self.int8_rmse_m:.1f} m instead of {self.rmse_m:.1f} on the validation photos, "
            f"answers move {self.moved_m:.1f} m on average"
        )


def photos_of(deployed: Deployed) -> tuple[Split, Dataset]:
    """Return the split and the data set of the photos that a model was trained on.

    Raises:
        BadInput: the training photos are not on this machine, or none was held out.
    """
    run = next(iter(deployed.folders), None)
    dataset = dataset_of(run) if run else None
    if run is None or dataset is None:
        raise BadInput(
            "--int8: needs the training photos, to see the range of each layer; export where the "
            "model was trained, or leave --int8 out"
        )
    split = open_split(read_config(run / CONFIG), dataset)
    if not len(split.val):
        raise BadInput(
            "--int8: no photo was held out, so its price cannot be measured; export the winner or "
            "an average instead of a refit, or leave --int8 out"
        )
    return split, dataset


def write_int8(deployed: Deployed, folder: Path) -> Price:
    """Write the eight-bit graph beside the other one; return what it costs.

    Raises:
        BadInput: the training photos are not on this machine, or none was held out.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    split, dataset = photos_of(deployed)
    pixels = dataset.pixels()
    logging.getLogger().setLevel(logging.WARNING)  # it tells of each layer
    quantize_static(
        folder / GRAPH,
        folder / GRAPH_INT8,
        _Batches(pixels[split.train[:CALIBRATED_ON]]),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],  # the last layer stays exact: its steps would be metres
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )
    lat, lon = (column[split.val] for column in dataset.lat_lon())
    before, after = (_answers(folder / name, pixels, split.val) for name in (GRAPH, GRAPH_INT8))
    return Price(
        geo.rmse_m(lat, lon, before[:, 0], before[:, 1]),
        geo.rmse_m(lat, lon, after[:, 0], after[:, 1]),
        float(geo.distance_m(*before.T, *after.T).mean()),
        (folder / GRAPH).stat().st_size,
        (folder / GRAPH_INT8).stat().st_size,
    )


class _Batches:
    """Batches of training photos, as onnxruntime's calibration asks for them."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._batches: Iterator[NDArray[np.uint8]] = (
            np.array(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)
        )

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """Return the next batch, None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


def _answers(
    graph: Path, pixels: NDArray[np.uint8], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    answer = session(graph)
    starts = range(0, len(rows), BATCH)
    return np.concatenate([answer(np.array(pixels[rows[s : s + BATCH]])) for s in starts])
