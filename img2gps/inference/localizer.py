"""Photos to positions in three lines of Python.

from img2gps import Localizer
localizer = Localizer.load("table1")
localizer.predict(["photo.jpg", "folder"])
"""

from __future__ import annotations

from pathlib import Path

from img2gps.inference import held_out
from img2gps.inference.calibrate import calibrated
from img2gps.inference.deployed import Deployed, from_runs
from img2gps.inference.exported import read_exported
from img2gps.inference.find import find

ROOTS = (Path("runs"), Path("results"))


def load(name: str, roots: tuple[Path, ...] = ROOTS) -> Deployed:
    """Load the model that a path, a run id or a study names, with its radius.

    Raises:
        BadInput: there is none, or it cannot be read.
    """
    found = find(name, roots)
    if found.exported:
        return read_exported(found.folder)
    deployed = from_runs([found.folder], title=found.title, ranked_cells=found.ranked_cells)
    return calibrated(deployed, held_out.validation([found.folder], found.ranked_cells))
