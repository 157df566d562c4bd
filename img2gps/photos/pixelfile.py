"""The file of pixels while it is written: rows are appended, then brought into their order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray


class PixelWriter:
    """Write a .npy file whose number of rows is known only at the end."""

    def __init__(self, file: BinaryIO, image_size: int) -> None:
        self._file = file
        self._shape = (image_size, image_size, 3)
        self._rows = 0
        self._write_header()

    def _write_header(self) -> None:
        self._file.seek(0)
        description = {"descr": "|u1", "fortran_order": False, "shape": (self._rows, *self._shape)}
        # numpy pads the header for a growing first axis, so that it can be written again.
        np.lib.format.write_array_header_1_0(self._file, description)

    def append(self, pixels: NDArray[np.uint8]) -> None:
        """Write one photo behind the others."""
        self._file.write(np.ascontiguousarray(pixels).tobytes())
        self._rows += 1

    def finish(self, order: Sequence[int]) -> None:
        """Keep the rows in `order`, in that order, and write their number into the header."""
        row_bytes = int(np.prod(self._shape))
        start = self._file.tell() - self._rows * row_bytes
        dropped = sorted(set(range(self._rows)) - set(order))
        self._rows = len(order)
        self._write_header()
        if self._file.tell() != start:
            raise RuntimeError("the .npy header has changed its length")
        self._file.flush()
        permute_rows(self._file.fileno(), start, row_bytes, [*order, *dropped])
        self._file.truncate(start + len(order) * row_bytes)


def permute_rows(descriptor: int, start: int, row_bytes: int, order: Sequence[int]) -> None:
    """Reorder the rows of a file in place: row i becomes what row `order[i]` was.

    The rows follow each other from byte `start`. Memory for one row is enough.
    """

    def read(row: int) -> bytes:
        return os.pread(descriptor, row_bytes, start + row * row_bytes)

    def write(row: int, content: bytes) -> None:
        os.pwrite(descriptor, content, start + row * row_bytes)

    done = np.zeros(len(order), dtype=bool)
    for first in range(len(order)):  # cycle by cycle
        if done[first] or order[first] == first:
            continue
        held, row = read(first), first
        while order[row] != first:
            write(row, read(order[row]))
            done[row] = True
            row = order[row]
        write(row, held)
        done[row] = True
