"""A finished run as it was trained: from pixels to latitude and longitude.

A run folder is data. Its config.yaml is read as plain values and its checkpoint with
`weights_only=True`; nothing that they name is imported or called.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from img2gps.config.compose import read_config
from img2gps.config.schema import Config, Family, Precision, TrainedPart
from img2gps.core.errors import BadInput
from img2gps.core.geo import LabelScaler
from img2gps.core.paths import expanded
from img2gps.runs.fetching import fetch_weights
from img2gps.runs.folder import CHECKPOINT, CONFIG
from img2gps.runs.records import RunResult, read_result
from img2gps.runs.states import RunState
from img2gps.training.heads.build import build_head
from img2gps.training.model import Regressor, build
from img2gps.training.weights import ResolvedWeights, find_again

BATCH = 32  # photos at once
PREFIX = "model."  # of the regressor's tensors in a checkpoint


class Predictor:
    """A finished run that answers where photos were taken."""

    def __init__(
        self, regressor: Regressor, scaler: LabelScaler, config: Config, precision: Precision
    ) -> None:
        # As in training, because bf16 rounds differently in another memory layout.
        self.regressor = regressor.eval()
        regressor.use_channels_last()
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
            weights = _frozen_weights(folder, config, result)
            make_head = partial(build_head, config.head, config.heads)
            regressor = build(config.model, weights, make_head, maps=config.needs_maps)
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


def _frozen_weights(folder: Path, config: Config, result: RunResult) -> ResolvedWeights:
    """Find the weights of a backbone that was not trained, which the checkpoint leaves out."""
    unknown = ResolvedWeights("none", "none")
    facts = result.weights
    begun = ResolvedWeights(facts.requested, facts.resolved, facts.reason, facts.sha256)
    if config.model.train is not TrainedPart.head or not begun.pretrained:
        return unknown
    if begun.resolved == "file":
        begun = replace(begun, path=str(expanded(config.weights, "weights")))
    found = find_again(begun, config.model)
    if found is None:
        raise BadInput(
            f"{folder}: the weights of its backbone (weights={config.weights} of "
            f"{config.model.name}) are missing on this machine or have changed; put them back"
        )
    return found


def _load_weights(folder: Path, regressor: Regressor) -> LabelScaler:
    """Load a run's weights into the regressor and return the label scaling that goes with them."""
    fetch_weights(folder)
    try:
        saved = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)
        state = saved["state_dict"]
        tensors = {k.removeprefix(PREFIX): v for k, v in state.items() if k.startswith(PREFIX)}
        if regressor.backbone_is_known:
            tensors = {**_backbone(regressor), **tensors}
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


def _backbone(regressor: Regressor) -> dict[str, Tensor]:
    return {f"backbone.{name}": value for name, value in regressor.backbone.state_dict().items()}
