"""Why a photo holds no GPS data at all, guessed from its name and its other tags."""

from __future__ import annotations

import re

_ORIGINALS = (
    "export originals with location: iPhone, Share > Options > All Photos Data; "
    "Android, copy by cable; Google Photos, Takeout"
)
_LOCATION_ON = "turn location on for the camera app, or enter positions in overrides.csv"
_CHATS = {
    "WhatsApp": re.compile(r"(IMG-\d{8}-WA\d+|WhatsApp Image)", re.IGNORECASE),
    "Telegram": re.compile(r"photo_\d{4}-\d{2}-\d{2}_\d{2}-\d{2}-\d{2}", re.IGNORECASE),
    "Signal": re.compile(r"signal-\d{4}", re.IGNORECASE),
    "Facebook": re.compile(r"(FB_IMG_|received_)\d+|\d+_\d+_\d+_[no]\.jpg", re.IGNORECASE),
    "WeChat": re.compile(r"mmexport\d+", re.IGNORECASE),
}
_SCREENSHOT = re.compile(r"(screen[ _-]?shot|bildschirmfoto|capture d.?.?cran)", re.IGNORECASE)


def why_no_gps(name: str, *, camera: str, has_exif: bool, is_png: bool) -> tuple[str, str]:
    """Return the likely reason and the remedy."""
    for chat, pattern in _CHATS.items():
        if pattern.search(name):
            return f"no GPS: sent through {chat}, which removes it", _ORIGINALS
    if _SCREENSHOT.search(name):
        return "no GPS: a screenshot, not a photo", "remove it"
    if camera:
        return "no GPS: location was off, or removed on export", f"{_LOCATION_ON}; {_ORIGINALS}"
    if is_png:
        return "no GPS: a screenshot or a drawing (PNG without camera)", _ORIGINALS
    if has_exif:
        return "no GPS: saved by an editor (EXIF without camera)", _ORIGINALS
    return "no GPS: no EXIF at all, as after a chat, a web page or an editor", _ORIGINALS
