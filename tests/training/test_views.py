"""Test-time views: parts of the same photo, whose features a backbone averages."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from img2gps.config.schema import Family, ModelConfig
from img2gps.training import model
from img2gps.training.features import features_key
from img2gps.training.views import average_views, views
from img2gps.training.weights import ResolvedWeights

SCRATCH = ResolvedWeights("none", "none")
FILE = ResolvedWeights("file", "file", sha256="0123456789abcdef")


def images(side: int = 40) -> torch.Tensor:
    return torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_the_first_view_is_the_photo_and_the_others_lie_inside_it() -> None:
    ramp = torch.arange(40.0).expand(1, 1, 40, 40)
    found = views(torch.cat([ramp, ramp.transpose(2, 3)], dim=1), 6)
    assert torch.equal(found[:1, :1], ramp)
    right, down = found[:, 0].mean(dim=(1, 2)) - 19.5, found[:, 1].mean(dim=(1, 2)) - 19.5
    assert right.tolist() == pytest.approx([0, 0, -4, 4, -4, 4], abs=1e-4)
    assert down.tolist() == pytest.approx([0, 0, -4, -4, 4, 4], abs=1e-4)


def test_features_are_the_mean_over_the_views() -> None:
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    plain = net(images())
    expected = torch.stack([net(part) for part in torch.split(views(images(), 4), 3)]).mean(dim=0)
    average_views(net, 4)
    assert torch.allclose(net(images()), expected, atol=1e-6)
    assert torch.equal(net.train()(images()), plain)


def test_cells_of_feature_maps_stay_those_of_the_whole_photo() -> None:
    lite = ModelConfig("efficientnet_lite0", Family.efficientnet_lite)
    several = ModelConfig("efficientnet_lite0", Family.efficientnet_lite, test_views=3)
    torch.manual_seed(0)
    one = model.build(lite, SCRATCH, maps=True).eval()
    torch.manual_seed(0)
    more = model.build(several, SCRATCH, maps=True).eval()
    with torch.inference_mode():
        plain, averaged = one.backbone(images(64)), more.backbone(images(64))
    assert plain.shape == averaged.shape
    width = one.backbone.width
    assert torch.allclose(plain[:, width:].float(), averaged[:, width:].float(), atol=1e-2)
    assert not torch.allclose(plain[:, :width].float(), averaged[:, :width].float(), atol=1e-2)


def test_features_of_several_views_are_kept_in_a_file_of_their_own() -> None:
    keys = {
        features_key(ModelConfig("resnet18", Family.resnet, test_views=count), FILE)
        for count in (1, 2, 3)
    }
    assert len(keys) == 3
    assert features_key(ModelConfig("resnet18", Family.resnet), FILE) == "resnet18-0123456789ab"
