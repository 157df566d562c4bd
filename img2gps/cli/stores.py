"""What a subcommand does where `--runs` is the URL of a store: it fetches first, or it refuses."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from img2gps.core.errors import BadInput
from img2gps.core.paths import runs_folder
from img2gps.core.stores import url_of

ITSELF = ("worker",)  # trains in the local copy
OF_STUDY = ("report", "contrast", "needs", "publish", "replay")  # read no run of another study
RECORDS = (None, "show", "stop", "retry", "forget")  # actions of `studies` that read no run
REFUSED = ("final", "start", "sync --to mlflow")


def fetch_first(command: str, args: argparse.Namespace) -> None:
    """Bring the local copy of a store to what the subcommand reads; nothing for a plain folder.

    Raises:
        BadInput: the subcommand does not work on a store, or the store cannot be reached.
    """
    if command in ITSELF or not hasattr(args, "root"):
        return
    given = args.root or runs_folder()
    for root in given if isinstance(given, list) else [given]:
        if (url := url_of(root)) is not None:
            _fetch(command, args, Path(root), url)


def _fetch(command: str, args: argparse.Namespace, root: Path, url: str) -> None:
    from img2gps.runs.fetching import fetch

    action = getattr(args, "action", None)
    asked = f"{command} {action}" if action else command
    if getattr(args, "to", None) == "mlflow":
        asked += " --to mlflow"
    if asked in REFUSED:
        raise BadInput(f"{asked}: does not work on {url}; {_remedy(url)}")
    if command == "studies":
        fetch(root, getattr(args, "name", None), runs=action not in RECORDS)
        return
    study = getattr(args, "study", None) if command in OF_STUDY else None
    if isinstance(study, list):
        study = study[0] if len(study) == 1 else None
    fetch(root, study)


def _remedy(url: str) -> str:
    """Return how to get the runs into a folder."""
    scheme, _, rest = url.partition("://")
    copying = {
        "s3": f"aws s3 sync {shlex.quote(url)} runs",
        "gs": f"gcloud storage rsync -r {shlex.quote(url)} runs",
        "file": f"cp -r {shlex.quote(f'{rest}/.')} runs",  # also into a folder that there is
    }
    how = f"copy it by `{copying[scheme]}`" if scheme in copying else "copy it into a folder"
    return f"{how}, and give --runs runs"
