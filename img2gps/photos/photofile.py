"""The bytes of one photo's file, read so that no file can block or exhaust the process."""

from __future__ import annotations

import os
import stat
from pathlib import Path

MAX_FILE_BYTES = 2**30  # 1 GiB; the largest phone photo is some 100 MB
_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}


class Unusable(Exception):
    """One photo cannot be used: why, and what its owner can do about it.

    This never ends an ingest. The photo is listed among the rejects with both texts.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[Unusable], tuple[str, str]]:
        """Pickle both texts, of which `Exception` knows only the first."""
        return Unusable, (self.reason, self.remedy)


def read_bytes(path: Path, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Return the content of a regular file; a pipe, device, socket or folder is `Unusable`.

    The file is opened without blocking, because opening a pipe without a writer waits for ever.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise Unusable(
            f"cannot be opened: {error.strerror}", "check the link or the permissions"
        ) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise Unusable("not a regular file", "keep only photos in the folder")
    with os.fdopen(descriptor, "rb") as file:
        if status.st_size == 0:
            raise Unusable("empty file (0 bytes)", "copy the original again")
        if status.st_size > max_bytes:
            raise Unusable(f"larger than {max_bytes // 2**20} MiB", "export it as JPEG")
        try:
            return file.read(status.st_size)  # no more, even if the file grows
        except OSError as error:
            raise Unusable(
                f"cannot be read: {error.strerror}", "copy the original again"
            ) from error


def display_name(path: str) -> str:
    r"""Return a path as one line of text, control and non-UTF-8 bytes as `\xNN`."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace").replace(os.sep, "/")
    return text.translate(_ESCAPED)
