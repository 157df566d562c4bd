"""A `torch.export` program: the whole computation, without the code that built it."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from img2gps.inference.deployed import Deployed
from img2gps.inference.export.check import Pixels, Reloaded
from img2gps.inference.network import Network

PROGRAM = "model.pt2"
MOST_PHOTOS = 4096  # in one batch
DENSITY = (
    "The density has a row for each round Gaussian of the mixture: its share, the latitude and "
    "longitude of its centre, and its standard deviation in metres."
)


class Outputs(nn.Module):
    """A network without its features, as other programs call it."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network.in_float32()

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return degrees (n, 2), radius in metres (n,), strangeness (n,), and the density if any.

        The density (n, k, 4) has a share, a latitude, a longitude and a width in metres for each of
        k round Gaussians.
        """
        answer = self.network(pixels)
        found = answer.degrees, answer.radius_m.clone(), answer.strangeness
        return (*found, answer.density) if self.network.gives_density else found


def output_names(network: Network) -> list[str]:
    """Return what `Outputs` returns, by name."""
    names = ["degrees", "radius_m", "strangeness"]
    return [*names, "density"] if network.gives_density else names


def density_note(network: Network) -> str:
    """Return what the rows of the density mean; empty where the network gives none."""
    return DENSITY if network.gives_density else ""


def example(image_size: int) -> Tensor:
    """Return two photos to trace with."""
    return torch.zeros(2, image_size, image_size, 3, dtype=torch.uint8)


def write(deployed: Deployed, folder: Path) -> Reloaded:
    """Write the program; return a function that predicts with it."""
    batch = torch.export.Dim("photos", min=1, max=MOST_PHOTOS)
    outputs = Outputs(deployed.network).eval()
    pixels = example(deployed.card.image_size)
    traced = torch.export.export(outputs, (pixels,), dynamic_shapes=({0: batch},))
    for node in traced.graph.nodes:
        node.meta.pop("stack_trace", None)  # it has the paths of this machine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tensors that share memory, which is meant
        torch.export.save(traced, folder / PROGRAM)
    program = torch.export.load(folder / PROGRAM).module()

    def reloaded(pixels: Pixels) -> NDArray[np.float64]:
        degrees: NDArray[np.float64] = program(torch.from_numpy(pixels))[0].detach().numpy()
        return degrees

    return reloaded


def usage(deployed: Deployed) -> str:
    """Return how the file is used, as Markdown."""
    size, names = deployed.card.image_size, ", ".join(output_names(deployed.network))
    return f"""```python
import numpy as np, torch
from PIL import Image, ImageOps

photo = Image.open("photo.jpg")
photo.draft("RGB", ({2 * size}, {2 * size}))  # as in training; without it answers move a little
photo = photo.convert("RGB").resize(({size}, {size}), Image.BILINEAR)
photo = ImageOps.exif_transpose(photo)  # after it has been squashed, as in training
model = torch.export.load("{PROGRAM}").module()
{names} = model(torch.from_numpy(np.array(photo))[None])
```

Pixels are uint8, (photos, {size}, {size}, 3); any number of photos up to {MOST_PHOTOS}. Strangeness
above 1 means that the photo is not from here. {density_note(deployed.network)}"""
