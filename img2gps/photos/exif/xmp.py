"""GPS tags in an XMP packet, the XML that editors and some phones embed in a photo."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

from PIL import Image

from img2gps.photos.exif.gps import GPS
from img2gps.photos.exif.values import Tags

_START, _END = b"<x:xmpmeta", b"</x:xmpmeta>"
_EXIF = "{http://ns.adobe.com/exif/1.0/}"
_TAGS = {
    f"{_EXIF}{tag.name}": tag
    for tag in (
        *(GPS.GPSLatitude, GPS.GPSLongitude, GPS.GPSAltitude, GPS.GPSAltitudeRef),
        *(GPS.GPSImgDirection, GPS.GPSImgDirectionRef, GPS.GPSHPositioningError),
        *(GPS.GPSDOP, GPS.GPSMapDatum),
    )
}
_REFERENCES = {GPS.GPSLatitude: GPS.GPSLatitudeRef, GPS.GPSLongitude: GPS.GPSLongitudeRef}


def find_packet(image: Image.Image | None, data: bytes) -> bytes:
    """Return a photo's XMP packet, or b"" if it has none."""
    packet = image.info.get("xmp") if image is not None else None
    if isinstance(packet, str):
        packet = packet.encode()
    if isinstance(packet, bytes) and packet:
        return packet
    start, end = data.find(_START), data.find(_END)
    return data[start : end + len(_END)] if 0 <= start < end else b""


def read_gps(packet: bytes) -> Tags:
    """Return the GPS tags of an XMP packet, in which a coordinate is "39,57.05N" or "39,57,3N"."""
    start, end = packet.find(_START), packet.rfind(_END)
    if start < 0 or end < start or b"<!DOCTYPE" in packet:
        return {}
    try:
        root = ET.fromstring(packet[start : end + len(_END)])  # noqa: S314, no DTD
    except ET.ParseError:
        return {}
    gps: dict[int, Any] = {}
    for element in root.iter():
        for name, value in [*element.attrib.items(), (element.tag, element.text or "")]:
            tag = _TAGS.get(name)
            if tag is not None and value.strip():
                gps.setdefault(tag, value.strip())
    return gps | {ref: gps[tag][-1] for tag, ref in _REFERENCES.items() if tag in gps}
