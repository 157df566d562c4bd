"""How long a trained model takes to answer for one photo."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from img2gps.training.model import Regressor

WARM_UP, TIMED = 1, 3  # passes

# Of backbones that runs share: milliseconds and features of one photo, by image size.
_KNOWN: WeakKeyDictionary[nn.Module, dict[int, tuple[float, Tensor]]] = WeakKeyDictionary()


def prediction_ms(model: Regressor, image_size: int) -> float:
    """Return the milliseconds of one photo's forward pass in float32, the median of three."""
    image = torch.zeros(1, 3, image_size, image_size, device=next(model.parameters()).device)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            if not model.backbone_is_known:
                return _timed(model, image)[0]
            known = _KNOWN.setdefault(model.backbone, {})
            if image_size not in known:
                known[image_size] = _timed(model.backbone, image)
            backbone_ms, features = known[image_size]
            return backbone_ms + _timed(model.head, features.float())[0]
    finally:
        model.train(training)


def _timed(model: Callable[[Tensor], Tensor], inputs: Tensor) -> tuple[float, Tensor]:
    times = []
    for _ in range(WARM_UP + TIMED):
        began = time.perf_counter()
        out = model(inputs)
        if out.is_cuda:
            torch.cuda.synchronize(out.device)
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[WARM_UP:]), out
