"""How often the validation photos of a study have chosen, in this study and in others.

Each study corrects its winner for its own cells. Where other studies chose by the same photos, the
lowest figure of all of them is flattered more than that, and no study knows it by itself.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from scipy import stats

from img2gps.core.counted import counted
from img2gps.runs.folder import PREDICTIONS
from img2gps.runs.records import RESULT, RunResult, read_result
from img2gps.runs.states import RunState

# Knobs in which the runs of one cell may differ.
_NOT_OF_A_CELL = ("seed", "order_seed", "augmentation_seed", "split", "data")
_FRESH = (
    "Choose by fresh photos (another split.seed), or score the winner on a test part "
    "(split.n_test), before you publish."
)


@dataclass(frozen=True)
class Looks:
    """All finished runs that were validated on the same photos.

    Attributes:
        runs: how many, each counted once, however many studies share it.
        cells: how many configurations, whatever the seed and the fold.
        own_cells: those among which the study at hand chose at last.
        tried: those that it has tried, with those that a search has not confirmed.
        others: names of the other studies that have such runs.
    """

    runs: int
    cells: int
    own_cells: int
    tried: int
    others: tuple[str, ...]

    @property
    def add_up(self) -> bool:
        """Whether other studies have more cells on these photos than the study at hand."""
        return bool(self.others) and self.cells > 2 * self.tried

    @property
    def flattery(self) -> float:
        """How many times more the best of all cells is flattered than the best of those tried.

        Of equally good cells the lowest figure lies below the mean by the expected largest of as
        many normal draws (Blom 1958). One cell alone is not flattered: infinity.
        """
        own = _expected_largest(self.tried)
        return _expected_largest(self.cells) / own if own else float("inf")

    def lines(self) -> list[str]:
        """Return the count, and what to do where looks add up; none of a study by itself."""
        if not self.others:
            return []
        studies = "1 other study" if len(self.others) == 1 else f"{len(self.others)} other studies"
        if self.own_cells < 2:
            return [
                f"{studies} validated on these photos, too ({self.runs} runs of {self.cells} cells "
                f"together): one that is chosen among all of them is flattered. {_FRESH}"
            ]
        found = [
            f"{self.runs} runs of {self.cells} cells were validated on these photos, in this "
            f"study and {studies}; the correction for the selection knows this study's "
            f"{counted(self.own_cells, 'cell')} only."
        ]
        if self.add_up:
            found.append(
                f"Looks add up: the lowest of {self.cells} cells is flattered about "
                f"{self.flattery:.1f} times as much as the lowest of {self.tried}. {_FRESH}"
            )
        return found


def looks(folders: Iterable[Path], own_cells: int, study: str, roots: Sequence[Path]) -> Looks:
    """Count the runs that were validated on the same photos as some run of a study.

    Args:
        folders: of the study's runs; the folds of a k-fold split have photos of their own.
        own_cells: among which the study chose.
        study: its name.
        roots: where studies are looked for, such as `runs` and `results`.
    """
    parts = {_validated(folder) for folder in folders} - {""}
    found: dict[str, RunResult] = {}
    studies, own = set(), set()
    for root in roots:
        for path in sorted(root.glob(f"*/*/{RESULT}")):
            if _validated(path.parent) not in parts:
                continue
            result = read_result(path.parent)
            if result is not None and result.state is RunState.finished:
                found[path.parent.name] = result
                studies.add(path.parent.parent.name)
                if path.parent.parent.name == study:
                    own.add(_cell(result))
    cells = {_cell(result) for result in found.values()}
    others = tuple(sorted(studies - {study}))
    tried = max(len(own), own_cells)
    return Looks(len(found), max(len(cells), tried), own_cells, tried, others)


def _validated(folder: Path) -> str:
    """Return a digest of the names of a run's validation photos; "" without predictions.

    Their content depends on the image size and their labels may have been moved for publishing, so
    neither says whether photos are the same.
    """
    path = folder / PREDICTIONS
    try:
        return _digest(path, path.stat().st_mtime_ns)
    except (OSError, UnicodeDecodeError, csv.Error):
        return ""


@lru_cache(maxsize=100_000)
def _digest(path: Path, changed_ns: int) -> str:  # a file that changed is read again
    with path.open(encoding="utf-8", newline="") as file:
        names = sorted(row["photo"] or "" for row in csv.DictReader(file) if "photo" in row)
    return hashlib.sha256("\n".join(names).encode()).hexdigest() if names else ""


def _cell(result: RunResult) -> str:
    """Return what the runs of a cell share."""
    identity = {k: v for k, v in result.identity.items() if k not in _NOT_OF_A_CELL}
    folded = result.split.kind.endswith("kfold")  # folds differ in how many photos train
    return json.dumps([identity, None if folded else result.data.n_train], sort_keys=True)


def _expected_largest(n: int) -> float:
    return float(stats.norm.ppf((n - 0.375) / (n + 0.25)))
