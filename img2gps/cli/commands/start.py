"""`img2gps start DIR`: a guided first study of one's own photos, made of the ordinary commands."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from img2gps.cli.commands import ingest
from img2gps.cli.options import add_runs_option
from img2gps.cli.suggest import suggest
from img2gps.core.errors import BadInput
from img2gps.core.paths import RUNS_VARIABLE
from img2gps.core.signals import Interrupted

HELP = "a guided first study of your photos: look, estimate, compare recipes, show"
SWEEP = "start"  # sweeps/start.yaml
BY = "split=kfold"  # the winner is the best on known spots


@dataclass(frozen=True)
class Step:
    """One step of the guide: what it is for, and the words of the command that does it."""

    title: str
    words: list[str]
    asks_first: bool = False

    @property
    def command(self) -> str:
        """The command as one types it."""
        return shlex.join(["img2gps", *self.words])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "source", metavar="DIR", help="folder of photos, or a table that ingest reads"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],  # without it, argparse calls them required where DIR is missing
        metavar="KEY=VALUE",
        help="of the training, right after DIR",
    )
    parser.add_argument("--study", metavar="NAME", help="default: after the folder")
    parser.add_argument("--yes", action="store_true", help="train without asking")
    add_runs_option(parser)


def execute(args: argparse.Namespace) -> int:
    """Do one step after the other; each prints the command that does the same."""
    study = args.study or study_name(args.source)
    steps = guide(args.source, study, args.overrides)
    for number, step in enumerate(steps, 1):
        print(f"\n[{number}/{len(steps)}] {step.title}\n  $ {step.command}", flush=True)
        if step.asks_first and not (args.yes or _agreed()):
            suggest(step.command, "whenever you like", args.root)
            return 0
        if status := _run(step, args.root):
            return status
    print(f"\nThe answer with its figures: reports/{study}/index.html")
    command = f"img2gps predict PHOTO.jpg --study {shlex.quote(study)}"
    suggest(command, "where another photo of the place was taken", args.root)
    return 0


def study_name(source: str) -> str:
    """Return a name for the study of a folder or table.

    >>> study_name("~/My photos/Quad, spring.csv")
    'quad-spring'
    """
    name = Path(os.path.abspath(Path(source).expanduser()))  # noqa: PTH100 # a link keeps its name
    stem = name.stem if name.suffix and not name.is_dir() else name.name
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-") or SWEEP


def guide(source: str, study: str, overrides: Sequence[str] = ()) -> list[Step]:
    """Return the steps of a first study of a source of photos."""
    from img2gps.config.habits import override
    from img2gps.photos.sources import CsvSource, HuggingFaceSource, named_source

    kinds = {CsvSource: "csv", HuggingFaceSource: "huggingface"}
    kind = kinds.get(type(named_source(source)), "photos")
    data = [f"data={kind}", override("data.root", source)]
    train = ["train", "-m", f"sweeps={SWEEP}", override("study", study), *data, *overrides]
    return [
        Step("Look at your photos", ["ingest", source, *_ingest_options(overrides), "--report"]),
        Step("What a study of them takes, and what it can show",
             [*train, "hydra.sweeper.dry_run=true"]),
        Step("Compare recipes on known and on new spots; Ctrl-C is safe", train, asks_first=True),
        Step("Show tables and figures, beside answers that need no training", ["report", study]),
        Step("Choose the recipe that is best on known spots", ["select", study, "--where", BY]),
        Step("Make one model of the winner's runs", ["final", study]),
    ]  # fmt: skip


def _ingest_options(overrides: Sequence[str]) -> list[str]:
    """Return the options by which ingest reads the same photos as a training with overrides.

    >>> _ingest_options(["data.track=ride.gpx", "data.allow_outside=true", "lr=0.001"])
    ['--track', 'ride.gpx', '--allow-outside']
    """
    options = {key: option for option, key in ingest.OVERRIDES.items()}
    words: list[str] = []
    for key, _, value in (word.partition("=") for word in overrides):
        if key in options and value.lower() != "false":
            words += [options[key]] if value.lower() == "true" else [options[key], value]
    return words


def _agreed() -> bool:
    """Ask whether to train."""
    if not sys.stdin.isatty():
        raise BadInput("start: asks before it trains, and nobody can answer here; add --yes")
    return input("  Go on? [Y/n] ").strip().lower() in ("", "y", "yes")


def _run(step: Step, root: Path) -> int:
    """Run a step in a process of its own, as if it had been typed; return its exit status."""
    environment = {**os.environ, RUNS_VARIABLE: str(root)}
    command = [sys.executable, "-m", "img2gps", *step.words]
    with subprocess.Popen(command, env=environment) as process:  # noqa: S603 # our own commands
        before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            status = process.wait()
        except (Interrupted, KeyboardInterrupt):  # a terminal tells the step, too; `kill` does not
            process.terminate()
            process.wait()
            raise
        finally:
            signal.signal(signal.SIGTERM, before)
        return status if status >= 0 else 128 - status  # as a shell calls the end by a signal
