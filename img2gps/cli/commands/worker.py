"""`img2gps worker`: help with a study that is planned, until nothing is left or time is up."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from img2gps.cli.options import add_runs_option
from img2gps.cli.suggest import suggest
from img2gps.core.errors import BadInput
from img2gps.core.load import wait_passively
from img2gps.core.paths import package_folder, runs_folder, runs_root
from img2gps.core.signals import Interrupted
from img2gps.core.stores import as_typed, url_of
from img2gps.study.spec import STORAGE_VARIABLE

if TYPE_CHECKING:
    from img2gps.study.spec import Spec

HELP = "work on the queued runs of a study that is planned, here or on another machine"
PLANNED = (signal.SIGUSR1, signal.SIGUSR2)  # by which a scheduler says that time is up


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`img2gps worker STUDY [--storage URL] [--minutes M] [--until-empty]`."""
    parser.add_argument("study")
    add_runs_option(parser, default=None)
    parser.add_argument(
        "--storage",
        metavar="URL",
        help=f"the ledger's URL, if it is not a journal file; or {STORAGE_VARIABLE}",
    )
    parser.add_argument(
        "--minutes", type=_minutes, help="after which the run under way is given back"
    )
    parser.add_argument(
        "--until-empty",
        action="store_true",
        help="leave when nothing is queued, though others still run and may give runs back",
    )


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < threading.TIMEOUT_MAX / 60:
        raise argparse.ArgumentTypeError(f"{text}: give minutes, above 0")
    return minutes


def execute(args: argparse.Namespace) -> int:
    """Work; 0 if all went well or time is up, 1 if a run of the study failed or diverged."""
    wait_passively()
    from img2gps.study.engine import run_study
    from img2gps.study.process import Stop
    from img2gps.study.storage import default_url

    url = args.storage or os.environ.get(STORAGE_VARIABLE)
    url = url or default_url(args.root or runs_folder(), args.study)
    spec = _spec(args, url)
    stop = Stop()
    try:
        with _ending_after(args.minutes):
            return run_study(spec, url, workers=0, stop=stop, wait=not args.until_empty)
    except Interrupted as error:
        if stop.signum not in PLANNED:
            raise Interrupted(stop.signum or signal.SIGTERM) from error
    print("time is up: the run under way is queued again and goes on from its last epoch")
    storage = " --storage URL" if args.storage else ""  # which may hold a password
    command = f"img2gps worker {shlex.quote(args.study)}{storage}"
    suggest(command, "go on, here or elsewhere", None if spec.store else Path(spec.root))
    return 0


def _spec(args: argparse.Namespace, url: str) -> Spec:
    """Return the study as its ledger has it, with the folders of this machine."""
    from img2gps.study.ledger import Ledger
    from img2gps.study.storage import masked, open_storage

    if "://" not in url and not Path(url).is_file():
        raise BadInput(
            f"{args.study}: no ledger at {url}; start the study with -m, or give its --storage URL "
            "or the right --runs"
        )
    try:
        spec = Ledger(open_storage(url), args.study).spec
    except KeyError as error:
        raise BadInput(
            f"{args.study}: no such study in the ledger {masked(url)}; start it with -m"
        ) from error
    here = Path(spec.config_dir).is_dir()
    config_dir = spec.config_dir if here else str(package_folder("conf"))
    return replace(spec, root=str(_root(args.root, spec)), config_dir=config_dir)


def _root(given: Path | None, spec: Spec) -> Path:
    """Return where this machine keeps runs: the local copy of the study's store, if it has one."""
    if spec.store and given is None:
        return runs_root(spec.store, "runs.root")
    root = given or runs_folder()
    if (url_of(root) or "") != spec.store:
        remedy = "leave --runs out" if spec.store else "give --runs FOLDER"
        kept = spec.store or "a folder that machines share"
        raise BadInput(f"--runs {as_typed(root)}: {spec.name} keeps its runs in {kept}; {remedy}")
    return root


@contextmanager
def _ending_after(minutes: float | None) -> Iterator[None]:
    """Send this process SIGUSR1 when the minutes are over."""
    if minutes is None:
        yield
        return
    timer = threading.Timer(60 * minutes, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
