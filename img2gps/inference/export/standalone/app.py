"""Serve a page to drop photos on, by the model in this folder. It needs `img2gps[app]`."""

from __future__ import annotations

from pathlib import Path

from img2gps.inference.app.local import LocalModel
from img2gps.inference.app.serve import serve
from img2gps.inference.localizer import Localizer

if __name__ == "__main__":
    localizer = Localizer.load(Path(__file__).parent)
    serve(LocalModel(localizer, show_training=False), host="127.0.0.1", port=7860)
