"""Parts that read photos, analyse and report load no library that only training needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "pytorch_lightning", "optuna", "wandb")
IMPORT_ALL = f"""
import importlib, pkgutil, sys
part = importlib.import_module(sys.argv[1])
names = [found.name for found in pkgutil.walk_packages(part.__path__, part.__name__ + ".")]
for name in names:
    importlib.import_module(name)
print(len(names), [name for name in {HEAVY} if name in sys.modules])
"""


@pytest.mark.parametrize("part", ["img2gps.photos", "img2gps.analysis", "img2gps.report"])
def test_every_module_of_a_light_part_is_imported_without_heavy_libraries(part: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, part], capture_output=True, text=True, check=True
    )
    modules, _, heavy = done.stdout.strip().partition(" ")
    assert int(modules) > 5
    assert heavy == "[]"
