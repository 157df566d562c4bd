"""The process that reads photos for `guard.Readers`: a request comes in, an answer goes out.

A library may hang, crash or take all memory over a damaged file. So the process limits itself:
the kernel ends it when a photo takes too long, and refuses it memory beyond a bound.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from img2gps.photos.decode import NeedsMemory
from img2gps.photos.photo import Photo, Request, read_photo
from img2gps.photos.photofile import Unusable

PATIENCE = 10  # times the deadline by the clock, for a busy machine or a slow disk
_SLACK_BYTES = 2**29  # for libraries' own tables and the threads that they start

Answer = Photo | Unusable | NeedsMemory


class Ready:
    """The first message: everything is imported."""


def main(descriptor: int, deadline_s: float) -> None:
    """Answer requests from a connection until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    connection = Connection(descriptor)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # what libraries print
    connection.send(Ready())
    while True:
        try:
            request: Request = connection.recv()
            connection.send(_answer(request, deadline_s))
        except (EOFError, OSError):  # the parent has gone
            return


def _answer(request: Request, deadline_s: float) -> Answer:
    signal.setitimer(signal.ITIMER_PROF, deadline_s)  # of processor time: others may use it, too
    signal.setitimer(signal.ITIMER_REAL, PATIENCE * deadline_s)
    try:
        _limit_memory(request)
        return read_photo(request)
    except (Unusable, NeedsMemory) as refusal:
        return refusal
    except MemoryError:
        return Unusable("takes more memory than a photo may", "export it as JPEG")
    except Exception as error:  # the last resort: whatever it is, the photo is listed by name
        return Unusable(f"{type(error).__name__}: {error}", "report it with this photo")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit_memory(request: Request) -> None:
    """Let the data of this process grow by what the request allows; only Linux enforces it."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    except OSError:
        return
    source = request.source
    try:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
    except OSError:  # `read_photo` says why
        size = 0
    allowed = pages * resource.getpagesize() + request.max_bytes + 3 * size + _SLACK_BYTES
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or allowed <= hard:
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))
