"""Tensors that a head keeps in its checkpoint and whose shapes only the file knows."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class KeptTensors(nn.Module):
    """A module with buffers named `kept`, which have no shape until they are set or loaded."""

    kept: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        for name in self.kept:
            self.register_buffer(name, torch.empty(0))

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take the shapes of the buffers from the file."""
        for name in self.kept:
            if f"{prefix}{name}" in state:
                setattr(self, name, torch.empty_like(state[f"{prefix}{name}"]))
        super()._load_from_state_dict(state, prefix, *args)
