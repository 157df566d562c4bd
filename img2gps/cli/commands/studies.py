"""`img2gps studies`: what studies there are, how one stands, and second chances for its runs."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from img2gps.core.errors import BadInput
from img2gps.runs.folder import WINNER

HELP = "list studies; show one, retry its failed runs, forget it"
WATCH_S = 2.0
STORAGE_VARIABLE = "IMG2GPS_LEDGER"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`studies`, `studies show NAME`, `studies retry NAME [RUN...]`, `studies forget NAME ...`."""
    parser.add_argument("--root", type=Path, default=Path("runs"), help="default: runs")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    show = actions.add_parser("show", help="every run of a study: state, value, seconds, reason")
    show.add_argument("name")
    show.add_argument("--watch", action="store_true", help="again and again until it is done")
    retry = actions.add_parser("retry", help="enqueue failed runs again, their attempts forgotten")
    forget = actions.add_parser(
        "forget", help="take runs, or the whole study, out of the ledger; run folders stay"
    )
    for parser_ in (retry, forget):
        parser_.add_argument("name")
        parser_.add_argument("run", nargs="*", help="(start of) a run id, or a cell; default: all")
        parser_.add_argument(
            "--storage",
            help=f"the ledger's URL, if it is not a journal file; or {STORAGE_VARIABLE}",
        )
    for parser_ in (show, retry, forget):  # after the action too
        parser_.add_argument("--root", type=Path, default=argparse.SUPPRESS, help="default: runs")
    forget.add_argument("--yes", action="store_true", help="do not ask before a whole study")


def execute(args: argparse.Namespace) -> int:
    """Run the action; 0, or 1 where a watched or shown study has failed runs."""
    match args.action:
        case "show":
            return _show(args)
        case "retry":
            return _retry(args)
        case "forget":
            return _forget(args)
    return _list(args)


