"""Files that an option names: said in one line where they cannot be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from img2gps.core.errors import BadInput


@contextmanager
def writing(option: str, path: Path) -> Iterator[None]:
    """Raise `BadInput` where the block cannot write what `option` names."""
    try:
        yield
    except OSError as error:
        raise BadInput(
            f"{option} {path}: cannot be written ({error.strerror or error}); name a place that "
            "you may write to"
        ) from error


def check_is_file(option: str, path: Path | None) -> None:
    """Refuse a folder where an option takes a file, before anything is computed.

    Raises:
        BadInput: naming the option.
    """
    if path is not None and path.is_dir():
        raise BadInput(f"{option} {path}: is a folder; name a file")
