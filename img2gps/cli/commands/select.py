"""`img2gps select STUDY`: freeze the winner by the study's rule, look at the test part once."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from img2gps.cli.options import add_runs_option
from img2gps.cli.suggest import suggest
from img2gps.core.errors import BadInput
from img2gps.runs.folder import PREDICTIONS_TEST, WINNER
from img2gps.runs.names import without_fold
from img2gps.runs.records import PRETRAINED, StudyRecord, read_study
from img2gps.runs.winner import Winner, read_winner, write_winner

if TYPE_CHECKING:
    from img2gps.analysis.looks import Looks
    from img2gps.study.selection import Asked

HELP = "freeze a study's winner by its rule; evaluate it on the test part once"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`select STUDY [--prefer AIM] [--where KNOB=VALUE ...] [--top K] [--again] [--look]`."""
    parser.add_argument("study", help="name of a study below the runs root")
    parser.add_argument(
        "--hidden",
        type=int,
        default=0,
        metavar="N",
        help="built-in quad: score the winner on N photos made now (2000 is plenty), half of "
        "known and half of new spots; counts as a look at the test part",
    )
    parser.add_argument(
        "--where",
        nargs="+",
        metavar="KNOB=VALUE",
        default=[],
        help="among these cells only, such as split=kfold of a study of several splits",
    )
    parser.add_argument(
        "--prefer",
        metavar="AIM",
        default="",
        help="of a study with several aims: among the cells that no other cell beats in all of "
        "them, take the one that is best in this aim, such as cost/seconds",
    )
    parser.add_argument(
        "--average",
        action="store_true",
        help="answer with the average of all runs of the winning cell, not with its first seed's",
    )
    parser.add_argument(
        "--top",
        type=int,
        default=0,
        metavar="K",
        help="answer with the average of all runs of the K best cells; a study says it beforehand "
        "with +hydra.sweeper.select.top=K",
    )
    add_runs_option(parser)
    parser.add_argument(
        "--again", action="store_true", help="select anew, although a winner is frozen"
    )
    parser.add_argument(
        "--look", action="store_true", help="look at the test part once more; every look is counted"
    )


def execute(args: argparse.Namespace) -> int:
    """Freeze the winner unless that was done before, and print it."""
    from img2gps.analysis.choices import read_choice
    from img2gps.runs.fetching import send
    from img2gps.study.selection import Asked, select
    from img2gps.tracking.mlflow.study import register_winner

    if args.hidden < 0 or args.hidden % 2:
        raise BadInput(f"--hidden {args.hidden}: give an even number, such as 2000")
    if args.top < 0:
        raise BadInput(f"--top {args.top}: give the number of cells to average, such as 3")
    study, where = read_study(args.root, args.study), dict(read_choice(args.where))
    folder = args.root / args.study
    before = read_winner(folder)
    frozen, registered = None if args.again else before, ""
    asked = Asked(where, args.prefer, args.average, args.top)
    if frozen is not None:
        _check_asked(asked, frozen, folder)
    winner = frozen or select(study, args.root, before, asked)
    seen = _seen(study, args.root, winner)
    if frozen is None:
        winner = replace(winner, val_runs=seen.runs, val_cells=seen.cells)
        write_winner(folder, winner)
        registered = register_winner(folder, winner)
    if args.hidden or (winner.n_test and (not winner.test_looks or args.look)):
        winner = _look(args.root, winner, folder, args.hidden)
    send(args.root, [path for path in _written(args.study, winner) if (args.root / path).is_file()])
    unconfirmed = [f"note: {line}" for line in (study.standing.lines() if study.standing else [])]
    notes = [*unconfirmed, *_notes(study, args.root, frozen), *_about_average(study, winner)]
    counted = [f"  {line}" for line in seen.lines()]
    for line in [*_lines(winner, frozen is not None), *counted, *notes]:
        print(line)
    if registered:
        print(f"  registered with MLflow: {registered}")
    run = shlex.quote(args.study)
    suggest(f"img2gps predict PHOTO.jpg --run {run}", "where a photo was taken", args.root)
    return 0


def _check_asked(asked: Asked, frozen: Winner, study: Path) -> None:
    """Refuse to answer with a frozen winner that is another one than was asked for."""
    other = {
        "--where": asked.where and dict(asked.where) != frozen.where,
        "--prefer": asked.prefer and asked.prefer != frozen.prefer,
        "--average": asked.average and not frozen.average,
        "--top": asked.top and asked.top != frozen.top,
    }
    for option in (name for name, differs in other.items() if differs):
        held = "one run, which" if option == "--average" else "the winner that"
        raise BadInput(
            f"{option}: {study / WINNER} holds {held} was frozen before; --again selects anew, "
            "which is counted"
        )


def _written(study: str, winner: Winner) -> list[str]:
    """Return the files that selecting and looking at the test part may have written."""
    return [f"{study}/{WINNER}", f"{winner.path}/{PREDICTIONS_TEST}"]


def _seen(study: StudyRecord, root: Path, winner: Winner) -> Looks:
    """Count the runs of all studies that were validated on the winner's photos."""
    from img2gps.analysis.looks import looks

    cell = without_fold(winner.cell)
    own = [run.folder(root) for run in study.runs if without_fold(run.cell) == cell]
    return looks(own, winner.candidates, study.study, [root, Path("results")])


