"""The GPUs of each worker process: one, unless its runs take several."""

from __future__ import annotations

import os
from collections.abc import Sequence

VARIABLE = "CUDA_VISIBLE_DEVICES"


def visible() -> list[str]:
    """Return the GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    import torch

    count = torch.cuda.device_count()
    given = os.environ.get(VARIABLE)
    if given is None:
        return [str(index) for index in range(count)]
    return [name.strip() for name in given.split(",")][:count]


def of_worker(index: int, gpus: Sequence[str], each: int = 1) -> dict[str, str]:
    """Return the variable that gives a worker its GPUs, `each` of them; empty without a GPU.

    Workers beyond the number of GPUs share them in turn.

    >>> [of_worker(index, ["2", "5"]) for index in (1, 2)]
    [{'CUDA_VISIBLE_DEVICES': '5'}, {'CUDA_VISIBLE_DEVICES': '2'}]
    >>> of_worker(1, ["0", "1", "2", "3"], each=2)
    {'CUDA_VISIBLE_DEVICES': '2,3'}
    """
    own = [gpus[(index * each + i) % len(gpus)] for i in range(min(each, len(gpus)))]
    return {VARIABLE: ",".join(own)} if gpus else {}


def sharing(workers: int, gpus: Sequence[str]) -> str:
    """Return a line if workers have to share a GPU, else ""."""
    if not gpus or workers <= len(gpus):
        return ""
    each = -(-workers // len(gpus))
    what = "the GPU" if len(gpus) == 1 else f"{len(gpus)} GPUs, up to {each} workers each"
    return (
        f"note: {workers} workers share {what}; if its memory does not suffice, give "
        f"hydra.sweeper.workers={len(gpus)}"
    )
