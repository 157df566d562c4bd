"""A folder for the Hugging Face Hub: safetensors, the card, and nothing to execute on loading."""

from __future__ import annotations

from pathlib import Path

from img2gps.inference.deployed import Deployed
from img2gps.inference.export.check import Reloaded, answers
from img2gps.inference.exported import read_exported, write_exported


def write(deployed: Deployed, folder: Path) -> Reloaded:
    """Write the folder; return a function that predicts with it."""
    write_exported(deployed, folder)
    network = read_exported(folder).network.in_float32()
    return lambda pixels: answers(network, pixels)


def usage(_: Deployed) -> str:
    """Return how the folder is used, as Markdown."""
    return """```python
from img2gps import Localizer

localizer = Localizer.load("FOLDER")
print(localizer.predict(["photo.jpg"]))
```

`img2gps predict photo.jpg --run FOLDER` does the same, and `img2gps app --run FOLDER` shows a page
to drop photos on."""
