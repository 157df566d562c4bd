"""A plain state dict of the whole network, for code of one's own."""

from __future__ import annotations

from pathlib import Path

import torch

from img2gps.inference.deployed import Deployed
from img2gps.inference.export.check import Reloaded, answers

WEIGHTS = "weights.pt"


def write(deployed: Deployed, folder: Path) -> Reloaded:
    """Write the state dict; return a function that predicts with it."""
    torch.save(deployed.network.state_dict(), folder / WEIGHTS)
    state = torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True)
    network = deployed.network.in_float32()
    network.load_state_dict(state)
    return lambda pixels: answers(network, pixels)


def usage(deployed: Deployed) -> str:
    """Return how the file is used, as Markdown."""
    names = ", ".join(model.name for model in deployed.card.models)
    return f"""`{WEIGHTS}` is a state dict of {names}. Read it with
`torch.load("{WEIGHTS}", weights_only=True)`:

| key | holds |
|---|---|
| `members.0.backbone.*` | the backbone, with the names of torchvision or timm |
| `members.0.head.*` | the layer that gives two numbers, scaled latitude and longitude |
| `members.0.mean`, `members.0.std` | subtract and divide pixels in 0 to 255 |
| `members.0.degrees.*` | degrees = (mean + rest) + std x scaled |
| `trust.*` | the radius, and what tells photos from elsewhere |

Members beyond the first are averaged with it."""
