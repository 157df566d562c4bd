"""`img2gps studies`: list studies, show, watch or stop one, retry its failed runs, forget it."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from img2gps.cli.options import add_runs_option
from img2gps.cli.suggest import suggest
from img2gps.core import process
from img2gps.core.counted import counted
from img2gps.core.errors import BadInput
from img2gps.core.stores import as_typed
from img2gps.runs.fetching import fetch, fetched_again, remove_records
from img2gps.runs.folder import WINNER
from img2gps.runs.records import RESULT, STUDY, StudyRecord, read_study, study_names
from img2gps.runs.states import RunState
from img2gps.runs.store import StoreAway, Vanished
from img2gps.study.spec import STORAGE_VARIABLE

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from img2gps.study.ledger import Ledger
    from img2gps.study.trials import Entry

HELP = "list studies; show, watch or stop a study, retry its failed runs, or forget it"
WATCH_S = 2.0  # between two looks at a record
SCHEDULER_S = 8.0  # further ones where Slurm or Ray has to be asked, which is not to be asked often
RENEWED_S = 30.0  # an engine that lives has renewed its study's record by then


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`studies`, and `studies show`, `watch`, `stop`, `retry` or `forget` with a NAME."""
    add_runs_option(parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    show = actions.add_parser("show", help="every run of a study: state, value, seconds, reason")
    show.add_argument("name")
    show.add_argument("--watch", action="store_true", help="again and again until it is done")
    watch = actions.add_parser("watch", help="serve a page that follows a study, on this machine")
    watch.add_argument("name")
    watch.add_argument("--open", action="store_true", help="open it in a browser")
    watch.add_argument("--port", type=int, default=0, help="default: any that is free")
    stop = actions.add_parser(
        "stop", help="end what works on a study, also on Slurm, Ray or Kubernetes; nothing is lost"
    )
    stop.add_argument("name")
    retry = actions.add_parser("retry", help="enqueue failed runs again with all their attempts")
    forget = actions.add_parser(
        "forget", help="take runs, or the whole study, out of the ledger; run folders stay"
    )
    for parser_ in (retry, forget):
        parser_.add_argument("name")
        parser_.add_argument("run", nargs="*", help="(start of) a run id, or a cell; default: all")
        parser_.add_argument(
            "--force", action="store_true", help="although an engine seems to work on the study"
        )
        parser_.add_argument(
            "--storage",
            help=f"the ledger's URL, if it is not a journal file; or {STORAGE_VARIABLE}",
        )
    for parser_ in (show, watch, stop, retry, forget):  # after the action too
        add_runs_option(parser_, default=argparse.SUPPRESS)
    forget.add_argument("--yes", action="store_true", help="do not ask before a whole study")


def execute(args: argparse.Namespace) -> int:
    """Run the action; 0, or 1 where a watched or shown study has failed runs."""
    match args.action:
        case "show":
            return _show(args)
        case "watch":
            return _watch(args)
        case "stop":
            return _stop(args)
        case "retry":
            return _retry(args)
        case "forget":
            return _forget(args)
    return _list(args)


def _list(args: argparse.Namespace) -> int:
    from rich.table import Table

    names = study_names(args.root)
    single = {path.parent.parent.name for path in args.root.glob(f"*/*/{RESULT}")} - set(names)
    if single:
        print(
            f"folders of single runs, which img2gps report NAME shows: {', '.join(sorted(single))}"
        )
    if not names:
        print(f"no studies below {as_typed(args.root)}")
        suggest("img2gps train -m lr=0.001,0.003", "a first study, on the built-in quad")
        return 0
    table = Table("study", "kind", "done", "running", "failed", "best cell", "value", "changed")
    for name in names:
        try:
            table.add_row(*_row(read_study(args.root, name)))
        except BadInput:
            table.add_row(name, f"{STUDY} cannot be read; run the study again")
    _console().print(table)
    latest = max(names, key=lambda name: (args.root / name / STUDY).stat().st_mtime)
    suggest(f"img2gps studies show {shlex.quote(latest)}", "every run of the latest", args.root)
    return 0


def _row(study: StudyRecord) -> list[str]:
    from img2gps.analysis.winner import best_cell
    from img2gps.study.display import metres

    found, best = study.counts(), best_cell(study)
    return [
        study.study,
        study.kind,
        f"{sum(run.state.has_ended for run in study.runs)} of {len(study.runs)}",
        str(found[RunState.running]) if study.is_running else "-",
        str(sum(run.state.went_wrong for run in study.runs)),
        best.cell if best else "-",
        metres(best.value if best else None, study.monitor),
        study.updated_at,
    ]


def _console() -> Console:
    """Return a console as wide as the terminal, and wide enough for any table in a pipe."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 240
    return Console(width=width, highlight=False, markup=False, emoji=False)


def _show(args: argparse.Namespace) -> int:
    from rich.live import Live

    study = read_study(args.root, args.name)
    console = _console()
    if args.watch:
        with (
            fetched_again(args.root, args.name),
            Live(_cells(study), console=console, auto_refresh=False) as live,
        ):
            while study.is_running or _awaited(args, study) or _newest(args).is_running:
                time.sleep(WATCH_S)
                study = read_study(args.root, args.name)
                live.update(_cells(study), refresh=True)
            study = read_study(args.root, args.name)
            live.update(_cells(study), refresh=True)
    else:
        console.print(_cells(study))
    for line in _summary(study):
        console.print(line, soft_wrap=True)
    _suggest(study, args.root)
    return 1 if any(run.state.went_wrong for run in study.runs) else 0


def _newest(args: argparse.Namespace) -> StudyRecord:
    """Return the record as it is now, also where it comes from a store."""
    with suppress(StoreAway, Vanished):
        fetch(args.root, args.name, runs=False)
    return read_study(args.root, args.name)


def _awaited(args: argparse.Namespace, study: StudyRecord) -> bool:
    """Whether Slurm or Ray still has workers for the runs that are left; asked now and then."""
    from img2gps.study import ray_workers, slurm

    left = any(not run.state.has_ended for run in study.runs)
    place = args.root, args.name
    if not left or not (slurm.awaited(*place) or ray_workers.awaited(*place)):
        return False
    time.sleep(SCHEDULER_S)
    return True


def _watch(args: argparse.Namespace) -> int:
    from img2gps.study.live.following import Follower
    from img2gps.study.live.server import serve

    read_study(args.root, args.name)  # names the studies that there are where there is none
    follower = Follower(args.root / args.name, [args.root, Path("results")])
    with fetched_again(args.root, args.name):
        serve(follower, port=args.port, open_browser=args.open)
    return 0


def _cells(study: StudyRecord) -> Table:
    from rich.table import Table

    from img2gps.study.display import duration, metres

    table = Table("cell", "seed", "run", "state", study.monitor, "epochs", "time", "tries", "why")
    for run in study.runs:
        name = f" ({run.name})" if run.name else ""
        linked = f"in {run.path}" if run.linked else ""
        table.add_row(
            (run.cell or "not drawn yet") + name,
            str(run.seed),
            run.run_id,
            run.state,
            metres(run.value, study.monitor),
            "-" if run.epochs is None else str(run.epochs),
            duration(run.seconds),
            str(run.attempts),
            run.reason or linked,
        )
    return table


def _summary(study: StudyRecord) -> list[str]:
    from img2gps.study.display import best_line, front_lines, progress_line

    lines = [f"question: {study.question}"] if study.question else []
    raced = study.race.lines() if study.race else []
    best = f"best: {best_line(study)}"
    return [*lines, progress_line(study), *raced, best, *front_lines(study)]


def _suggest(study: StudyRecord, root: Path) -> None:
    """Suggest what a study needs most: another try, more time, or a reader."""
    name = shlex.quote(study.study)
    if any(run.state is RunState.failed for run in study.runs):
        suggest(f"img2gps studies retry {name}", "give the failed runs another try", root)
    elif study.is_running:
        suggest(f"img2gps studies show {name} --watch", "follow its runs", root)
    elif any(not run.state.has_ended for run in study.runs):
        suggest(study.command, "no engine is running; go on with the runs that are left")
    else:
        suggest(f"img2gps report {name}", "every cell with its interval", root)


def _ledger(args: argparse.Namespace) -> Ledger:
    from img2gps.study.ledger import Ledger
    from img2gps.study.storage import JOURNAL, open_storage

    url = args.storage or os.environ.get(STORAGE_VARIABLE)
    journal = args.root / args.name / JOURNAL
    if url is None and not journal.is_file():
        raise BadInput(
            f"{args.name}: no ledger at {journal}; give its --storage URL, or the right --runs"
        )
    try:
        ledger = Ledger(open_storage(url or str(journal)), args.name)
    except KeyError as error:
        raise BadInput(f"{args.name}: no such study in the ledger; see img2gps studies") from error
    ledger.places = {"root": str(args.root)}
    ledger.reload()
    return ledger


def _chosen(entries: list[Entry], wanted: list[str]) -> list[Entry]:
    """Return the entries that run ids (or their starts) or cells name; all if none is named."""
    if not wanted:
        return entries
    found: dict[str, Entry] = {}  # by key: a cell and its run id may both be given
    for name in wanted:
        matching = [
            entry
            for entry in entries
            if name in (entry.cell, entry.key)
            or (len(name) >= 4 and _run_id(entry).startswith(name))
        ]
        if not matching:
            raise BadInput(f"{name}: no such run in the study; give a run id or a cell as shown")
        found |= {entry.key: entry for entry in matching}
    return list(found.values())


def _run_id(entry: Entry) -> str:
    where = entry.done or entry.ref
    return where.run_id if where else ""


def _refuse_at_work(args: argparse.Namespace, ledger: Ledger) -> None:
    """Refuse to change a ledger that somebody works on, unless the user insists."""
    ledger.refresh()
    record = read_study(args.root, args.name).engine
    possible = [*([record] if record else []), *ledger.workers()]
    others = [one for one in possible if not process.known_dead(one)]
    if not others or not (args.force or _any_alive(args, ledger, others)):
        return
    who = f"process {others[0].get('pid')} on {str(others[0].get('machine')).partition('/')[0]}"
    if not args.force:
        raise BadInput(
            f"{args.name}: an engine works on it ({who}); stop that first, or give --force if it "
            "is certainly gone"
        )
    print(f"warning: {args.name}: an engine may still work on it ({who})", file=sys.stderr)


def _any_alive(
    args: argparse.Namespace, ledger: Ledger, others: list[dict[str, str | int]]
) -> bool:
    """Whether one of these works on the study; one of another machine gives signs of that."""
    if any(process.is_local(one) for one in others):
        return True
    # Clocks of two machines may differ by hours, so only a change of what they write counts.
    print(f"{args.name}: its engine was on another machine; is it alive? (up to {RENEWED_S:.0f} s)")
    record, signs = read_study(args.root, args.name).updated_at, ledger.signs_of_life()
    end = time.monotonic() + RENEWED_S
    with fetched_again(args.root, args.name):
        while time.monotonic() < end:
            time.sleep(min(WATCH_S, RENEWED_S / 4))
            ledger.refresh()
            renewed = read_study(args.root, args.name).updated_at != record
            if renewed or ledger.signs_of_life() != signs:
                return True
    return False


def _stop(args: argparse.Namespace) -> int:
    from img2gps.study.stopping import stop_study

    study = read_study(args.root, args.name)
    print(f"{args.name}: {stop_study(args.root, study)}")
    if any(not run.state.has_ended for run in study.runs):
        suggest(study.command, "go on with the runs that are left")
    return 0


def _retry(args: argparse.Namespace) -> int:
    ledger = _ledger(args)
    _refuse_at_work(args, ledger)
    ledger.refresh()
    chosen = _chosen(ledger.entries(), args.run)
    keys = [entry.key for entry in chosen if entry.state is RunState.failed]
    if args.run and not keys:
        raise BadInput(f"{chosen[0].key}: is {chosen[0].state}; only failed runs are tried again")
    ledger.forget(keys, again=True)
    _rewrite(args, ledger)
    are = "is" if len(keys) == 1 else "are"
    print(f"{args.name}: {counted(len(keys), 'failed run')} {are} queued again")
    if keys:
        print(f"run {_them(keys)}: {ledger.spec.command}")
    return 0


def _forget(args: argparse.Namespace) -> int:
    ledger = _ledger(args)
    _refuse_at_work(args, ledger)
    ledger.refresh()
    if args.run:
        keys = [entry.key for entry in _chosen(ledger.entries(), args.run)]
        ledger.forget(keys, again=False)
        _rewrite(args, ledger)
        gone = counted(len(keys), "run")
        print(f"{args.name}: {gone} forgotten; the study's command plans {_them(keys)} anew")
        return 0
    if not args.yes and not _confirmed(args.name):
        print("nothing forgotten")
        return 0
    # The ledger and this machine's record go last: without them nobody could forget the rest.
    remove_records(args.root, args.name, kept=[WINNER])
    ledger.delete()
    folder = args.root / args.name
    for path in folder.iterdir():
        # Ledger, record and logs, but no run folder and not the count of looks at the test part.
        if path.is_file() and not path.is_symlink() and path.name != WINNER:
            path.unlink()
    if not any(folder.iterdir()):
        shutil.rmtree(folder)
    print(f"{args.name}: forgotten; its run folders stay, and studies that need them link them")
    return 0


def _them(keys: list[str]) -> str:
    return "it" if len(keys) == 1 else "them"


def _confirmed(name: str) -> bool:
    if not sys.stdin.isatty():
        raise BadInput(f"{name}: to forget a whole study, confirm with --yes")
    return input(f"Forget the whole study {name}? Its runs stay. [y/N] ").strip().lower() == "y"


def _rewrite(args: argparse.Namespace, ledger: Ledger) -> None:
    from img2gps.study.engine import Engine
    from img2gps.study.locking import study_lock

    with study_lock(args.root, args.name):
        engine = Engine(ledger)
        engine.save()
        engine.send_last()
