"""Following a study's files: what the page shows is made anew whenever one of them changes."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from img2gps.analysis import collect
from img2gps.analysis.study import Study
from img2gps.core.errors import BadInput
from img2gps.runs.folder import HISTORY
from img2gps.runs.records import STUDY
from img2gps.study.live import figures
from img2gps.study.live.content import Figures, content_of

LOOK_S = 0.5  # between two looks at the files
SHARE = 0.1  # of one core's time at most, so that the page takes little from the training
UNWATCHED_S = 15.0  # nothing is read any more when no browser has asked for so long


class Follower:
    """Has the page's content as JSON, as new as the files.

    Raises:
        BadInput: when it is made of a folder that holds no study that can be read.
    """

    def __init__(self, folder: Path, roots: Sequence[Path]) -> None:
        self._folder, self._roots = folder, roots
        self._figures = Figures()
        self._stamp: object = None
        self._compared: object = None
        self._asked_at = time.monotonic()
        self._ended = threading.Event()
        self._study = collect.load_study(folder, roots)
        self._publish("")
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    @property
    def newest(self) -> tuple[str, bytes]:
        """Return the content's version and the content."""
        self._asked_at = time.monotonic()
        return self._newest

    def _publish(self, problem: str) -> None:
        found = {**content_of(self._study, self._figures).to_dict(), "problem": problem}
        body = json.dumps(found, default=str).encode()
        self._newest = hashlib.sha256(body).hexdigest()[:16], body

    def _follow(self) -> None:
        while not self._ended.wait(LOOK_S):
            if time.monotonic() - self._asked_at > UNWATCHED_S:
                continue
            started = time.process_time(), time.monotonic()
            if (stamp := self._files()) != self._stamp:
                self._update(stamp)
            took = time.process_time() - started[0]
            self._ended.wait(took / SHARE)

    def _files(self) -> list[Any]:
        """Return what changes when the study does."""
        folders = [Path(folder) for folder in self._study.runs["folder"] if folder]
        files = [self._folder / STUDY, *(folder / HISTORY for folder in folders)]
        return [*(_stamp(file) for file in files), self._study.record.is_running]

    def _update(self, stamp: list[Any]) -> None:
        before = self._study
        try:
            self._study = collect.load_study(self._folder, self._roots)
            self._publish("")
        except Exception as error:  # the study may be forgotten, moved or damaged under us
            said = str(error) if isinstance(error, BadInput | OSError) else repr(error)
            self._study = before
            self._publish(f"{said}; the page shows how it stood before")
        else:
            try:
                self._draw(self._study)
            except Exception as error:  # the rest of the page goes on without figures
                self._figures = Figures(None, None, f"The figures could not be drawn: {error}")
            self._publish("")
        self._stamp = stamp

    def _draw(self, study: Study) -> None:
        self._figures = replace(self._figures, curves=figures.curves(study))
        race = study.record.race
        compared = len(race.looks) if race else sorted(study.finished["run_id"])
        if compared != self._compared:
            found, why = figures.doubt_left(study)
            self._figures = replace(self._figures, doubt=found, no_doubt=why)
            self._compared = compared


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
