"""The EXIF orientation of untrusted image files: how the camera was turned."""

from PIL.ImageFile import ImageFile

from diffjax.errors import UserError

MAX_EXIF_BYTES = 2**17  # twice what a JPEG segment holds; the time to read them grows with their square
SIDEWAYS = (5, 6, 7, 8)  # the orientations that swap height and width

_ORIENTATION = 0x0112  # the EXIF tag


def read_orientation(image: ImageFile, name: str) -> int:
    """The EXIF orientation, 0 without one; looked for only where there is EXIF data, as looking decodes a PNG.

    Raises `UserError` for more than `MAX_EXIF_BYTES` of it.
    """
    data = image.info.get("exif", b"")
    if len(data) > MAX_EXIF_BYTES:
        raise UserError(f"{name}: {len(data):,} bytes of EXIF data; save it without, or take it away")
    return image.getexif().get(_ORIENTATION, 0) if data else 0
