"""The paper pack: tables, LaTeX commands for the numbers, a methods paragraph, the commands.

Everything is generated from a study's files, so that no number is copied by hand.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from img2gps.analysis.overview import Analysis
from img2gps.analysis.ranking import Ranking
from img2gps.analysis.winner import RMSE
from img2gps.core.files import write_text_atomic
from img2gps.core.paths import RUNS_VARIABLE
from img2gps.report import tables
from img2gps.report.methods import methods, values_of
from img2gps.report.steps import with_override
from img2gps.report.table import Table, latex_text

PREFIX = "igps"
_DIGITS = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")


def pack(study: Analysis) -> dict[str, str]:
    """Return all files of the pack by relative name; nothing is written.

    These are `tables/*.{md,tex,csv,html}`, `cells.csv`, `numbers.tex`, `methods.txt`,
    `methods.tex`, `commands.sh`, and `paper.tex`, which shows them all.
    """
    found, text = tables.study_tables(study), methods(study)
    return {
        **table_files(found),
        "cells.csv": cells_csv(study),
        "numbers.tex": newcommands(numbers(study)),
        "methods.txt": text,
        "methods.tex": latex_text(text),
        "commands.sh": commands(study),
        "paper.tex": _paper(study, found),
    }


def table_files(found: list[Table]) -> dict[str, str]:
    """Return each table in its four forms."""
    files = {}
    for table in found:
        files[f"tables/{table.key}.md"] = table.markdown()
        files[f"tables/{table.key}.tex"] = table.latex()
        files[f"tables/{table.key}.csv"] = table.csv()
        files[f"tables/{table.key}.html"] = table.html()
    return files


def write(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """Write the files below `folder`, each whole or not at all, and return their paths."""
    for name, text in files.items():
        write_text_atomic(folder / name, text)
    return [folder / name for name in files]


def cells_csv(study: Analysis) -> str:
    """Return every ranked cell, one row each, with interval, standard errors and marks."""
    frames = [ranking.frame().assign(ranking=ranking.group.label) for ranking in study.rankings]
    table = pd.concat(frames) if frames else pd.DataFrame(columns=["cell", "rmse_m"])
    return str(table.to_csv(index=False, lineterminator="\n"))


def numbers(study: Analysis) -> dict[str, str]:
    """Return the study's numbers by name; names are letters only, as LaTeX wants them.

    Metres have one decimal. The names of a second ranking begin with `RankingTwo`, those of a tenth
    with `RankingOneZero`.
    `cells.csv` has the figures of every cell.
    """
    counts = study.study.counts()
    found = {"Runs": str(len(study.study.runs)), "Cells": str(len(study.study.cells))}
    found |= {f"Runs{state.title()}": str(count) for state, count in counts.items()}
    epochs = pd.to_numeric(study.study.column("epochs"), errors="coerce")
    found["Epochs"] = str(int(epochs.fillna(0).sum()))
    confirmation = study.study.record.confirmation
    if confirmation is not None and study.study.record.monitor == RMSE:
        found["SearchRmse"] = f"{confirmation.best:.1f}"
    for place, ranking in enumerate(study.rankings, start=1):
        prefix = "" if place == 1 else f"Ranking{''.join(_DIGITS[int(d)] for d in str(place))}"
        found |= {prefix + name: text for name, text in _of_ranking(ranking).items()}
    return {name: text for name, text in found.items() if text != "nan"}


def _of_ranking(ranking: Ranking) -> dict[str, str]:
    winner, expected = ranking.winner, ranking.expected
    found = {
        "Seeds": str(winner.interval.n_seeds),
        "ValidationPhotos": str(winner.interval.n_photos),
        "ValidationSpots": str(winner.interval.n_spots),
        # with one candidate nothing was selected
        **({"Optimism": f"{ranking.corrected.optimism:.1f}"} if ranking.candidates > 1 else {}),
        "WinnerBestEpochRmse": f"{winner.best_rmse_m:.1f}",
    }
    in_best_set = [cell.in_best_set for cell in ranking.cells]
    beats_mean = [cell.beats_mean for cell in ranking.cells]
    if expected is not None:  # otherwise nothing was selected or resampled
        found["WinnerChosenPercent"] = f"{100 * winner.win_share:.0f}"
    if any(mark is not None for mark in in_best_set):  # otherwise nothing was tested
        found["BestSetCells"] = str(in_best_set.count(True))
    if any(mark is not None for mark in beats_mean):
        found["CellsNotShownToBeatMean"] = str(beats_mean.count(False))
    found |= {f"Winner{_letters(k)}": latex_text(str(v)) for k, v in winner.params.items()}
    intervals = {
        "Winner": winner.interval,
        "Corrected": expected,
        "MeanPredictor": ranking.mean_predictor,
        "Test": ranking.test,
        "KnownSpots": ranking.known_spots,
        "NewSpots": ranking.new_spots,
        **{f"Test{name.title()}Spots": found for name, found in ranking.test_by_spots.items()},
    }
    for name, interval in intervals.items():
        if interval is not None:
            found[f"{name}Rmse"] = f"{interval.estimate:.1f}"
            found[f"{name}Low"] = f"{interval.low:.1f}"
            found[f"{name}High"] = f"{interval.high:.1f}"
    found |= {
        f"{_letters(b.name)}Rmse": f"{b.rmse_m:.1f}" for b in ranking.rivals if b.name != "mean"
    }
    if np.isfinite(ranking.radius.radius_m):
        found["RadiusMetres"] = f"{ranking.radius.radius_m:.1f}"
    for name, inside in ranking.radius.held.items():
        found[f"{_letters(name)}Covered"] = f"{100 * inside.share:.1f}"
    if ranking.detectable is not None:
        found["SmallestDifference"] = f"{ranking.detectable.median_m:.1f}"
    if ranking.photos_for_pair is not None:
        found["PhotosNeeded"] = str(ranking.photos_for_pair)
    if ranking.truth is not None:
        found["TruthValidationRmse"] = f"{ranking.truth.validation_m:.1f}"
        found["TruthTestRmse"] = f"{ranking.truth.test_m:.1f}"
    for effect in ranking.importance:
        name = "".join(map(_letters, effect.axes)) or "Seeds"
        found[f"Share{name}Percent"] = f"{100 * effect.share:.1f}"
    return found


def newcommands(found: Mapping[str, str]) -> str:
    r"""Return the numbers as LaTeX commands: `\igpsWinnerRmse` and so on.

    >>> newcommands({"WinnerRmse": "68.8"})
    '\\newcommand{\\igpsWinnerRmse}{68.8}\n'
    """
    return "".join(
        rf"\newcommand{{\{PREFIX}{name}}}{{{text}}}" + "\n" for name, text in found.items()
    )


def _letters(knob: str) -> str:
    """Return a knob's key as one word of letters: `BatchSize` for `batch_size`."""
    return "".join(word.capitalize() for word in re.findall(r"[A-Za-z]+", knob))


