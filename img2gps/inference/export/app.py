"""The folder of the page to drop photos on, ready to be hosted: no torch, no training photos."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from img2gps.core.files import sha256_of, write_json, write_text_atomic
from img2gps.inference.app.model import CARD
from img2gps.inference.deployed import Deployed
from img2gps.inference.export import onnx
from img2gps.inference.export.check import Reloaded

REQUIREMENTS = (
    *("onnxruntime", "numpy", "pillow", "pillow-heif", "exifread"),
    *("starlette", "uvicorn", "jinja2", "markupsafe"),
)
DOCKERFILE, REQUIRED = "Dockerfile", "requirements.txt"
CODE = "img2gps"  # the folder of the code that the page needs
FRONT_MATTER = """---
title: Where was this photo taken?
sdk: docker
app_port: 7860
---
"""  # what a Hugging Face Space reads
_PACKAGE = Path(__file__).resolve().parents[2]
_DATA = ("inference/app/static", "inference/output/templates")
_LIST = """
import sys
import img2gps.inference.app.serve
print("\\n".join(m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "img2gps"))
"""


def write(deployed: Deployed, folder: Path) -> Reloaded:
    """Write the folder; return what answers by means of its graph."""
    reloaded = onnx.write(deployed, folder)
    digest = sha256_of(folder / onnx.GRAPH)
    write_json(folder / CARD, {**deployed.card.to_dict(), "sha256": digest})
    for source in _code():
        target = folder / CODE / source.relative_to(_PACKAGE)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    pinned = [f"{name}=={metadata.version(name)}" for name in REQUIREMENTS]
    write_text_atomic(folder / REQUIRED, "\n".join(pinned) + "\n")
    standalone = Path(__file__).with_name("standalone")
    shutil.copyfile(standalone / DOCKERFILE, folder / DOCKERFILE)
    return reloaded


def usage(_: Deployed) -> str:
    """Return how the folder is used, as Markdown."""
    return """```sh
pip install -r requirements.txt
python -m img2gps.inference.app .          # http://127.0.0.1:7860, for this machine alone
docker build -t where . && docker run --rm -p 127.0.0.1:7860:7860 where
curl --data-binary @photo.jpg http://127.0.0.1:7860/api/predict
```

The folder is also a Space of the Hugging Face Hub as it stands (`sdk: docker`). Photos that are
sent to the page are neither kept nor logged."""


def _code() -> list[Path]:
    """Return the files that the app is made of: what it imports, and its pages."""
    command = [sys.executable, "-c", _LIST]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    modules = [Path(line) for line in done.stdout.splitlines()]
    entry = _PACKAGE / "inference" / "app" / "__main__.py"
    data = [path for name in _DATA for path in sorted((_PACKAGE / name).iterdir())]
    return [*modules, entry, *data]
