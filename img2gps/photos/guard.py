"""Photos read in worker processes, so that no file can hang, crash or swell the caller.

A file over which a worker dies is refused by name with the reason, the worker is replaced, and
the rest goes on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path

from img2gps.photos import worker
from img2gps.photos.decode import MAX_BYTES, NeedsMemory
from img2gps.photos.photo import Photo, Request
from img2gps.photos.photofile import Unusable
from img2gps.photos.worker import PATIENCE, Answer, Ready

DEADLINE_S = 20.0  # of processor time for one photo; 200 megapixels of HEIC take 6 s
_SMALL_BYTES = 2**28  # of memory that any photo may take; one that needs more waits for its turn
_QUEUED_PER_READER = 8  # more than these are worth another process, which takes 0.3 s to start
_GRACE_S = 10.0  # after which a worker that should have ended itself is given up
_AHEAD = 2  # requests that a worker holds, so that it need not wait for the next
# glibc otherwise gives a picture's memory back after each photo and fetches it anew, page by page:
# a tenth of the time. Bytes; other C libraries do not look at these.
_KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(2**26), "MALLOC_MMAP_THRESHOLD_": str(2**25)}

Wanted = Request | Callable[[], Request]  # a call may raise Unusable


@dataclass(eq=False)
class _Job:
    wanted: Wanted
    request: Request | None = None
    outcome: Photo | Unusable | None = None
    bytes_allowed: int = _SMALL_BYTES
    again: bool = False  # its first worker died over it, or over one before

    def prepared(self) -> Request | None:
        """Return the request; None if the photo cannot even be asked for."""
        if self.request is None and self.outcome is None:
            try:
                wanted = self.wanted
                self.request = wanted if isinstance(wanted, Request) else wanted()
            except Unusable as error:
                self.outcome = error
            except Exception as error:  # a user's own source may raise anything
                self.outcome = Unusable(f"{type(error).__name__}: {error}", "report it")
        return self.request and replace(self.request, max_bytes=self.bytes_allowed)


class _Reader:
    """One worker process with the jobs that were sent to it, in order."""

    def __init__(self, deadline_s: float) -> None:
        self.connection, theirs = Pipe()
        package = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        with theirs:
            call = f"{worker.__name__} as it; it.main({theirs.fileno()}, {deadline_s})"
            self.process = subprocess.Popen(  # noqa: S603 # no fork: the caller may have threads
                [sys.executable, "-P", "-c", f"import {call}"],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in a terminal does not reach it
                env={**_KEEP_MEMORY, **os.environ, "PYTHONPATH": path},
            )
        self.jobs: deque[_Job] = deque()
        self.ready = False
        self.answered = 0  # photos

    def send(self, job: _Job, request: Request) -> None:
        self.jobs.append(job)
        with suppress(OSError):  # it has died, which `receive` will notice
            self.connection.send(request)

    def receive(self) -> Answer | Ready | None:
        """Return the next message; None if the process has died."""
        try:
            answer: Answer | Ready = self.connection.recv()
        except (EOFError, OSError):
            return None
        self.answered += self.ready
        self.ready = True
        return answer

    def end(self) -> int:
        """Kill the process if it lives, and return its exit status."""
        self.connection.close()
        self.process.kill()
        with suppress(subprocess.TimeoutExpired):  # stuck in the kernel, on a dead network disk
            self.process.wait(timeout=1)
        return self.process.returncode or 0


def _end(readers: list[_Reader]) -> None:
    while readers:
        readers.pop().end()


@dataclass(eq=False)
class Readers:
    """Up to `count` worker processes, started as they are needed."""

    count: int
    deadline_s: float = DEADLINE_S
    _readers: list[_Reader] = field(default_factory=list)
    _queue: deque[_Job] = field(default_factory=deque)  # not yet sent

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __post_init__(self) -> None:
        weakref.finalize(self, _end, self._readers)  # where `with` is not used

    def close(self) -> None:
        """End the processes, whatever they do; another `read` starts new ones."""
        _end(self._readers)
        self._queue.clear()

    def read(self, photos: Iterable[Wanted]) -> Iterator[Photo | Unusable]:
        """Yield one outcome for each photo, in order, with few of them in memory at a time."""
        waiting: deque[_Job] = deque()
        coming = iter(photos)
        try:
            while True:
                self._fill(waiting, coming)
                self._send()
                if not waiting:
                    return
                if (outcome := waiting[0].outcome) is None:
                    self._collect(PATIENCE * self.deadline_s + _GRACE_S)
                else:
                    waiting.popleft()
                    yield outcome
                    self._collect(0)
        finally:
            if waiting:  # the caller has stopped asking
                self.close()

    def _fill(self, waiting: deque[_Job], coming: Iterator[Wanted]) -> None:
        """Take in as many photos as may be read ahead."""
        room = _QUEUED_PER_READER * (self.count + 1) - len(waiting)
        for wanted in islice(coming, room):
            waiting.append(_Job(wanted))
            self._queue.append(waiting[-1])

    def _send(self) -> None:
        """Give queued jobs to workers that have room."""
        held: list[_Job] = []
        while self._queue:
            job = self._queue[0]
            if (request := job.prepared()) is None:
                self._queue.popleft()
            elif not self._fits(job):
                held.append(self._queue.popleft())
            elif (reader := self._reader_for(request)) is not None:
                self._queue.popleft()
                reader.send(job, request)
            else:
                break
        self._queue.extendleft(reversed(held))

    def _fits(self, job: _Job) -> bool:
        """Return whether a job's memory is free; one job at least always runs."""
        running = (job.bytes_allowed for reader in self._readers for job in reader.jobs)
        taken = sum(n_bytes for n_bytes in running if n_bytes > _SMALL_BYTES)
        small = job.bytes_allowed <= _SMALL_BYTES
        return small or taken == 0 or taken + job.bytes_allowed <= MAX_BYTES

    def _reader_for(self, request: Request) -> _Reader | None:
        """Return a worker with room for a request, a new one if many photos are queued."""
        best = min(self._readers, key=lambda reader: len(reader.jobs), default=None)
        many = len(self._queue) > _QUEUED_PER_READER * len(self._readers)
        if best is None or (best.jobs and many and len(self._readers) < self.count):
            self._readers.append(_Reader(self.deadline_s))
            return self._readers[-1]
        # Bytes in both directions at once would block both ends for ever.
        ahead = isinstance(request.source, Path) and request.max_bytes <= _SMALL_BYTES
        return best if len(best.jobs) < (_AHEAD if ahead else 1) else None

    def _collect(self, timeout_s: float) -> None:
        """Take the answers that are there, or wait for the first."""
        busy = [reader for reader in self._readers if reader.jobs]
        ready = wait([reader.connection for reader in busy], timeout_s)
        for reader in busy:
            if reader.connection in ready:
                self._take(reader)
            elif timeout_s and not ready:
                self._replace(reader, stuck=True)

    def _take(self, reader: _Reader) -> None:
        answer = reader.receive()
        if answer is None:
            self._replace(reader)
        elif isinstance(answer, NeedsMemory):
            job = reader.jobs.popleft()
            job.bytes_allowed = answer.n_bytes
            self._queue.appendleft(job)
        elif not isinstance(answer, Ready):
            job = reader.jobs.popleft()
            job.outcome, job.request = answer, None

    def _replace(self, reader: _Reader, stuck: bool = False) -> None:
        """Settle the job over which a worker died, and queue its other ones again."""
        status = reader.end()
        self._readers.remove(reader)
        if not reader.ready and not stuck:
            raise RuntimeError(f"the process that reads photos did not start (status {status})")
        job = reader.jobs.popleft()
        self._queue.extendleft(reversed(reader.jobs))
        if stuck or -status in (signal.SIGPROF, signal.SIGALRM):
            reason = f"takes longer than {self.deadline_s:g} s to read"
            job.outcome = Unusable(reason, "export it as JPEG")
        elif reader.answered and not job.again:  # a photo before it may have broken the process
            job.again = True
            self._queue.appendleft(job)
        else:
            name = signal.Signals(-status).name if status < 0 else f"status {status}"
            job.outcome = Unusable(f"crashes the decoder ({name})", "export it as JPEG")