def commands(study: Analysis) -> str:
    """Return a shell script that repeats the study, its winner alone, and its report."""
    name = shlex.quote(study.study.name)
    lines = ["#!/bin/sh", "set -e"]
    root = str(study.study.folder.parent)
    if root not in ("runs", "results"):  # the folders in which every command looks
        lines += [f"export {RUNS_VARIABLE}={shlex.quote(root)}"]
    if study.rankings:
        rows = study.rankings[0].group.runs
        commits = values_of(rows, "code/commit")
        lines += [f"# code {values_of(rows, 'code/version')}, commit {commits}"]
        lines += [f"# data fingerprint {values_of(rows, 'data/fingerprint')}"]
    command = study.study.record.command
    if command:
        lines += ["", "# the study; the same command again goes on where it stopped", command]
        if study.rankings and study.study.enumerated:
            winner = study.rankings[0].winner
            alone = command
            for key, value in winner.params.items():
                alone = with_override(alone, key, value)
            lines += ["", "# its winner alone", f"# {alone}"]
        lines += ["", f"img2gps select {name}"] if len(study.rankings) == 1 else []
    else:
        lines += ["", "# single runs, each by its own command; see config.yaml in:"]
        folders = study.study.runs["folder"]
        lines += [f"# {Path(folder).parent.name}/{Path(folder).name}" for folder in folders]
    lines += ["", "# this report", f"img2gps report {name}"]
    return "\n".join(lines) + "\n"


def _paper(study: Analysis, found: list[Table]) -> str:
    inputs = "\n".join(rf"\input{{tables/{table.key}.tex}}" for table in found)
    return rf"""% Shows everything in this folder: pdflatex paper.tex
\documentclass{{article}}
\usepackage[a4paper,margin=2cm,landscape]{{geometry}}
\usepackage[T1]{{fontenc}}
\usepackage{{booktabs}}
\input{{numbers.tex}}
\begin{{document}}
\section*{{{latex_text(study.study.name)}}}
\input{{methods.tex}}
{inputs}
\end{{document}}
"""
