"""Batch normalisation over a batch that two processes share, against torch's own over all of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

PHOTOS = 5
PROCESS = """
import sys
import torch
import torch.distributed as dist
from img2gps.training.shared_norm import SharedBatchNorm

folder, rank = sys.argv[1], int(sys.argv[2])
meeting = dist.FileStore(folder + "/meeting", 2)
dist.init_process_group("gloo", store=meeting, rank=rank, world_size=2)
net, inputs, targets = torch.load(folder + "/batch", weights_only=False)
mine = (slice(0, 2), slice(2, 5))[rank]
with SharedBatchNorm():
    loss = (net(inputs[mine]) - targets[mine]).square().sum()
loss.backward()
for parameter in net.parameters():
    dist.all_reduce(parameter.grad)
found = [parameter.grad for parameter in net.parameters()], net.state_dict()
torch.save(found, f"{folder}/found{rank}")
"""


def network(kind: str) -> tuple[nn.Module, Tensor]:
    """A network in which batch normalisation sees images or features, and a batch for it."""
    torch.manual_seed(0)
    last = nn.Linear(4, 2)
    if kind == "features":
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), last), torch.randn(PHOTOS, 3)
    pooled = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)
    norm = nn.BatchNorm2d(4, affine=kind == "images")
    images = torch.randn(PHOTOS, 3, 6, 6).to(memory_format=torch.channels_last)
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU(), *pooled), images


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["images", "without weights", "features"])
def test_gradients_and_statistics_are_those_of_the_whole_batch(tmp_path: Path, kind: str) -> None:
    net, inputs = network(kind)
    net, inputs = net.double(), inputs.double()
    targets = torch.randn(PHOTOS, 2, dtype=torch.float64)
    torch.save((net, inputs, targets), tmp_path / "batch")
    words = [sys.executable, "-c", PROCESS, str(tmp_path)]
    processes = [subprocess.Popen([*words, str(rank)]) for rank in (0, 1)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    (net(inputs) - targets).square().sum().backward()
    for rank in (0, 1):
        grads, state = torch.load(tmp_path / f"found{rank}", weights_only=True)
        for parameter, grad in zip(net.parameters(), grads, strict=True):
            torch.testing.assert_close(grad, parameter.grad, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(state, net.state_dict(), rtol=1e-10, atol=1e-12)
