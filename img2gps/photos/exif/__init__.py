"""EXIF: from the bytes of a photo to its position, heading, time and orientation.

Two readers look at every photo: exifread, which is fast and reads odd TIFF structures, and
Pillow (with pillow-heif), which finds EXIF where exifread does not look. Each fails on files that
the other reads. Where both find a position, the two are compared. XMP is read where neither does.

Both readers return raw tags. `gps` and `times` turn these into degrees, metres and ISO 8601, so
that the same rules hold for both. Tags are those of EXIF 2.32 (CIPA DC-008), section 4.6.6 for GPS.
"""

from __future__ import annotations

from img2gps.photos.exif.photo import READER_VERSION, Exif, read

__all__ = ["READER_VERSION", "Exif", "read"]
