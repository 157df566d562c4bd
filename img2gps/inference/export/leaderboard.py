"""A course's hand-in: model.py, preprocess.py and model.pt, which stand alone.

`model.py` has `get_model()` and a class `Model` with `eval()` and `predict(batch)`;
`preprocess.py` has `prepare_data(csv_path)`; `model.pt` is a plain state dict.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from img2gps.config.schema import Family
from img2gps.core.files import write_text_atomic
from img2gps.inference.deployed import Deployed
from img2gps.inference.export.check import Pixels, Reloaded
from img2gps.inference.export.traced import member_source
from img2gps.inference.network import Member

MODEL, PREPROCESS, WEIGHTS = "model.py", "preprocess.py", "model.pt"
_STANDALONE = Path(__file__).with_name("standalone")


def write(deployed: Deployed, folder: Path) -> Reloaded:
    """Write the three files; return a function that predicts with them."""
    write_text_atomic(folder / MODEL, _model_source(deployed))
    size = deployed.card.image_size
    preprocess = (_STANDALONE / PREPROCESS).read_text(encoding="utf-8")
    write_text_atomic(folder / PREPROCESS, _set(preprocess, "IMAGE_SIZE", repr(size)))
    state = deployed.network.state_dict()
    members = {key: value for key, value in state.items() if key.startswith("members.")}
    torch.save(members, folder / WEIGHTS)
    model = _import(folder / MODEL).get_model()

    def reloaded(pixels: Pixels) -> NDArray[np.float64]:
        images = [torch.from_numpy(photo).permute(2, 0, 1) for photo in pixels]
        degrees: NDArray[np.float64] = model.predict(images).numpy()
        return degrees

    return reloaded


def usage(_: Deployed) -> str:
    """Return how the files are used, as Markdown."""
    return """Hand in `model.py`, `preprocess.py` and `model.pt`. They need torch, torchvision,
pandas, Pillow and numpy, and nothing else of where they were made.

```python
from model import get_model
from preprocess import prepare_data

images, labels = prepare_data("photos.csv")  # columns image_path, Latitude, Longitude
degrees = get_model().predict(images[:32])
```

Paths in the CSV are relative to its folder. Degrees are latitude and longitude."""


def _model_source(deployed: Deployed) -> str:
    source = (_STANDALONE / MODEL).read_text(encoding="utf-8")
    models = deployed.card.models
    linear = _heads_are_linear(deployed)
    # Heads of another kind can differ from member to member, so each has a network of its own.
    names = [model.name if linear else f"{model.name}_{i}" for i, model in enumerate(models)]
    source = _set(source, "ARCHITECTURES", repr(tuple(names)))
    if linear and all(m.family is Family.resnet and m.test_views == 1 for m in models):
        return source
    source = source.replace("It needs torch and torchvision.", "It needs torch.")
    source = source.replace("import torchvision\n", "").replace("  # of torchvision; of", "  # of")
    first: dict[str, Member] = {}
    for name, member in zip(names, deployed.network.parts(), strict=True):
        first.setdefault(name, member)
    before, _, rest = source.partition("class Member(")
    _, mark, after = rest.partition("class Degrees(")
    return f"{before}{member_source(first, deployed.card.image_size)}\n\n{mark}{after}"


def _heads_are_linear(deployed: Deployed) -> bool:
    return all(isinstance(member.head, nn.Linear) for member in deployed.network.parts())


def _set(source: str, constant: str, value: str) -> str:
    """Give a constant of a standalone file its value."""
    found, count = re.subn(
        rf"^{constant} = [^#\n]*(?<! )", f"{constant} = {value}", source, flags=re.MULTILINE
    )
    assert count == 1
    return found


def _import(path: Path) -> ModuleType:
    """Import a file that was written just now, as an evaluator does."""
    spec = importlib.util.spec_from_file_location(f"exported_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
