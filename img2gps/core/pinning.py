"""Each thread of a training on a core of its own.

The kernel at times puts two threads of one training on the same core, above all while another
training runs. Each of them then waits for the other in a loop, and a step takes half as long again.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

OWN_PLACES = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY")


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Keep the calling thread and the OpenMP threads that work for it on one core each.

    Nothing changes if there are fewer threads than cores, since the kernel then has a choice to
    make, if the user has decided where threads run, or if torch does not use GNU's OpenMP. The
    numbers that are computed are the same either way.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    library = _gnu_openmp()
    decided = any(name in os.environ for name in OWN_PLACES)
    if library is None or decided or not 1 < threads == len(cores):
        yield
        return
    _allow(library, [{core} for core in cores])
    try:
        yield
    finally:
        _allow(library, [set(cores)] * threads)


def _gnu_openmp() -> ctypes.CDLL | None:
    """Return the OpenMP library that torch has loaded, if it is GNU's."""
    with suppress(OSError):
        for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
            path = line.partition("/")
            name = Path(path[2]).name
            if name.startswith("libgomp") and "/torch/" in path[2]:
                return ctypes.CDLL(path[1] + path[2])
    return None


def _allow(library: ctypes.CDLL, cores: Sequence[set[int]]) -> None:
    """Let each thread of the team that works for the caller run on the given cores alone."""

    def each_thread(_: object) -> None:
        with suppress(OSError):  # a core may have been taken from this process meanwhile
            os.sched_setaffinity(0, cores[library.omp_get_thread_num()])

    called = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(each_thread)
    # As compilers call it for `#pragma omp parallel`; libgomp keeps its threads for the next time.
    library.GOMP_parallel(called, None, ctypes.c_uint(len(cores)), ctypes.c_uint(0))
