"""Tell somebody who is not watching how a study's command has ended.

This is done by a web address or by a command of the user's own.

An address gets a JSON object by POST, whose `text` (Slack, Mattermost) and `content` (Discord) are
one line. A command finds the same in its environment. The address may be a secret, so it is never
written anywhere.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from img2gps.core.errors import BadInput
from img2gps.core.signals import Interrupted
from img2gps.runs.records import read_study

log = logging.getLogger(__name__)

OPTION = "hydra.sweeper.notify"
PATIENCE_S = 30.0
_WEB = ("http://", "https://")


def check(target: str | None) -> None:
    """Raise `BadInput` if nothing can be told there."""
    if target is None or target.startswith(_WEB):
        return
    try:
        words = shlex.split(target)
    except ValueError as error:
        raise BadInput(f"{OPTION}: {error}; give a web address or a command") from error
    if not words or "://" in words[0]:
        raise BadInput(f"{OPTION}: give an address that begins with https://, or a command")


def without_target(words: Iterable[str]) -> list[str]:
    """Return the words of a command line without a target that is written out.

    >>> without_target(["lr=0.1", "hydra.sweeper.notify=https://example.org/secret"])
    ['lr=0.1']
    >>> without_target(["hydra.sweeper.notify=${oc.env:HOOK}"])
    ['hydra.sweeper.notify=${oc.env:HOOK}']
    """
    return [w for w in words if w.lstrip("+").partition("=")[0] != OPTION or "${oc.env:" in w]


@contextmanager
def telling(target: str | None, root: str, study: str) -> Iterator[None]:
    """Tell `target` how the block, which works on a study, has ended."""
    if target is None:
        yield
        return
    try:
        yield
    except Interrupted:
        _tell(target, study, "interrupted", _progress(root, study))
        raise
    except BaseException as error:
        line = " ".join(str(error).split())[:300] or type(error).__name__
        _tell(target, study, "stopped", line)
        raise
    _tell(target, study, _state(root, study), _progress(root, study))


def _state(root: str, study: str) -> str:
    """Return how a study's command has ended, of which its record says more where it is read."""
    try:
        runs = read_study(root, study).runs
    except BadInput:  # forgotten or damaged meanwhile, which is no error of the command
        return "ended"
    wrong = any(run.state.went_wrong for run in runs)
    left = not all(run.state.has_ended for run in runs)
    return "runs failed" if wrong else "runs left" if left else "finished"


def _progress(root: str, study: str) -> str:
    from img2gps.study.display import best_line, progress_line

    try:
        record = read_study(root, study)
    except BadInput as error:  # stopped before it was planned
        return str(error)
    return f"{progress_line(record)}; best: {best_line(record)}"


def _tell(target: str, study: str, state: str, line: str) -> None:
    """Send the line; if that fails, warn without the address."""
    text = f"img2gps: study {study}: {state}: {line}"
    try:
        if target.startswith(_WEB):
            _post(target, {"study": study, "state": state, "text": text, "content": text})
        else:
            told = {"IMG2GPS_STUDY": study, "IMG2GPS_STATE": state, "IMG2GPS_TEXT": text}
            subprocess.run(  # noqa: S603
                ["/bin/sh", "-c", target],  # its pipes and $IMG2GPS_TEXT are a shell's
                env={**os.environ, **told},
                stdin=subprocess.DEVNULL,
                timeout=PATIENCE_S,
                check=True,
            )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        why = f"status {error.returncode}" if hasattr(error, "returncode") else _plain(error)
        log.warning("%s: nobody was told that the study is %s (%s)", OPTION, state, why)


def _plain(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
    return str(reason or type(error).__name__)


def _post(address: str, body: dict[str, str]) -> None:
    request = urllib.request.Request(  # noqa: S310, the scheme is checked
        address, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S):  # noqa: S310
        pass
