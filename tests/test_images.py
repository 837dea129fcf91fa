"""Images in: every kind becomes bytes as a viewer shows it, what cannot be read is named, no byte breaks the reader."""

import io
import struct
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffjax.errors import UserError
from diffjax.reports import write_png
from diffjax.utils.image_io import decode_file, read_header, read_image


def random_picture(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_every_kind_of_picture_becomes_grey_or_rgb(tmp_path):
    white, red = (255, 255, 255), (255, 0, 0)
    images = {
        "bit": (Image.new("1", (3, 2), 1), [255]),
        "grey": (Image.new("L", (3, 2), 9), [9]),
        "palette": (Image.new("RGB", (3, 2), red).convert("P", palette=Image.Palette.ADAPTIVE), red),
        "clear": (Image.new("RGBA", (3, 2), (0, 0, 0, 0)), white),
        "opaque": (Image.new("RGBA", (3, 2), (255, 0, 0, 255)), red),
        "clear grey": (Image.new("LA", (3, 2), (0, 0)), [255]),
    }
    for name, (image, colour) in images.items():
        image.save(tmp_path / f"{name}.png")
        picture = read_image(tmp_path / f"{name}.png")
        assert picture.shape == (2, 3, len(colour)), name
        assert (picture == colour).all(), name
        assert read_header(tmp_path / f"{name}.png") == (2, 3, len(colour) == 1, image.mode in ("RGBA", "LA")), name


def test_a_photograph_taken_sideways_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate a quarter clockwise to show
    picture = random_picture(2, 3, 3)
    Image.fromarray(picture).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), np.rot90(picture, -1))


def huge_header(width, height):
    """The start of a PNG that promises width × height pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + b"\0\0\1\0IDAT"


def damaged(tmp_path):
    """Files that are no pictures, and a word of what must be said of each."""
    write_png(tmp_path / "whole.png", random_picture(40, 40, 3))
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:900])
    (tmp_path / "text.png").write_text("not a picture\n")
    (tmp_path / "empty.png").write_bytes(b"")
    for megapixels, name in ((65, "large.png"), (100, "larger.png"), (1000, "largest.png")):
        (tmp_path / name).write_bytes(huge_header(1000 * megapixels, 1000))
    (tmp_path / "folder.png").mkdir()
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(tmp_path / "deep.png")
    return {
        "cut.png": "",
        "text.png": "",
        "empty.png": "",
        "large.png": "64",
        "larger.png": "64",
        "largest.png": "64",
        "deep.png": "8 bits",
        "missing.png": "",
        "folder.png": "",
    }


def test_a_file_that_cannot_be_read_is_named_in_one_line(tmp_path):
    for name, message in damaged(tmp_path).items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(UserError, match=rf"{name}: .*{message}") as error:
                read_image(tmp_path / name)
        assert str(error.value).count(str(tmp_path)) == 1
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp", "bmp"])
def test_damaged_bytes_give_a_picture_or_a_user_error_and_nothing_else(tmp_path, kind):
    rng, path = np.random.default_rng(0), tmp_path / f"x.{kind}"
    Image.fromarray(random_picture(16, 16, 3)).save(path)
    whole = path.read_bytes()
    for _ in range(60):
        broken = bytearray(whole)
        broken[rng.integers(0, min(len(whole), 200))] = rng.integers(0, 256)
        path.write_bytes(broken)
        with suppress(UserError):
            assert read_image(path).dtype == np.uint8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_header_and_pixels_agree_on_every_orientation(tmp_path: Path, orientation: int):
    """EXIF 2.3, 4.6.4: value 1 + k is one of the eight ways to lay down a picture; all of them, each once."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = random_picture(2, 3, 1)
    Image.fromarray(picture[..., 0]).save(tmp_path / "x.png", exif=exif)
    shown = read_image(tmp_path / "x.png")
    assert read_header(tmp_path / "x.png") == (*shown.shape[:2], True, False)
    turned = [np.rot90(start, k) for start in (picture, picture[:, ::-1]) for k in range(4)]
    place = {1: 0, 2: 4, 3: 2, 4: 6, 5: 5, 6: 3, 7: 7, 8: 1}[orientation]
    np.testing.assert_array_equal(shown, turned[place])


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (4, 2), (2, 3), (6, 4)])
def test_sixteen_bits_a_channel_are_refused_in_grey_and_colour(tmp_path: Path, colour: int, channels: int):
    head = struct.pack(">IIBBBBB", 2, 1, 16, colour, 0, 0, 0)
    pixels = zlib.compress(bytes(1 + 4 * channels))
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    for read in (read_header, read_image, lambda path: decode_file(path, 3, 4)):
        with pytest.raises(UserError, match="8 bits"):
            read(tmp_path / "x.png")


@pytest.mark.parametrize("kind", ["tiff", "ppm", "ico", "tga", "pcx", "sgi", "pdf", "eps"])
def test_no_other_kind_is_opened_whatever_its_name(tmp_path: Path, kind: str):
    Image.fromarray(random_picture(16, 16, 3)).save(tmp_path / f"x.{kind}")
    (tmp_path / f"x.{kind}").rename(tmp_path / "x.png")
    for read in (read_header, read_image):
        with pytest.raises(UserError, match="PNG, JPEG, WEBP, GIF, BMP"):
            read(tmp_path / "x.png")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 100, "subsampling": 0}, {"optimize": True}])
def test_jpegs_of_every_make_are_read_as_pillow_reads_them(tmp_path: Path, options):
    picture = Image.fromarray(random_picture(70, 50, 3))
    thumbnail = io.BytesIO()
    picture.save(thumbnail, "JPEG", progressive=True)
    picture.save(tmp_path / "x.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0" + thumbnail.getvalue() * 9, **options)
    with (tmp_path / "x.jpg").open("ab") as file:
        file.write(b"\xff\xda" * 1000)  # a film behind the picture, as telephones put it
    with Image.open(tmp_path / "x.jpg") as image:
        np.testing.assert_array_equal(read_image(tmp_path / "x.jpg"), np.asarray(image))


def test_a_message_stays_on_its_line_and_steers_no_terminal(tmp_path: Path):
    with pytest.raises(UserError, match=r"a b\\x1b\[31mc\.png: ") as error:
        read_image(tmp_path / "a\nb\x1b[31mc.png")
    assert str(error.value).isprintable()
