"""A folder for the Hugging Face Hub: safetensors, the card, and nothing to execute on loading.

`app.py` is only for who wants to run it: it serves the page to drop photos on.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from img2gps.inference.deployed import Deployed
from img2gps.inference.export.check import Reloaded, answers
from img2gps.inference.exported import read_exported, write_exported

APP = "app.py"


def write(deployed: Deployed, folder: Path) -> Reloaded:
    """Write the folder; return a function that predicts with it."""
    write_exported(deployed, folder)
    shutil.copyfile(Path(__file__).with_name("standalone") / APP, folder / APP)
    network = read_exported(folder).network.in_float32()
    return lambda pixels: answers(network, pixels)


READING = """```python
from img2gps import Localizer

localizer = Localizer.load("FOLDER")
print(localizer.predict(["photo.jpg"]))
```

`img2gps predict photo.jpg --run FOLDER` does the same, and `img2gps app --run FOLDER` shows a page
to drop photos on."""  # how a folder that img2gps reads back is used, as Markdown


def usage(_: Deployed) -> str:
    """Return how the folder is used, as Markdown."""
    return f"{READING} So does `python {APP}` in it."
