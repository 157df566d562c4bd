"""GPS tags in an XMP packet, the XML that editors and some phones embed in a photo."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree as ET

from PIL import Image

from img2gps.photos.exif.gps import GPS
from img2gps.photos.exif.values import Tags

MAX_BYTES = 2**20  # a packet in a JPEG has at most 64 KiB; parsing takes up to 60 times as much
_EXIF = "{http://ns.adobe.com/exif/1.0/}"
_TAGS = {
    f"{_EXIF}{tag.name}": tag
    for tag in (
        *(GPS.GPSLatitude, GPS.GPSLongitude, GPS.GPSAltitude, GPS.GPSAltitudeRef, GPS.GPSStatus),
        *(GPS.GPSImgDirection, GPS.GPSImgDirectionRef, GPS.GPSHPositioningError),
        *(GPS.GPSDOP, GPS.GPSMapDatum),
    )
}
_AXES = {
    GPS.GPSLatitude: (GPS.GPSLatitudeRef, "N", "S"),
    GPS.GPSLongitude: (GPS.GPSLongitudeRef, "E", "W"),
}  # tag of the reference, positive and negative reference
_ROOTS = (b"x:xmpmeta", b"x:xapmeta", b"rdf:RDF")  # the outermost first
_DECIMAL = re.compile(r"[-+]?\d+(\.\d*)?")


def packet_of(image: Image.Image) -> bytes:
    """Return the XMP packet that Pillow found in a photo, or b""."""
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    if isinstance(packet, str):
        packet = packet.encode("utf-8", "replace")
    return packet if isinstance(packet, bytes) else b""


def read_gps(packet: bytes) -> Tags:
    """Return the GPS tags of a packet. A coordinate is "39,57.05N", "39,57,3N" or "39.95"."""
    root = _parse(packet)
    gps: dict[int, Any] = {}
    for element in () if root is None else root.iter():
        for name, value in [*element.attrib.items(), (element.tag, element.text or "")]:
            tag = _TAGS.get(name)
            if tag is not None and value.strip():
                gps.setdefault(tag, value.strip())
    for tag, (ref, positive, negative) in _AXES.items():
        if _DECIMAL.fullmatch(value := gps.get(tag, "")):
            gps |= {tag: value.lstrip("+-"), ref: negative if value.startswith("-") else positive}
        elif value[-1:].isalpha():
            gps[ref] = value[-1]
    return gps


def _parse(packet: bytes) -> ET.Element | None:
    """Return the outermost element; None for what is too long, broken, or defines entities."""
    if len(packet) > MAX_BYTES or b"<!" in packet.replace(b"\0", b""):
        return None
    for name in _ROOTS:
        start, end = packet.find(b"<" + name), packet.rfind(b"</" + name + b">")
        if 0 <= start < end:
            try:
                return ET.fromstring(packet[start : end + len(name) + 3])  # noqa: S314, no DTD
            except ET.ParseError:
                return None
    return None
