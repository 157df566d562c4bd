"""One BLAS thread for small matrices.

Several threads gain nothing on matrices of a few dozen spots and cells. On a busy machine they wait
for each other: eigenvalues of a 42 x 42 matrix took 24 ms instead of 0.35 ms.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from threading import RLock
from typing import ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

P = ParamSpec("P")
R = TypeVar("R")

_LOCK = RLock()


def one_blas_thread(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function compute with one BLAS thread.

    The limit is that of the whole process. Calls from several threads of Python wait for each
    other, because the one that ends last would otherwise restore the limit of the other one.
    """

    @wraps(function)
    def limited(*args: P.args, **kwargs: P.kwargs) -> R:
        with _LOCK, _controller().limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return limited


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
