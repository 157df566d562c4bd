"""What a network is divided into, and what cannot be divided."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.distributed import fsdp

from img2gps.core.errors import BadInput
from img2gps.training.sharding import blocks, check_shardable
from tests.helpers.tiny import tiny_config


@pytest.mark.parametrize(
    ("name", "kind", "count"),
    [("resnet50", "Bottleneck", 3 + 4 + 6 + 3), ("mobilenet_v2", "InvertedResidual", 17)],
)
def test_the_blocks_of_the_papers_are_divided_one_by_one(name: str, kind: str, count: int) -> None:
    found = blocks(torchvision.models.get_model(name))
    assert [type(block).__name__ for block in found] == [kind] * count


def test_a_stage_that_is_too_large_is_divided_into_its_blocks() -> None:
    found = blocks(timm.create_model("convnext_tiny", pretrained=False))
    names = [type(block).__name__ for block in found]
    assert names == ["ConvNeXtStage"] * 2 + ["ConvNeXtBlock"] * (9 + 3)


def test_a_parameter_that_is_a_single_number_is_refused_by_name() -> None:
    model = nn.Linear(2, 2)
    check_shardable(model)
    model.gain = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(BadInput) as caught:
        check_shardable(model)
    assert str(caught.value) == (
        "trainer.strategy=fsdp: the model's gain is a single number, which cannot be divided; "
        "give trainer=ddp"
    )


def test_a_torch_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(fsdp, "FSDPModule")
    with pytest.raises(BadInput, match=r"^trainer.strategy=fsdp: torch .* is too old for it; give"):
        check_shardable(nn.Linear(2, 2))


def test_an_optimiser_of_ones_own_is_refused_where_weights_are_divided() -> None:
    own = ("optimizer=sgd", "+optimizer._target_=torch.optim.Rprop")
    with pytest.raises(BadInput) as caught:
        tiny_config("trainer=fsdp", *own)
    assert str(caught.value).startswith(
        "trainer.strategy=fsdp: an optimiser of your own may need whole weights"
    )
    for fits in ("trainer=ddp", "trainer.devices=1"):
        tiny_config("trainer=fsdp", *own, fits)
