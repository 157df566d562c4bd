"""The time of one prediction."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn

from img2gps.training.latency import prediction_ms
from img2gps.training.model import Regressor


class Slow(nn.Module):
    """A backbone that takes at least 30 ms."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        time.sleep(0.03)
        features: Tensor = self.norm(images).mean((2, 3))
        return features


def model() -> tuple[Regressor, Slow]:
    backbone = Slow()
    return Regressor(backbone, nn.Linear(3, 2)), backbone


def test_prediction_takes_as_long_as_the_model_and_changes_nothing() -> None:
    regressor, backbone = model()
    before = {name: value.clone() for name, value in regressor.state_dict().items()}
    drawn = torch.get_rng_state()
    assert prediction_ms(regressor, 32) >= 30
    assert regressor.training
    assert backbone.norm.training
    assert all(torch.equal(before[name], v) for name, v in regressor.state_dict().items())
    assert torch.equal(drawn, torch.get_rng_state())


@pytest.mark.parametrize(("known", "passes"), [(True, 4), (False, 8)])
def test_backbone_that_runs_share_is_timed_once(known: bool, passes: int) -> None:
    regressor, backbone = model()
    regressor.backbone_is_known = known
    for _ in range(2):
        prediction_ms(regressor, 32)
    assert backbone.calls == passes
