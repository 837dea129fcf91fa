"""Untrusted JPEG files: how often they would have Pillow pass over all pixels, bounded before it does."""

import re

from PIL.ImageFile import ImageFile

from diffjax.errors import UserError

MAX_SCANS = 64  # of a progressive JPEG, each of them a pass over all pixels; writers make ten

_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")  # of JPEG (ITU-T T.81, table B.1), those within coded data left out
_END = 0xD9
_SCAN = 0xDA


def check_scans(image: ImageFile, name: str) -> None:
    """Raises `UserError` for a JPEG of more scans than `MAX_SCANS`: a few bytes each, and as slow as an image."""
    if image.format not in ("JPEG", "MPO") or image.fp is None:
        return
    image.fp.seek(0)
    data = image.fp.read()
    at = 2
    scans = 0
    while (marker := _MARKER.search(data, at)) and data[marker.end() - 1] != _END:
        scans += data[marker.end() - 1] == _SCAN
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
        if scans > MAX_SCANS:
            raise UserError(f"{name}: a JPEG of over {MAX_SCANS} scans; save it again or take it away")
