"""The loop that one would otherwise write: photos opened at each epoch, torch's own defaults.

    python -m benchmarks.plain FOLDER --model resnet18 --epochs 3

Prints JSON: seconds of each whole epoch (training and validation). No checkpoint, no history.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
import torchvision
from PIL import ExifTags, Image, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Photos(Dataset[tuple[Tensor, Tensor]]):
    """Opens a photo, turns it upright and resizes it, each time it is asked for."""

    def __init__(self, paths: list[Path], size: int) -> None:
        self.paths = paths
        self.labels = torch.tensor([_position(path) for path in paths])
        self.labels = (self.labels - self.labels.mean(0)) / self.labels.std(0)
        self.transform = transforms.Compose(
            [
                transforms.Resize((size, size)),
                transforms.ToTensor(),
                transforms.Normalize(*IMAGENET),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        with Image.open(self.paths[i]) as image:
            return self.transform(ImageOps.exif_transpose(image).convert("RGB")), self.labels[i]


def _position(path: Path) -> tuple[float, float]:
    with Image.open(path) as image:
        gps = image.getexif().get_ifd(ExifTags.IFD.GPSInfo)
    degrees = [float(d) + float(m) / 60 + float(s) / 3600 for d, m, s in (gps[2], gps[4])]
    return degrees[0], -degrees[1]


def main() -> None:
    """Train and validate for some epochs."""
    parser = argparse.ArgumentParser(description="the plain loop")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--n-val", type=int, default=16)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    torch.manual_seed(0)
    paths = sorted(args.folder.glob("*.jpg"))
    train = DataLoader(
        Photos(paths[args.n_val :], args.size), 16, shuffle=True, num_workers=args.workers
    )
    val = DataLoader(Photos(paths[: args.n_val], args.size), 32, num_workers=args.workers)
    net = torchvision.models.get_model(args.model, weights=None)
    net.fc = nn.Linear(net.fc.in_features, 2)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    epochs = []
    for _ in range(args.epochs):
        started = time.perf_counter()
        net.train()
        for images, labels in train:
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.mse_loss(net(images), labels))
            optimizer.step()
        net.eval()
        with torch.no_grad():
            for images, labels in val:
                nn.functional.mse_loss(net(images), labels)
        epochs.append(time.perf_counter() - started)
    print(json.dumps({"epochs": epochs, "photos": len(paths)}))


if __name__ == "__main__":
    main()
