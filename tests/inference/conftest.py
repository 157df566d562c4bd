"""Finished tiny runs and the photos that they were trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from img2gps import train
from tests.helpers.tiny import tiny_config


@pytest.fixture(scope="session")
def tiny_runs(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> dict[str, Path]:
    """Run folders by architecture: one of torchvision, and one that only timm can build."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMG2GPS_CACHE", str(shared_cache))
        patch.chdir(tmp_path_factory.mktemp("runs"))
        size = ("image_size=32", "max_epochs=1")
        return {
            name: train.run(tiny_config(f"model={name}", *size)).folder.resolve()
            for name in ("resnet18", "efficientnet_lite0")
        }
