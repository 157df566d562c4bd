"""A finished run as it was trained: from pixels to latitude and longitude.

A run folder is data. Its config.yaml is read as plain values and its checkpoint with
`weights_only=True`; nothing that they name is imported or called.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from img2gps.config.compose import read_config
from img2gps.config.schema import Config, Family, Precision
from img2gps.core.errors import BadInput
from img2gps.core.geo import LabelScaler
from img2gps.runs.folder import CHECKPOINT, CONFIG
from img2gps.runs.records import RunResult, RunState, read_result
from img2gps.training.model import Regressor, build
from img2gps.training.weights import ResolvedWeights

BATCH = 32  # photos at once
PREFIX = "model."  # of the regressor's tensors in a checkpoint


class Predictor:
    """A finished run that answers where photos were taken."""

    def __init__(
        self, regressor: Regressor, scaler: LabelScaler, config: Config, precision: Precision
    ) -> None:
        # As in training, because bf16 rounds differently in another memory layout.
        self.regressor = regressor.eval().to(memory_format=torch.channels_last)
        self.scaler = scaler
        self.config = config
        self.precision = precision

    @classmethod
    def load(cls, folder: Path, regressor: Regressor | None = None) -> Predictor:
        """Load a finished run. A run with a model of the user's own needs its `regressor`.

        Raises:
            BadInput: the folder holds no finished run, or the weights do not fit.
        """
        config = read_config(folder / CONFIG)
        result = _finished(folder)
        if regressor is None:
            if config.model.family is Family.custom:
                raise BadInput(
                    f"{folder}: the model is one of your own ({config.model.name}), which is never "
                    "imported from a saved run; in Python: Predictor.load(folder, regressor)"
                )
            regressor = build(config.model, ResolvedWeights("none", "none"))
        scaler = _load_weights(folder, regressor)
        return cls(regressor, scaler, config, Precision(result.precision))

    def positions(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return latitude and longitude (n, 2) of upright square photos (n, size, size, 3)."""
        nchw = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2)
        images = self.regressor.normalise(nchw.to(torch.float32))
        enabled = self.precision is Precision.bf16
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            scaled = self.regressor(images)
        return np.stack(self.scaler.unscale(scaled.double().numpy()), axis=-1)


def _finished(folder: Path) -> RunResult:
    result = read_result(folder)
    if result is None or result.state is not RunState.finished:
        state = "not finished" if result is None else result.state
        raise BadInput(f"{folder}: the run is {state}; finish it by the command that began it")
    return result


def _load_weights(folder: Path, regressor: Regressor) -> LabelScaler:
    """Load a run's weights into the regressor and return the label scaling that goes with them."""
    try:
        saved = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)
        state = saved["state_dict"]
        tensors = {k.removeprefix(PREFIX): v for k, v in state.items() if k.startswith(PREFIX)}
        regressor.load_state_dict(tensors)
        return LabelScaler(**saved["label_scaler"])
    except FileNotFoundError as error:
        raise BadInput(
            f"{folder}: has no {CHECKPOINT} (published runs keep none); repeat the run with "
            "force=true"
        ) from error
    except Exception as error:  # torch raises many kinds on such a file
        raise BadInput(
            f"{folder / CHECKPOINT}: not a checkpoint of this run ({type(error).__name__}); "
            "repeat the run with force=true"
        ) from error
