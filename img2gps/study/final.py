"""The final model of a study, for use outside it.

The rule, in this order:

1. Several best cells answer together by the study's rule: the average of all their runs.
2. The winning cell has several finished runs (seeds, folds) with weights: the average of them all.
   It takes no training, and averaging networks that differ by luck or by fold lowers the error.
3. It has one: that run.

Two other ways train the winner's settings once more, and only when they are asked for: on the folds
of a k-fold split, whose average has seen every photo while each photo is new to one member, and on
every photo at once (a refit).

The expected error never comes from photos that the model was fitted on. It is that of each photo
answered by the runs that did not learn from it. Where these photos also chose the winning cell,
the card says that they flatter it; with folds of its own, photos that chose are left out of the
figures. A refit keeps the figures of the runs that it replaces.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from img2gps import train
from img2gps.analysis.winner import FOLD_AXIS
from img2gps.analysis.wording import cell_name
from img2gps.config.compose import read_config
from img2gps.config.schema import Config, SplitKind
from img2gps.core.advice import with_runs
from img2gps.core.counted import counted
from img2gps.core.errors import BadInput
from img2gps.core.files import write_text_atomic
from img2gps.inference import held_out
from img2gps.inference.calibrate import calibrated
from img2gps.inference.deployed import Deployed, from_runs
from img2gps.inference.export import hub
from img2gps.inference.export.readme import model_card
from img2gps.inference.exported import write_exported
from img2gps.inference.find import FINAL, with_weights
from img2gps.inference.held_out import HeldOut
from img2gps.runs.folder import CONFIG, find_with_weights
from img2gps.runs.names import without_fold
from img2gps.runs.records import StudyRun, read_study
from img2gps.runs.states import RunState
from img2gps.runs.winner import Winner, read_winner

log = logging.getLogger(__name__)

REFIT_NOTE = (
    "It was fitted on every photo, so none is left to measure it on: the error is that of the runs "
    "which it replaces. It cannot tell photos from elsewhere, for the same reason."
)
BY_PLACE = (SplitKind.place, SplitKind.place_kfold)


def make_final(
    name: str, root: Path, *, refit: bool = False, folds: int = 0
) -> tuple[Deployed, Path]:
    """Write a study's final model into its folder; return the model and where it is.

    Args:
        name: a study whose winner is selected.
        root: the runs root.
        refit: train the winner's settings on every photo, once for each seed.
        folds: train them on so many folds, and average these.

    Raises:
        BadInput: no winner is selected, or none of its runs has weights.
    """
    winner = _selected(name, root)
    planned = _runs_of(winner, root)
    runs = _with_weights(planned, root)
    folders = [folder for _, folder in runs]
    errors = held_out.validation(folders, winner.candidates)
    title = f"{name}: {cell_name({k: v for k, v in winner.params.items() if k != FOLD_AXIS})}"
    if winner.cells:
        title += f" and {counted(len(winner.cells) - 1, 'cell')} more"
    if folds:
        first = {without_fold(run.cell): folder for run, folder in reversed(runs)}
        made = _of_folds(list(first.values()), title, errors, folds)
    elif refit:
        once = {(without_fold(run.cell), run.seed): folder for run, folder in runs}
        made = _refitted(list(once.values()), title, errors)
    else:
        made = calibrated(from_runs(folders, errors, title=title), errors)
        if missing := len(planned) - len(runs):
            made = _noted(made, f"{counted(missing, 'run')} of {len(planned)} had no weights and "
                          "did not become part of it.")  # fmt: skip
    folder = root / name / FINAL
    write_exported(made, folder)
    write_text_atomic(folder / "README.md", model_card(made.card, hub.READING))
    return made, folder


def _selected(name: str, root: Path) -> Winner:
    read_study(root, name)  # says which studies there are
    winner = read_winner(root / name)
    if winner is None:
        remedy = with_runs(f"img2gps select {shlex.quote(name)}", root)
        raise BadInput(f"{name}: no winner of this study has been selected; run: {remedy}")
    return winner


def _runs_of(winner: Winner, root: Path) -> list[StudyRun]:
    """Return all finished runs of the cells that answer, the deployed one first."""
    cells = winner.cells or [winner.cell]
    runs = [
        run
        for run in read_study(root, winner.study).runs
        if run.cell and without_fold(run.cell) in cells and run.state is RunState.finished
    ]
    return sorted(runs, key=lambda run: run.run_id != winner.run_id)


def _with_weights(runs: Sequence[StudyRun], root: Path) -> list[tuple[StudyRun, Path]]:
    """Return the runs that have weights, each with the folder that holds them."""
    folders = [find_with_weights(run.folder(root), [root]) for run in runs]
    found = [(r, folder) for r, folder in zip(runs, folders, strict=True) if folder is not None]
    if not found:
        if runs:
            with_weights(runs[0].folder(root), [root])  # raises, with the command that trains it
        raise BadInput("no run of the winning cell has weights; run the study on this machine")
    if len(found) < len(runs):
        log.warning("%d of %d runs have weights; the others are left out", len(found), len(runs))
    return found


def _refitted(folders: Sequence[Path], title: str, errors: HeldOut) -> Deployed:
    """Train the settings of each of these runs on every photo."""
    configs = [read_config(folder / CONFIG) for folder in folders]
    again = [train.run(_on_everything(config)).folder for config in configs]
    made = calibrated(from_runs(again, errors, title=title), errors, strangers=False)
    made = _noted(made, REFIT_NOTE)
    return replace(made, card=replace(made.card, kind="refit"))


def _noted(made: Deployed, note: str) -> Deployed:
    """Return the model with one more note on its card."""
    return replace(made, card=replace(made.card, notes=[*made.card.notes, note]))


def _on_everything(config: Config) -> Config:
    split = replace(config.split, kind=SplitKind.random, n_val=0, n_test=0, n_train=None)
    return replace(config, split=split, study=f"{config.study}_refit", baselines=False)


def _of_folds(folders: Sequence[Path], title: str, chosen_by: HeldOut, folds: int) -> Deployed:
    """Train the settings of each of these runs on the folds of its photos, and average all.

    Photos that chose the winning cell are left out of its figures.
    """
    configs = [read_config(folder / CONFIG) for folder in folders]
    each_fold = [_on_fold(config, fold, folds) for config in configs for fold in range(folds)]
    runs = [train.run(config).folder for config in each_fold]
    errors = held_out.validation(runs)
    if chosen_by.flattered:
        errors = errors.without(set(chosen_by.photos["content"]))
    return calibrated(from_runs(runs, errors, title=title), errors)


def _on_fold(config: Config, fold: int, folds: int) -> Config:
    kind = SplitKind.place_kfold if config.split.kind in BY_PLACE else SplitKind.kfold
    split = replace(config.split, kind=kind, fold=fold, folds=folds, n_train=None)
    return replace(config, split=split, study=f"{config.study}_folds", baselines=False)
