"""From a run folder and photos to latitude and longitude.

A run folder is data: its config.yaml is read as plain values and its checkpoint with
`weights_only=True`; nothing named in it is imported or called.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from img2gps.config.compose import read_config
from img2gps.config.schema import Config, Family, Precision
from img2gps.core.errors import BadInput
from img2gps.core.files import read_json
from img2gps.core.geo import LabelScaler
from img2gps.photos import decode, photofile
from img2gps.runs.folder import CHECKPOINT, CONFIG, RESULT
from img2gps.training import model
from img2gps.training.weights import ResolvedWeights

BATCH = 32  # photos at once
PREFIX = "model."  # of the regressor's tensors in the checkpoint of a GeoRegression


@dataclass(frozen=True)
class Prediction:
    """One photo's answer, or why there is none."""

    photo: str
    lat_deg: float | None = None
    lon_deg: float | None = None
    error: str = ""


class Predictor:
    """A finished run, ready to answer."""

    def __init__(
        self, regressor: model.Regressor, scaler: LabelScaler, config: Config, precision: Precision
    ) -> None:
        # As in training: another memory layout takes other bf16 kernels, which round differently.
        self.regressor = regressor.eval().to(memory_format=torch.channels_last)
        self.scaler = scaler
        self.config = config
        self.precision = precision

    @classmethod
    def load(cls, folder: Path, regressor: model.Regressor | None = None) -> Predictor:
        """The weights of a run folder; `regressor` is needed where the model is the user's own.

        Raises:
            BadInput: the folder holds no finished run, or the weights do not fit.
        """
        config = read_config(folder / CONFIG)
        result = read_json(folder / RESULT)
        if result is None or result["state"] != "finished":
            state = "not finished" if result is None else result["state"]
            raise BadInput(f"{folder}: the run is {state}; finish it by the command that began it")
        if regressor is None:
            if config.model.family is Family.custom:
                raise BadInput(
                    f"{folder}: the model is one of your own ({config.model.name}), which is never "
                    "imported from a saved run; in Python: Predictor.load(folder, regressor)"
                )
            regressor = model.build(config.model, ResolvedWeights("none", "none"))
        try:
            saved = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)
            state = saved["state_dict"]
            tensors = {k.removeprefix(PREFIX): v for k, v in state.items() if k.startswith(PREFIX)}
            regressor.load_state_dict(tensors)
            scaler = LabelScaler(**saved["label_scaler"])
        except FileNotFoundError as error:
            raise BadInput(
                f"{folder}: has no {CHECKPOINT} (published runs keep none); repeat the run with "
                "force=true"
            ) from error
        except Exception as error:  # torch raises several kinds on a file that is none
            raise BadInput(
                f"{folder / CHECKPOINT}: not a checkpoint of this run ({type(error).__name__}); "
                "repeat the run with force=true"
            ) from error
        return cls(regressor, scaler, config, Precision(result["precision"]))

    def positions(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Latitude and longitude (n, 2) of upright square photos (n, size, size, 3), uint8."""
        nchw = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2)
        images = self.regressor.normalise(nchw.to(torch.float32))
        enabled = self.precision is Precision.bf16
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            scaled = self.regressor(images)
        return np.stack(self.scaler.unscale(scaled.double().numpy()), axis=-1)

    def photos(self, paths: Iterable[Path]) -> Iterator[Prediction]:
        """One answer a photo, in order; a file that cannot be used gets its reason instead."""
        waiting: list[tuple[Path, NDArray[np.uint8] | str]] = []
        for path in paths:
            waiting.append((path, self._decode(path)))
            if len(waiting) == BATCH:
                yield from self._answer(waiting)
                waiting = []
        yield from self._answer(waiting)

    def _decode(self, path: Path) -> NDArray[np.uint8] | str:
        try:
            return decode.decode(photofile.read_bytes(path), self.config.image_size)[0]
        except photofile.Unusable as error:
            return f"{error.reason}; {error.remedy}"

    def _answer(self, waiting: list[tuple[Path, NDArray[np.uint8] | str]]) -> list[Prediction]:
        good = [pixels for _, pixels in waiting if not isinstance(pixels, str)]
        answers = iter(self.positions(np.stack(good)) if good else ())
        out = []
        for path, pixels in waiting:
            name = photofile.display_name(str(path))
            if isinstance(pixels, str):
                out.append(Prediction(name, error=pixels))
            else:
                position: NDArray[np.float64] = next(answers)
                out.append(Prediction(name, float(position[0]), float(position[1])))
        return out
