"""The paper pack: tables, a LaTeX command for every number, a methods paragraph, the commands.

Everything is generated from a study's files, so that no number is copied by hand. `write` is the
one place of the report's text files that touches the disk.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from img2gps.analysis import ranking as analysis
from img2gps.analysis.ranking import Analysis, Ranking, spoken
from img2gps.core.files import write_text_atomic
from img2gps.report import tables
from img2gps.report.table import Table, latex_text

PREFIX = "igps"
_DIGITS = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
_SIGNS = {".": "Point", "-": "Minus", "+": "Plus"}


def pack(study: Analysis) -> dict[str, str]:
    """All files of the pack by relative name; nothing is written.

    `tables/*.{md,tex,csv,html}`, `cells.csv`, `numbers.tex`, `methods.txt`, `methods.tex`,
    `commands.sh`, and `paper.tex`, which shows them all.
    """
    found = tables.study_tables(study)
    files = table_files(found)
    files["cells.csv"] = cells_csv(study)
    files["numbers.tex"] = newcommands(numbers(study))
    text = methods(study)
    files["methods.txt"] = text
    files["methods.tex"] = latex_text(text)
    files["commands.sh"] = commands(study)
    files["paper.tex"] = _paper(study, found)
    return files


def table_files(found: list[Table]) -> dict[str, str]:
    """Each table in its four forms."""
    files = {}
    for table in found:
        files[f"tables/{table.key}.md"] = table.markdown()
        files[f"tables/{table.key}.tex"] = table.latex()
        files[f"tables/{table.key}.csv"] = table.csv()
        files[f"tables/{table.key}.html"] = table.html()
    return files


def write(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """Write the files below `folder`, each atomically; their paths."""
    paths = []
    for name, text in files.items():
        path = folder / name
        write_text_atomic(path, text)
        paths.append(path)
    return paths


def cells_csv(study: Analysis) -> str:
    """Every ranked cell, one row each, with interval, standard errors and marks, for machines."""
    frames = [
        analysis.frame(ranking).assign(ranking=ranking.group.label) for ranking in study.rankings
    ]
    table = pd.concat(frames) if frames else pd.DataFrame(columns=["cell", "rmse_m"])
    return str(table.to_csv(index=False, lineterminator="\n"))


def numbers(study: Analysis) -> dict[str, str]:
    """Name to text of every number of the study; names are letters only, as LaTeX wants them.

    Metres with one decimal. A second ranking's names carry `RankingTwo` and so on.
    """
    counts = study.study.counts()
    found = {"Runs": str(len(study.study.runs)), "Cells": str(len(study.study.cells))}
    found |= {f"Runs{state.title()}": str(count) for state, count in counts.items()}
    epochs = pd.to_numeric(study.study.column("epochs"), errors="coerce")
    found["Epochs"] = str(int(epochs.fillna(0).sum()))
    for number, ranking in enumerate(study.rankings, 1):
        prefix = "" if number == 1 else f"Ranking{letters(str(number))}"
        found |= {prefix + name: text for name, text in _ranking_numbers(ranking).items()}
    return {name: text for name, text in found.items() if text != "nan"}


def _ranking_numbers(ranking: Ranking) -> dict[str, str]:
    winner, corrected = ranking.winner, ranking.corrected
    found = {
        "Seeds": str(winner.interval.n_seeds),
        "ValidationPhotos": str(winner.interval.n_photos),
        "ValidationSpots": str(winner.interval.n_spots),
        "WinnerChosenPercent": f"{100 * winner.win_share:.0f}",
        "Optimism": f"{corrected.optimism:.1f}",
        "BestSetCells": str(sum(cell.in_best_set is True for cell in ranking.cells)),
        "CellsNotShownToBeatMean": str(sum(cell.beats_mean is False for cell in ranking.cells)),
    }
    intervals = {
        "Winner": winner.interval,
        "Corrected": corrected.interval,
        "MeanPredictor": ranking.mean_predictor,
        "Test": ranking.test,
        "KnownSpots": ranking.known_spots,
        "NewSpots": ranking.new_spots,
    }
    for key, value in winner.params.items():
        found[f"Winner{letters(key)}"] = latex_text(str(value))
    for cell in ranking.cells:
        name = f"Cell{letters(cell.cell)}"
        while name in intervals:  # names that differ in other signs only
            name += "Again"
        intervals[name] = cell.interval
        found[f"{name}BestEpochRmse"] = f"{cell.best_rmse_m:.1f}"
    for name, interval in intervals.items():
        if interval is not None:
            found[f"{name}Rmse"] = f"{interval.estimate:.1f}"
            found[f"{name}Low"] = f"{interval.low:.1f}"
            found[f"{name}High"] = f"{interval.high:.1f}"
    found |= {f"{letters(k)}Rmse": f"{value:.1f}" for k, value in ranking.baselines.items()}
    if ranking.detectable is not None:
        found["SmallestDifference"] = f"{ranking.detectable.median_m:.1f}"
    if ranking.photos_for_pair is not None:
        found["PhotosNeeded"] = str(ranking.photos_for_pair)
    if ranking.truth is not None:
        found["TruthValidationRmse"] = f"{ranking.truth.validation_m:.1f}"
        found["TruthTestRmse"] = f"{ranking.truth.test_m:.1f}"
    for effect in ranking.importance:
        name = "".join(letters(axis) for axis in effect.axes) or "Seeds"
        found[f"Share{name}Percent"] = f"{100 * effect.share:.1f}"
    return found


def newcommands(found: Mapping[str, str]) -> str:
    r"""The numbers as LaTeX commands: `\igpsWinnerRmse` and so on.

    >>> newcommands({"WinnerRmse": "68.8"})
    '\\newcommand{\\igpsWinnerRmse}{68.8}\n'
    """
    return "".join(
        rf"\newcommand{{\{PREFIX}{name}}}{{{text}}}" + "\n" for name, text in found.items()
    )


def letters(text: str) -> str:
    """A text as one word of letters, digits spelled.

    >>> letters("lr=0.001")
    'LrZeroPointZeroZeroOne'
    """
    spelled = re.sub(r"\d", lambda digit: f" {_DIGITS[int(digit[0])]} ", text)
    spelled = re.sub(r"(?<= )[.+-](?= )", lambda sign: f" {_SIGNS[sign[0]]} ", spelled)
    words = re.findall(r"[A-Za-z]+", spelled)
    return "".join(word[0].upper() + word[1:] for word in words)


def methods(study: Analysis) -> str:
    """What was done and how it was judged, in one paragraph of plain text for each ranking."""
    if not study.rankings:
        return "No run has finished.\n"
    return "\n".join(_methods(study, ranking) for ranking in study.rankings)


def _methods(study: Analysis, ranking: Ranking) -> str:
    rows = ranking.group.runs
    value = partial(_values, rows)
    interval = ranking.winner.interval
    start = {
        "imagenet": "started from ImageNet weights",
        "file": "started from weights in a file",
    }.get(value("weights/resolved"), "trained from scratch")
    synthetic = " (synthetic)" if study.study.synthetic else ""
    axes = {k: v for k, v in study.study.axes.items() if k != analysis.FOLD_AXIS}
    intervals = study.study.facts.get("intervals") or {}
    tried = {k: (" to " if k in intervals else ", ").join(map(str, v)) for k, v in axes.items()}
    varied = "; ".join(f"{spoken(knob)}: {values}" for knob, values in tried.items())
    states = ", ".join(f"{count} {state}" for state, count in study.study.counts().items())
    share = value("split/leakage/known_spots", "{:.0%}")
    sentences = [
        f"Photos of the data set {value('data/name')}{synthetic} (fingerprint "
        f"{value('data/fingerprint')}) were squashed to {value('data/image_size')} pixels a side "
        f"and divided by a {value('split/kind')} split into {value('data/n_train')} training, "
        f"{value('data/n_val')} validation and {value('data/n_test')} test photos; {share} of the "
        "validation photos show a spot that training photos show too.",
        f"Models ({value('model')}), {start}, predict latitude and longitude and minimise the mean "
        f"squared error of the scaled coordinates with {value('optimizer')} (learning rate "
        f"{value('lr')}, schedule {value('scheduler')}, batch size {value('batch_size')}) for "
        f"{value('max_epochs')} epochs in {value('precision')} precision; every figure is that "
        "after the final epoch.",
        f"The study varied {varied or 'nothing'}, with {len(study.study.facts.get('seeds', []))} "
        f"seeds: {len(study.study.runs)} runs ({states}).",
        "The RMSE of a cell is the mean over its seeds.",
        f"Intervals (95 %) resample the {interval.n_spots} spots at which the {interval.n_photos} "
        "validation photos were taken (bootstrap-t on the log scale; Efron and Tibshirani 1993) "
        "and add the variance between seeds (Cameron, Gelbach and Miller 2011).",
        "Cells not distinguishable from the lowest form a model confidence set (Hansen, Lunde and "
        "Nason 2011); cells are compared with the predictor that always answers the mean training "
        "position by a step-down max-T test (Romano and Wolf 2005); both are paired by photo and "
        "joint over all cells.",
        "The winner's figure is corrected for having been selected by repeating the selection on "
        f"{analysis.resamples(len(ranking.cells))} resamples of the spots and scoring it on the "
        "spots left out (BBC-CV; Tsamardinos, Greasidou and Borboudakis 2018).",
        f"Code: img2gps {value('code/version')}, commit {value('code/commit')}; Python "
        f"{value('versions/python')}, PyTorch {value('versions/torch')}, {value('hardware/cpu')}, "
        f"{value('threads')} threads.",
        *(f"{note.rstrip('.')}." for note in ranking.notes),
    ]
    return " ".join(sentences) + "\n"


def _values(rows: pd.DataFrame, column: str, form: str = "{}") -> str:
    """The different values of a column in words; "unknown" where there are none."""
    if column not in rows:
        return "unknown"
    seen: dict[str, None] = {}
    for value in rows[column].dropna():
        whole = isinstance(value, float | np.floating) and float(value).is_integer()
        seen[form.format(int(value) if whole and form == "{}" else value)] = None
    found = [text for text in seen if text]
    return ", ".join(found) if found else "unknown"


def commands(study: Analysis) -> str:
    """A shell script that repeats the study, its winner alone, and its report."""
    facts = study.study.facts
    name = shlex.quote(study.study.name)
    lines = ["#!/bin/sh", "set -e"]
    if study.rankings:
        rows = study.rankings[0].group.runs
        commits = _values(rows, "code/commit")
        lines += [f"# code {_values(rows, 'code/version')}, commit {commits}"]
        lines += [f"# data fingerprint {_values(rows, 'data/fingerprint')}"]
    command = str(facts.get("command") or "")
    if command:
        lines += ["", "# the study; the same command again goes on where it stopped", command]
        if study.rankings and study.study.enumerated:
            winner = study.rankings[0].winner
            chosen = shlex.join(f"{key}={value}" for key, value in winner.params.items())
            lines += ["", "# its winner alone", f"# {command} {chosen}"]
        lines += ["", f"img2gps select {name}"]
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