def _look(root: Path, winner: Winner, study: Path, hidden: int) -> Winner:
    """Score the winner on the test part. An interrupted look counts, too."""
    from img2gps.inference.evaluate import evaluate_test

    looked = replace(winner, test_looks=winner.test_looks + 1)
    others = [root / path for path in winner.average[1:]]
    figures = evaluate_test(root / winner.path, hidden, lambda: write_winner(study, looked), others)
    looked = replace(looked, test=figures, n_test=figures["n_test"])
    write_winner(study, looked)
    return looked


def _notes(study: StudyRecord, root: Path, frozen: Winner | None) -> list[str]:
    """Return what the rule would select now, where that is not the frozen winner."""
    from img2gps.study.selection import Asked, select

    if frozen is None:
        return []
    try:
        now = select(study, root, frozen, Asked(frozen.where, frozen.prefer))
    except BadInput as error:  # such as a winner that was frozen over several splits
        return [f"note: the rule would select no winner now: {error}"]
    if now.cell == without_fold(frozen.cell):
        return []
    return [
        f"note: the study has gone on, and its rule would now select {now.cell} "
        f"({now.value:.2f}); --again freezes that cell, which is a second selection"
    ]


def _about_average(study: StudyRecord, winner: Winner) -> list[str]:
    """Say where the number of cells that answer was not the rule's, or averaging does not pay."""
    notes = []
    if winner.top not in (1, study.select.get("top", 1)):
        notes.append(
            f"note: the study's rule does not say to average {winner.top} cells; a number that was "
            "picked after several were tried flatters the figures above"
        )
    together = winner.average_rmse_m if winner.cells and winner.by == "val/rmse_m" else None
    if together is not None and together > winner.value:
        notes.append(
            "note: the average does worse than the winning cell's own runs do; --again --top 1 "
            "selects that cell alone"
        )
    return notes


def _figure(winner: Winner) -> str:
    """Return the deployed run's own figure, named where its unit does not say what it is."""
    from img2gps.study import display

    figure = display.metres(winner.run_value, winner.by)
    return figure if winner.by.endswith("_m") else f"{winner.by} {figure}"


def _lines(winner: Winner, was_frozen: bool) -> list[str]:
    """Describe the winner, how it was selected, and why its figure is optimistic."""
    from img2gps.study import display

    seeds = ", ".join(str(seed) for seed in winner.seeds)
    over = f"{'seeds' if len(winner.seeds) > 1 else 'seed'} {seeds}" + (
        f", all {winner.folds} folds together" if winner.folds else ""
    )
    one = f"the cell's first seed ({winner.seed})" + (" and fold" if winner.folds else "")
    among = f"selected out of {winner.candidates} cells, which flatters it"
    lines = [
        f"{winner.study}: {winner.cell}"
        + (" (frozen before; --again selects anew)" if was_frozen else ""),
        f"  {winner.by} {display.metres(winner.value, winner.by)}: {winner.aggregate} over {over}, "
        f"after the final epoch; {among if winner.candidates > 1 else 'the only complete cell'}",
        f"  deployed: {winner.path}, {one}, {_figure(winner)}",
    ]
    lines[2:2] = _front(winner)
    if winner.average_rmse_m is not None:
        lines[-1:] = _average(winner)
    if winner.mean_predictor is not None and winner.by == "val/rmse_m":
        lines.append(f"  the mean predictor gets {display.metres(winner.mean_predictor)}")
    if len({start in PRETRAINED for start in winner.weights}) > 1:
        lines.append("  pretrained cells and cells from scratch were compared")
    if winner.left_out:
        lack = "cell lacks" if winner.left_out == 1 else "cells lack"
        lines.append(f"  {winner.left_out} {lack} a finished seed and did not take part")
    if winner.test:
        floats = {key: value for key, value in winner.test.items() if isinstance(value, float)}
        figures = ", ".join(f"{key} {value:.2f}" for key, value in floats.items())
        lines.append(f"  test part ({winner.n_test} photos): {figures}")
    if winner.test_looks > 1:
        lines.append(
            f"  the test part has been used {winner.test_looks} times, so it is no longer a clean "
            "test set and its figures are optimistic"
        )
    return lines


def _average(winner: Winner) -> list[str]:
    """Say which runs answer together, how well, and what to expect of them."""
    from img2gps.study import display

    runs = f"its {len(winner.average)} runs"
    if winner.cells:
        runs = f"all {len(winner.average)} runs of the {len(winner.cells)} best cells"
    lines = [
        f"  deployed: the average of {runs}, {display.metres(winner.average_rmse_m)} RMSE on "
        "photos that they did not learn from"
    ]
    lines += [f"    {cell}" for cell in winner.cells]
    if winner.average_expected_m is not None:
        lines.append(
            f"  corrected for having been selected on these photos: expect "
            f"{display.metres(winner.average_expected_m)}"
        )
    return lines


def _front(winner: Winner) -> list[str]:
    """Say why the winner was taken from the front, and what the other cells of the front offer."""
    from img2gps.study import display

    if not winner.front:
        return []
    why = f"best in {winner.by}, as --prefer asks" if winner.prefer else "by the study's rule"
    count = len(winner.front)
    lines = [f"  chosen {why}, from {count} cells that no other cell beats in all aims:"]
    for point in winner.front:
        figures = {aim: value for aim, value in point.items() if aim != "cell"}
        mark = " <- chosen" if point["cell"] == without_fold(winner.cell) else ""
        lines.append(f"    {point['cell']}: {display.figures_line(figures)}{mark}")
    return lines
