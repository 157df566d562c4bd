"""A Python that sees only the packages it is told of, at the versions of this environment."""

from __future__ import annotations

import re
import subprocess
import venv
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

LEADERBOARD = ("torch", "torchvision", "pandas", "Pillow", "numpy")


def fresh_python(folder: Path, names: tuple[str, ...]) -> Path:
    """Make an environment with these distributions and what they need; return its Python."""
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    for name in _with_dependencies(names):
        distribution = metadata.distribution(name)
        for file in distribution.files or ():
            top = file.parts[0]
            target = Path(str(distribution.locate_file(top)))
            if top not in ("..", "__pycache__") and not (site / top).exists() and target.exists():
                (site / top).symlink_to(target)
    return folder / "bin" / "python"


def run(python: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run that Python with nothing of this environment in reach."""
    return subprocess.run(
        [str(python), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd)},
    )


def _with_dependencies(names: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        found.add(name)
        for line in metadata.distribution(name).requires or ():
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                waiting.append(need.name)
    return found
