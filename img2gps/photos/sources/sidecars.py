"""Files beside a photo that say where it was taken: XMP, and JSON of Google Takeout."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from img2gps.photos.exif import gps, xmp
from img2gps.photos.exif.times import is_plausible
from img2gps.photos.photofile import Unusable, read_bytes
from img2gps.photos.sources.base import Label

MAX_BYTES = 2**20  # such files have some kB
_TAKEOUT = ".supplemental-metadata"
_CLIPPED = range(44, 48)  # characters to which Takeout shortens a name before ".json"
_COUNTED = re.compile(r"\(\d+\)$")  # of a second file of the same name
_ODD = re.compile(r"[^a-z0-9]")
_EDITED = re.compile(r"-(edited|bearbeitet|modifié|editado|modificato|bewerkt)$", re.IGNORECASE)
_FIX = "enter its position in overrides.csv"


def match(photos: Iterable[str], others: Iterable[str]) -> dict[str, Sequence[str]]:
    """Return the sidecars of each photo that has any, XMP first; all are paths below one folder.

    The case of a name counts only where a folder has both.
    """
    beside: dict[str, dict[str, str]] = defaultdict(dict)
    for path in others:
        folder, name = _split(path)
        if name.lower().endswith((".xmp", ".json")):
            beside[folder][name] = path
            beside[folder].setdefault(name.lower(), path)
    found: dict[str, Sequence[str]] = {}
    for photo in photos:
        folder, name = _split(photo)
        if names := beside.get(folder):
            wanted = [*_xmp_names(name), *_takeout_names(name)]
            listed = (names.get(one) or names.get(one.lower()) for one in wanted)
            if sidecars := list(dict.fromkeys(filter(None, listed))):
                found[photo] = sidecars
    return found


def _split(path: str) -> tuple[str, str]:
    """Return folder and name; macOS may have written an accent as a character of its own."""
    folder, name = os.path.split(path)
    return folder, unicodedata.normalize("NFC", name)


def _xmp_names(photo: str) -> list[str]:
    return [f"{photo}.xmp", f"{Path(photo).stem}.xmp"]


def _takeout_names(photo: str) -> list[str]:
    """Return the names that Takeout may have given to a photo's JSON, the likeliest first.

    "a(1).jpg" belongs to "a.jpg(1).json" and to "a.jpg.supplemental-metadata(1).json", an edited
    copy to its original's, and long names are clipped.
    """
    stem, suffix = Path(photo).stem, Path(photo).suffix
    plain, number = _plain(photo)
    full = plain + _TAKEOUT
    clipped = [full[:end] for end in range(len(full), len(plain) - 1, -1)]
    clipped += [plain[:end] for end in _CLIPPED if end < len(plain)]
    return [f"{stem}{suffix}.json", *(f"{name}{number}.json" for name in clipped), f"{stem}.json"]


def _plain(photo: str) -> tuple[str, str]:
    """Return the name of the photo that an edited or a numbered one comes from, and the number."""
    stem, suffix = Path(photo).stem, Path(photo).suffix
    counted = _COUNTED.search(stem)
    number = counted.group() if counted else ""
    return _EDITED.sub("", stem.removesuffix(number)) + suffix, number


def read(path: Path, photo: str) -> Label:
    """Return the label that a sidecar gives to the photo of that name; raises `Unusable`."""
    try:
        content = read_bytes(path, MAX_BYTES)
        return _xmp(content) if path.suffix.lower() == ".xmp" else _takeout(content, path, photo)
    except Unusable as error:
        raise Unusable(f"{path.name}: {error.reason}", error.remedy) from error


def _xmp(content: bytes) -> Label:
    tags = xmp.read_gps(content)
    lat, lon = gps.position(tags)
    return Label(lat, lon, "xmp sidecar", gps.details(tags))


def _takeout(content: bytes, path: Path, photo: str) -> Label:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Unusable("no JSON", _FIX) from error
    if not isinstance(found, dict):
        raise Unusable("not of Google Takeout", _FIX)
    if _is_anothers(found.get("title"), path, photo):
        raise Unusable(f"belongs to {found['title']!r}", _FIX)
    for key in ("geoDataExif", "geoData"):  # the camera's, then what was entered or guessed
        place = found.get(key)
        lat, lon = (_number(place, axis) for axis in ("latitude", "longitude"))
        if lat is None or lon is None or not (abs(lat) <= 90 and abs(lon) <= 180):
            continue
        if (lat, lon) != (0.0, 0.0):  # stands for unknown
            altitude = _number(place, "altitude") or None  # 0 as well
            return Label(lat, lon, "takeout", {"altitude_m": altitude, "taken_at": _taken(found)})
    raise Unusable("no position in it", _FIX)


def _is_anothers(title: object, path: Path, photo: str) -> bool:
    """Return whether a sidecar with a clipped name is of another photo that begins like this one.

    Its title is the name before anything was clipped or replaced by an underscore.
    """
    plain, number = _plain(unicodedata.normalize("NFC", photo))
    if not isinstance(title, str) or len(path.stem.removesuffix(number)) >= len(plain):
        return False
    said, asked = (_ODD.sub("_", Path(name).stem.lower()) for name in (title, plain))
    return not said.startswith(asked)


def _number(place: object, key: str) -> float | None:
    value = place.get(key) if isinstance(place, Mapping) else None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return None


def _taken(found: Mapping[str, Any]) -> str:
    """Return when the photo was taken, in UTC; "" if the file does not say so."""
    try:
        moment = datetime.fromtimestamp(int(found["photoTakenTime"]["timestamp"]), UTC)
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return ""
    return moment.isoformat() if is_plausible(moment) else ""
