"""The `img2gps` command. Its subcommands are the modules of `img2gps.cli.commands`."""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import pkgutil
import sys
from collections.abc import Sequence

from img2gps import __version__
from img2gps.cli import commands
from img2gps.cli.commands import train
from img2gps.cli.stores import fetch_first
from img2gps.core.errors import BadInput
from img2gps.core.signals import Interrupted, raise_on_signals


def main(argv: Sequence[str] | None = None) -> None:
    """Run one subcommand and exit with its status. Bad input is one line and status 2."""
    raise_on_signals()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names that a terminal lacks
    try:
        args = _arguments(list(sys.argv[1:] if argv is None else argv))
        fetch_first(args.command, args)
        status: int = args.execute(args)
    except BadInput as error:
        print(f"img2gps: error: {error}", file=sys.stderr)  # noqa: T201
        status = 2
    except Interrupted as error:
        print("img2gps: interrupted", file=sys.stderr)  # noqa: T201
        status = error.status
    except BrokenPipeError:  # the reader of a pipe, such as head, has read enough
        sys.stderr.close()
        status = 0
    sys.exit(status)


def _arguments(words: list[str]) -> argparse.Namespace:
    """Return the subcommand and its arguments; those of `train` are Hydra's to parse."""
    if words[:1] == ["train"]:
        return argparse.Namespace(command="train", execute=train.execute, words=words[1:])
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return parser().parse_args(words or ["--help"])


def parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands."""
    top = argparse.ArgumentParser(
        prog="img2gps",
        description="Photos to coordinates: runs, studies, reports.",
        epilog="Training: img2gps train model=resnet18 lr=0.001 (and img2gps train --help)",
    )
    top.add_argument("--version", action="version", version=f"img2gps {__version__}")
    subparsers = top.add_subparsers(metavar="COMMAND", required=True)
    for found in pkgutil.iter_modules(commands.__path__):
        module = importlib.import_module(f"{commands.__name__}.{found.name}")
        command = subparsers.add_parser(found.name, help=module.HELP, description=module.HELP)
        module.add_arguments(command)
        command.set_defaults(command=found.name, execute=module.execute)
    return top
