"""The model: photos to latitude and longitude. It needs torch and torchvision.

`get_model()` builds it, with the weights of the `model.pt` that lies beside this file.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

ARCHITECTURES = ("resnet18",)  # of torchvision; of several members the answers are averaged


def get_model() -> Model:
    """Return the trained model, ready to predict."""
    return Model().eval()


class Model(nn.Module):
    """Photos to degrees. Normalisation of pixels and scaling of labels are in its state dict."""

    def __init__(self, weights_path: str | Path | None = None) -> None:
        super().__init__()
        self.members = nn.ModuleList(Member(name) for name in ARCHITECTURES)
        path = Path(__file__).with_name("model.pt") if weights_path is None else Path(weights_path)
        if path.is_file():
            self.load(path)
        elif weights_path is None:
            warnings.warn(f"{path}: not found; load a state dict before you predict", stacklevel=2)

    def load(self, path: Path) -> None:
        """Load the weights of a file."""
        try:
            self.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # torch has an exception for each kind of damage
            raise ValueError(f"{path}: damaged, or of another model; export it again") from error

    def forward(self, images: Tensor) -> Tensor:
        """Return latitude and longitude (n, 2) in degrees; images (n, 3, h, w), 0 to 255."""
        answers = torch.stack([member(images.float()) for member in self.members])
        away = answers - answers[0]
        away[..., 1] = wrap(away[..., 1])  # the mean is right across the antimeridian, too
        lat, lon = (answers[0] + away.mean(dim=0)).unbind(dim=1)
        return torch.stack([lat, wrap(lon)], dim=1)

    @torch.inference_mode()
    def predict(self, batch: Iterable[Tensor]) -> Tensor:
        """Return [latitude, longitude] in degrees for each image (3, h, w) or (1, 3, h, w)."""
        images = torch.stack([image.reshape(image.shape[-3:]) for image in batch])
        degrees: Tensor = self(images.to(self.get_buffer("members.0.mean").device))
        return degrees.cpu()


class Member(nn.Module):
    """One trained network."""

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: str) -> None:
        super().__init__()
        self.backbone = torchvision.models.get_model(architecture, weights=None)
        self.head = nn.Linear(self.backbone.fc.in_features, 2)
        self.backbone.fc = nn.Identity()
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))
        self.register_buffer("std", torch.ones(1, 3, 1, 1))
        self.degrees = Degrees()

    def forward(self, images: Tensor) -> Tensor:
        """Return latitude and longitude in degrees."""
        features = self.backbone((images - self.mean) / self.std)
        degrees: Tensor = self.degrees(self.head(features))
        return degrees


class Degrees(nn.Module):
    """Scaled outputs to degrees. The mean is `mean + rest`, as float32 alone resolves 0.6 m."""

    mean: Tensor
    rest: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("mean", "rest", "std"):
            self.register_buffer(name, torch.zeros(2))

    def forward(self, scaled: Tensor) -> Tensor:
        """Return latitude and longitude in degrees, float64 and therefore on the CPU."""
        scaled, std, rest = (t.cpu().double() for t in (scaled, self.std, self.rest))
        lat, lon = (self.mean.cpu().double() + (rest + scaled * std)).unbind(dim=1)
        return torch.stack([lat.clamp(-90.0, 90.0), wrap(lon)], dim=1)


def wrap(lon: Tensor) -> Tensor:
    """Return longitude brought into [-180, 180)."""
    return torch.remainder(lon + 180.0, 360.0) - 180.0
