"""`img2gps select STUDY`: freeze the winner by the study's rule, look at the test part once."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HELP = "freeze a study's winner by its rule; evaluate it on the test part once"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`select STUDY [--where KNOB=VALUE ...] [--again] [--look]`."""
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
    parser.add_argument("--root", type=Path, default=Path("runs"), help="default: runs")
    parser.add_argument(
        "--again", action="store_true", help="select anew, although a winner is frozen"
    )
    parser.add_argument(
        "--look", action="store_true", help="look at the test part once more; every look is counted"
    )


def execute(args: argparse.Namespace) -> int:
    """Write winner.json (or read it, if it is there) and say what it holds."""
    from img2gps.core.errors import BadInput
    from img2gps.core.files import read_json, write_json
    from img2gps.runs import study_record as record
    from img2gps.runs.folder import WINNER
    from img2gps.study import selection

    if args.hidden < 0 or args.hidden % 2:
        raise BadInput(f"--hidden {args.hidden}: give an even number, such as 2000")
    study = record.read(args.root, args.study)
    path = args.root / args.study / WINNER
    frozen = read_json(path)
    winner = frozen
    if winner is None or args.again:
        winner = selection.select(study, args.root, before=frozen, where=_where(args.where))
        write_json(path, winner)
    elif args.where and _where(args.where) != winner.get("where", {}):
        raise BadInput(
            f"--where: {path} holds the winner that was frozen before; --again selects anew, which "
            "is counted"
        )
    if args.hidden or (winner["n_test"] and (not winner["test_looks"] or args.look)):
        winner = _look(args.root, winner, path, args.hidden)
    for line in _lines(winner, frozen is not None and not args.again):
        print(line)
    if frozen is not None and not args.again:
        _note(study, args.root, frozen)
    return 0


def _note(study: Mapping[str, Any], root: Path, frozen: Mapping[str, Any]) -> None:
    """Say what the rule would select by now, if that is another cell."""
    from img2gps.core.errors import BadInput
    from img2gps.runs.folder import without_fold
    from img2gps.study import selection

    try:
        now = selection.select(study, root, before=frozen, where=frozen.get("where", {}))
    except BadInput as error:  # such as a winner that was frozen over several splits
        print(f"note: its rule would select none now: {error}")
        return
    if now["cell"] != without_fold(frozen["cell"]):
        print(
            f"note: the study has gone on, and its rule would now select {now['cell']} "
            f"({now['value']:.2f}); --again freezes that, which is a second selection"
        )


def _where(words: Sequence[str]) -> dict[str, str]:
    from img2gps.analysis.contrast import choice

    return dict(choice(words))


def _look(root: Path, winner: dict[str, Any], path: Path, hidden: int) -> dict[str, Any]:
    """Count the look before the first photo, so that an interrupted one counts too."""
    from img2gps.core.files import write_json
    from img2gps.inference import evaluate as evaluation
    from img2gps.runs import study_record as record

    looked = {**winner, "test_looks": winner["test_looks"] + 1}
    figures = evaluation.evaluate_test(
        record.run_folder(root, winner), hidden, lambda: write_json(path, looked)
    )
    looked |= {"test": figures, "n_test": figures["n_test"]}
    write_json(path, looked)
    return looked


def _lines(winner: Mapping[str, Any], was_frozen: bool) -> list[str]:
    """What the winner is, how it was selected, and what it may not be taken for."""
    from img2gps.study import display

    monitor = winner["by"]
    seeds = ", ".join(str(seed) for seed in winner["seeds"])
    folds = winner.get("folds", 0)
    over = f"seeds {seeds}" + (f", all {folds} folds together" if folds else "")
    one = f"the cell's first seed ({winner['seed']})" + (" and fold" if folds else "")
    many = winner["candidates"] > 1
    among = f"selected out of {winner['candidates']} cells, which flatters it"
    lines = [
        f"{winner['study']}: {winner['cell']}" + (" (frozen before)" if was_frozen else ""),
        f"  {monitor} {display.metres(winner['value'], monitor)}: {winner['aggregate']} over "
        f"{over}, after the final epoch; {among if many else 'the only cell that can win'}",
        f"  deployed: {winner['path']}, {one}, {display.metres(winner['run_value'], monitor)}",
    ]
    if winner["mean_predictor"] is not None and monitor == "val/rmse_m":
        lines.append(f"  the mean predictor gets {display.metres(winner['mean_predictor'])}")
    if len(winner["weights"]) > 1:
        lines.append(
            f"  cells that start from {' and from '.join(winner['weights'])} were compared"
        )
    if winner["left_out"]:
        lines.append(f"  {winner['left_out']} cells lack a finished seed and did not take part")
    if winner["test"]:
        figures = ", ".join(
            f"{key} {value:.2f}"
            for key, value in winner["test"].items()
            if isinstance(value, float)
        )
        lines.append(f"  test part ({winner['n_test']} photos): {figures}")
    if winner["test_looks"] > 1:
        lines.append(
            f"  the test part has been looked at {winner['test_looks']} times: its figures are "
            "optimistic by now"
        )
    return lines