def _list(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from img2gps.analysis.winner import best_cell
    from img2gps.runs import study_record as record
    from img2gps.runs.records import StudyRecord
    from img2gps.study import display

    names = record.names(args.root)
    if not names:
        print(f"no studies below {args.root}; start one: python -m img2gps.train -m lr=0.001,0.003")
        return 0
    table = Table("study", "kind", "done", "running", "failed", "best cell", "value", "changed")
    for name in names:
        try:
            study = record.read(args.root, name)
        except BadInput:
            table.add_row(name, f"{record.STUDY} cannot be read; run the study again")
            continue
        found = record.counts(study["cells"])
        done = len(study["cells"]) - found["running"] - found["queued"]
        running = str(found["running"]) if record.running(study) else "-"
        best = best_cell(StudyRecord.from_dict(study))
        table.add_row(
            name,
            study["kind"],
            f"{done} of {len(study['cells'])}",
            running,
            str(found["failed"] + found["diverged"]),
            best.cell if best else "-",
            display.metres(best.value if best else None, study["monitor"]),
            study["updated_at"],
        )
    _console(Console).print(table)
    return 0


def _console(kind: Any) -> Any:
    """As wide as the terminal; into a pipe without a limit, so that nothing is cut off."""
    width = None if sys.stdout.isatty() else 240
    return kind(width=width, highlight=False, markup=False, emoji=False)


def _show(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.live import Live

    from img2gps.runs import study_record as record

    study = record.read(args.root, args.name)
    console = _console(Console)
    if not args.watch:
        console.print(_cells(study))
        for line in _summary(study):
            console.print(line, soft_wrap=True)
        return _status(study)
    with Live(_cells(study), console=console, auto_refresh=False) as live:
        while record.running(study):
            time.sleep(WATCH_S)
            study = record.read(args.root, args.name)
            live.update(_cells(study), refresh=True)
    for line in _summary(study):
        console.print(line, soft_wrap=True)
    return _status(study)


def _status(study: Mapping[str, Any]) -> int:
    return 1 if any(cell["state"] in ("failed", "diverged") for cell in study["cells"]) else 0


def _cells(study: Mapping[str, Any]) -> Any:
    from rich.table import Table

    from img2gps.study import display

    table = Table(
        "cell", "seed", "run", "state", study["monitor"], "epochs", "time", "tries", "why"
    )
    for cell in study["cells"]:
        name = f" ({cell['name']})" if cell["name"] else ""
        linked = f"in {cell['path']}" if cell["linked"] else ""
        table.add_row(
            (cell["cell"] or "not drawn yet") + name,
            str(cell["seed"]),
            cell["run_id"],
            cell["state"],
            display.metres(cell["value"], study["monitor"]),
            "-" if cell["epochs"] is None else str(cell["epochs"]),
            display.duration(cell["seconds"]),
            str(cell["attempts"]),
            cell["reason"] or linked,
        )
    return table


def _summary(study: Mapping[str, Any]) -> list[str]:
    from img2gps.runs import study_record as record
    from img2gps.study import display

    lines = [f"question: {study['question']}"] if study["question"] else []
    lines += [display.progress_line(study), f"best: {display.best_line(study)}"]
    left = sum(cell["state"] in ("queued", "running") for cell in study["cells"])
    if left and not record.running(study):
        lines.append(f"no one is at work on it; go on with: {study['command']}")
    return lines


def _ledger(args: argparse.Namespace) -> Any:
    from img2gps.study.ledger import Ledger
    from img2gps.study.storage import JOURNAL, open_storage

    url = args.storage or os.environ.get(STORAGE_VARIABLE)
    journal = args.root / args.name / JOURNAL
    if url is None and not journal.is_file():
        raise BadInput(
            f"{args.name}: no ledger at {journal}; give its --storage URL, or the right --root"
        )
    try:
        return Ledger(open_storage(url or str(journal)), args.name)
    except KeyError as error:
        raise BadInput(f"{args.name}: no such study in the ledger; see img2gps studies") from error


def _chosen(entries: list[Any], wanted: list[str]) -> list[Any]:
    """Ledger entries that run ids (or their starts) or cells name; all without any."""
    if not wanted:
        return entries
    found = []
    for name in wanted:
        matching = [
            entry
            for entry in entries
            if name in (entry.cell, entry.key)
            or (len(name) >= 4 and _run_id(entry).startswith(name))
        ]
        if not matching:
            raise BadInput(f"{name}: no such run in the study; give a run id or a cell as shown")
        found += matching
    return found


def _run_id(entry: Any) -> str:
    where = entry.done or entry.planned
    return where.run_id if where else ""


def _retry(args: argparse.Namespace) -> int:
    ledger = _ledger(args)
    ledger.refresh()
    entries = ledger.entries()
    chosen = _chosen(entries, args.run) if args.run else entries
    if args.run and not any(entry.state == "failed" for entry in chosen):
        raise BadInput(f"{chosen[0].key}: is {chosen[0].state}; only failed runs are tried again")
    keys = [entry.key for entry in chosen if entry.state == "failed"]
    ledger.forget(keys, again=True)
    _rewrite(args, ledger)
    print(f"{args.name}: {len(keys)} failed runs are queued again")
    if keys:
        print(f"run them: {ledger.spec.command}")
    return 0


def _forget(args: argparse.Namespace) -> int:
    from img2gps.runs import study_record as record

    ledger = _ledger(args)
    ledger.refresh()
    study = record.read(args.root, args.name)
    if record.running(study):
        raise BadInput(f"{args.name}: is running; stop it first")
    if args.run:
        keys = [entry.key for entry in _chosen(ledger.entries(), args.run)]
        ledger.forget(keys, again=False)
        _rewrite(args, ledger)
        print(f"{args.name}: {len(keys)} runs forgotten; the study's command plans them anew")
        return 0
    if not args.yes and not _confirmed(args.name):
        print("nothing forgotten")
        return 0
    ledger.delete()
    folder = args.root / args.name
    for path in folder.iterdir():
        # Ledger, record, logs; never a run's folder, nor the count of looks at the test part.
        if path.is_file() and not path.is_symlink() and path.name != WINNER:
            path.unlink()
    if not any(folder.iterdir()):
        shutil.rmtree(folder)
    print(f"{args.name}: forgotten; its run folders stay, and are found when they are asked for")
    return 0


def _confirmed(name: str) -> bool:
    if not sys.stdin.isatty():
        raise BadInput(f"{name}: forgetting a whole study must be confirmed; give --yes")
    return input(f"Forget the whole study {name}? Its runs stay. [y/N] ").strip().lower() == "y"


def _rewrite(args: argparse.Namespace, ledger: Any) -> None:
    from img2gps.study.engine import Engine
    from img2gps.study.planning import planning

    with planning(args.root, args.name):
        Engine(ledger).save()
