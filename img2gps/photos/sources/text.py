"""Text that people write beside their photos: tables, tracks, sidecars."""

from __future__ import annotations

import codecs
import unicodedata
from contextlib import suppress
from pathlib import Path

from img2gps.core.errors import BadInput
from img2gps.photos.photofile import Unusable, display_name, read_bytes

MAX_BYTES = 256 * 2**20
_ARCHIVE = b"PK\3\4"  # what .xlsx and .ods begin with
_SHOWN = 80  # characters of a line in a message


def read_content(path: Path, kind: str) -> bytes:
    """Return the content of a file that should be of this kind; raises `BadInput`."""
    try:
        content = read_bytes(path, MAX_BYTES)
    except Unusable as error:
        raise BadInput(f"{display_name(str(path))}: {error.reason}; give {kind}") from error
    if content.startswith(_ARCHIVE):
        raise BadInput(f"{display_name(str(path))}: a spreadsheet or an archive; give {kind}")
    return content


def decode_text(content: bytes) -> str:
    """Decode UTF-8 or UTF-16, and anything else as Windows' cp1252, which Excel writes."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "backslashreplace")


def spellings(name: str) -> list[str]:
    """Return the names under which a file that a table names may lie: first as it is given.

    macOS writes an accent as a character of its own, and old archives hold names in cp1252.
    """
    names = [name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))]
    with suppress(UnicodeEncodeError):
        names.append(name.encode("cp1252").decode("utf-8", "surrogateescape"))
    return list(dict.fromkeys(names))


def shown(line: str) -> str:
    """Return the start of a line for a message."""
    line = line.strip()
    return repr(line if len(line) <= _SHOWN else f"{line[:_SHOWN]}...")
