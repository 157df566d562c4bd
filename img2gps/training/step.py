"""Timing one training step of a model on random pixels."""

from __future__ import annotations

import time

import torch

from img2gps.config.schema import Precision
from img2gps.training.model import Regressor


class TimedStep:
    """Forward pass, backward pass and update on one batch that stays the same."""

    def __init__(self, regressor: Regressor, photos: int, size: int, device: str = "cpu") -> None:
        self.device = device
        self.regressor = regressor.to(device).to(memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.Adam(self.regressor.parameters(), fused=True)
        images = torch.rand(photos, 3, size, size)
        self.images = images.to(device, memory_format=torch.channels_last)

    def seconds(self, precision: Precision) -> float:
        """Take one step and return how long it took."""
        started = time.perf_counter()
        bf16 = precision is Precision.bf16
        with torch.autocast(self.device, torch.bfloat16, enabled=bf16):
            loss = self.regressor(self.images).float().square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        loss.item()  # waits until a GPU is done
        return time.perf_counter() - started
