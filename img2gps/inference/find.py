"""Find the model that a user means: an exported folder, a run, a study's winner or its final."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from img2gps.analysis.winner import complete_cells
from img2gps.config.compose import read_config
from img2gps.config.overrides import training_command
from img2gps.core.advice import with_runs
from img2gps.core.errors import BadInput
from img2gps.core.paths import expanded, package_folder
from img2gps.runs.folder import (
    CHECKPOINT,
    CONFIG,
    WINNER,
    find_with_weights,
    has_weights,
    list_folders,
    resolve_folder,
)
from img2gps.runs.records import RESULT, STUDY, read_result, read_study_file, study_names
from img2gps.runs.states import RunState
from img2gps.runs.winner import read_winner

log = logging.getLogger(__name__)

MODEL = "model.json"  # of an exported folder
MADE_BY = "exported by img2gps"  # in the README.md of every exported folder
FINAL = "final"  # the folder of a study that `img2gps final` writes
PACKAGED = "quad"  # a small model of the built-in quad that comes with the package


@dataclass(frozen=True)
class Found:
    """A model that was found.

    Attributes:
        folder: an exported folder, or a run folder with weights.
        exported: which of the two it is.
        title: what to call it; empty where the run says it.
        ranked_cells: how many cells were compared before it was chosen.
        others: folders of runs whose answers are averaged with those of `folder`.
        runs_below: the runs root that has the runs of a study's final model.
    """

    folder: Path
    exported: bool = False
    title: str = ""
    ranked_cells: int = 1
    others: tuple[Path, ...] = ()
    runs_below: Path | None = None


def find(name: str, roots: Sequence[Path]) -> Found:
    """Find the model that a path, a run id or a study names.

    Raises:
        BadInput: there is none, its study has no frozen winner, or it was published without its
            weights; the message has the command that helps.
    """
    given = expanded(name, "run")
    if (given / MODEL).is_file():
        return Found(given, exported=True)
    for root in roots:
        if final := _final_of(root / name):
            return Found(final, exported=True, runs_below=root)
    if study := next((root / name for root in roots if (root / name / WINNER).is_file()), None):
        winner = read_winner(study)
        assert winner is not None
        if (study / FINAL / MODEL).is_file():
            log.warning(
                "%s was made of an earlier selection, so the winner answers; img2gps final %s "
                "makes it anew",
                study / FINAL,
                shlex.quote(name),
            )
        folder = with_weights(study.parent / winner.path, roots)
        others = tuple(with_weights(study.parent / path, roots) for path in winner.average[1:])
        return Found(folder, False, f"{name}: the winner", winner.candidates, others)
    unselected = [root / name for root in roots if (root / name / STUDY).is_file()]
    if unselected and not (given / CONFIG).is_file():
        remedy = with_runs(f"img2gps select {shlex.quote(name)}", unselected[0].parent)
        raise BadInput(f"{name}: no winner of this study has been selected; run: {remedy}")
    if name == PACKAGED and not (given / CONFIG).is_file():
        return Found(package_folder("models") / PACKAGED, exported=True)
    card = given / "README.md"
    if card.is_file() and MADE_BY in card.read_text(encoding="utf-8", errors="replace"):
        raise BadInput(
            f"{name}: an export in a format that img2gps does not read back; export the model "
            "again with --format hub, or name its run or study"
        )
    folder = with_weights(resolve_folder(name, roots), roots)
    return Found(folder, ranked_cells=_cells_of(folder.parent))


def with_weights(folder: Path, roots: Sequence[Path]) -> Path:
    """Return the folder of this run that has weights: this one, or the same run elsewhere.

    Raises:
        BadInput: the run is finished, but its weights are nowhere.
    """
    if found := find_with_weights(folder, roots):
        return found
    result = read_result(folder)
    if result is None or result.state != RunState.finished:
        return folder  # loading it says what is wrong
    command = training_command(read_config(folder / CONFIG))
    raise BadInput(
        f"{folder}: has no weights; it was published without them, or {CHECKPOINT} was deleted "
        f"(then add force=true); train it here with: {command}"
    )


def run_folders(runs: Sequence[str], root: Path | None) -> tuple[Path, ...]:
    """Return the folders of these runs below a runs root; none where one is missing."""
    if root is None:
        return ()
    found = [find_with_weights(root / "any" / run, [root]) for run in runs]
    return tuple(path for path in found if path is not None) if all(found) else ()


def selected(roots: Sequence[Path]) -> list[str]:
    """Return the studies whose winner can answer, the one that changed last first."""
    found: dict[str, float] = {}
    for root in roots:
        for name in study_names(root):
            if name not in found and _can_answer(root / name, roots):
                found[name] = (root / name / STUDY).stat().st_mtime
    return sorted(found, key=lambda name: -found[name])


def newest(roots: Sequence[Path]) -> str:
    """Return what to use where nothing is named: the newest winner, run, or the packaged model.

    A run counts where there is no study, and the packaged model where there is no run either.

    Raises:
        BadInput: there are studies, but none has a winner with weights.
    """
    if found := selected(roots):
        return found[0]
    unselected = study_names(roots[0])  # published studies have no weights to choose from
    where = ", ".join(str(root) for root in roots)
    if unselected:
        raise BadInput(
            f"--run: no study below {where} has a winner with weights; choose one first, such as: "
            + with_runs(f"img2gps select {shlex.quote(unselected[0])}", roots[0])
        )
    run = _newest_run(roots[0])
    return PACKAGED if run is None else str(run)


def _final_of(study: Path) -> Path | None:
    """Return a study's final model; None without one, or if a winner was selected since."""
    model = study / FINAL / MODEL
    if not model.is_file():
        return None
    winner = read_winner(study)
    if winner is None or not winner.frozen_at:
        return model.parent
    if model.stat().st_mtime >= datetime.fromisoformat(winner.frozen_at).timestamp():
        return model.parent
    return None


def _newest_run(root: Path) -> Path | None:
    """Return the run with weights that finished last."""
    results = [folder / RESULT for folder in list_folders(root) if has_weights(folder)]
    written = {path.parent: path.stat().st_mtime for path in results if path.is_file()}
    for folder in sorted(written, key=lambda folder: -written[folder]):
        result = read_result(folder)
        if result is not None and result.state is RunState.finished:
            return folder
    return None


def _can_answer(study: Path, roots: Sequence[Path]) -> bool:
    if _final_of(study):
        return True
    winner = read_winner(study)
    if winner is None:
        return False
    return find_with_weights(study.parent / winner.path, roots) is not None


def _cells_of(study: Path) -> int:
    """Return how many finished cells of its study a run was compared with."""
    path = study / STUDY
    return max(1, len(complete_cells(read_study_file(path).runs))) if path.is_file() else 1
