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
from diffjax.utils.image_io import decode_file, format_size, parse_size, read_header, read_image


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
        assert read_header(tmp_path / f"{name}.png")[:4] == (2, 3, len(colour) == 1, image.mode in ("RGBA", "LA")), name


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
    Image.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / "real.png", "TIFF")
    return {
        "cut.png": "",
        "text.png": "",
        "empty.png": "",
        "large.png": "64",
        "larger.png": "64",
        "largest.png": "64",
        "real.png": "16 bits",
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


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp", "bmp", "tiff", "avif", "jp2"])
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
    assert read_header(tmp_path / "x.png")[:4] == (*shown.shape[:2], True, False)
    turned = [np.rot90(start, k) for start in (picture, picture[:, ::-1]) for k in range(4)]
    place = {1: 0, 2: 4, 3: 2, 4: 6, 5: 5, 6: 3, 7: 7, 8: 1}[orientation]
    np.testing.assert_array_equal(shown, turned[place])


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (4, 2), (2, 3), (6, 4)])
def test_sixteen_bits_a_channel_are_scaled_in_grey_and_colour(tmp_path: Path, colour: int, channels: int):
    """Grey to the nearest, v / 257; of the other kinds Pillow keeps the high byte, at most one level from it."""
    values = np.linspace(0, 65535, 200).round().astype(">u2")
    pixels = np.repeat(values[None, :, None], channels, axis=2)
    if channels in (2, 4):
        pixels[..., -1] = 65535
    head = struct.pack(">IIBBBBB", 200, 1, 16, colour, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" + pixels.tobytes())) + chunk(b"IEND", b"")
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    header = read_header(tmp_path / "x.png")
    assert (header.deep, header.grey, header.transparent) == (True, channels < 3, channels in (2, 4))
    shown = read_image(tmp_path / "x.png")
    assert shown.shape == (1, 200, 1 if channels < 3 else 3)
    nearest = np.rint(values / 257).astype(int)[None, :, None]
    assert np.abs(shown.astype(int) - nearest).max() <= (channels > 1)


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_deep_grey_turns_with_its_orientation(tmp_path: Path, kind: str):
    values = (257 * np.arange(6)).reshape(2, 3).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(values).save(tmp_path / f"x.{kind}", exif=exif)
    shown = read_image(tmp_path / f"x.{kind}")
    np.testing.assert_array_equal(shown[..., 0], np.rot90(values // 257, -1))
    assert read_header(tmp_path / f"x.{kind}")[:2] == shown.shape[:2]


@pytest.mark.parametrize("kind", ["tiff", "avif", "jp2"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_later_formats_are_read_upright(tmp_path: Path, kind: str, orientation: int):
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[:8, :12] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    if kind == "jp2":
        Image.fromarray(picture).save(tmp_path / "x.jp2")
    else:
        Image.fromarray(picture).save(tmp_path / f"x.{kind}", exif=exif)
    shown = read_image(tmp_path / f"x.{kind}")
    turns = {1: 0, 3: 2, 6: -1, 8: 1}[orientation if kind != "jp2" else 1]  # which holds none
    assert np.abs(shown.astype(int) - np.rot90(picture, turns)).mean() < 8
    assert read_header(tmp_path / f"x.{kind}")[:2] == shown.shape[:2]


def test_inks_become_colours_and_the_background_is_chosen(tmp_path: Path):
    Image.new("CMYK", (3, 2), (0, 255, 255, 0)).save(tmp_path / "x.jpg", quality=100)
    assert np.abs(read_image(tmp_path / "x.jpg").astype(int) - (255, 0, 0)).max() < 4
    green = (0, 128, 64)
    half = Image.new("RGBA", (3, 2), (255, 0, 255, 0))
    half.putpixel((0, 0), (10, 20, 30, 255))
    palette = Image.new("P", (3, 2), 1)
    palette.putpalette([10, 20, 30, 255, 0, 255])
    palette.putpixel((0, 0), 0)
    half.save(tmp_path / "alpha.png")
    palette.save(tmp_path / "palette.png", transparency=1)
    Image.new("LA", (3, 2), (0, 0)).save(tmp_path / "grey.png")
    for name in ("alpha", "palette"):
        shown = decode_file(tmp_path / f"{name}.png", None, None, background=green)
        np.testing.assert_array_equal(shown[0, 0], (10, 20, 30))
        assert (shown.reshape(-1, 3)[1:] == green).all()
    assert (decode_file(tmp_path / "grey.png", None, None, background=green) == green).all()
    assert (decode_file(tmp_path / "grey.png", None, None, background=(7, 7, 7)) == np.full((2, 3, 1), 7)).all()


@pytest.mark.parametrize("kind", ["webp", "gif", "png", "tiff", "mpo", "avif"])
def test_of_several_frames_the_first_is_read(tmp_path: Path, kind: str):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    frames[0].save(tmp_path / f"x.{kind}", save_all=True, append_images=frames[1:])
    assert read_header(tmp_path / f"x.{kind}").several_frames
    assert np.abs(read_image(tmp_path / f"x.{kind}").astype(int) - (255, 0, 0)).max() < 8
    frames[0].save(tmp_path / f"one.{kind}")
    assert not read_header(tmp_path / f"one.{kind}").several_frames


@pytest.mark.parametrize(("kind", "codec"), [("avif", "avif"), ("jp2", "jpg_2000"), ("webp", "webp")])
def test_a_format_that_pillow_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, codec: str):
    Image.fromarray(random_picture(16, 16, 3)).save(tmp_path / f"x.{kind}")
    monkeypatch.setattr("PIL.features.check", lambda feature: feature != codec)
    for read in (read_header, read_image):
        with pytest.raises(UserError, match=rf"x\.{kind}: .*Pillow"):
            read(tmp_path / f"x.{kind}")


@pytest.mark.parametrize("kind", ["ppm", "ico", "tga", "pcx", "sgi", "pdf", "eps"])
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


@pytest.mark.parametrize(("text", "size"), [("64", (64, 64)), ("64x96", (64, 96)), ("1x2", (1, 2))])
def test_a_size_is_read_height_first(text, size):
    assert parse_size(text, "--size") == size


NO_SIZES = ("", "0", "0x4", "4x0", "-4", "4x", "x4", "4x4x3", "4 x 4", "a", "4.5", "\u0664", "9" * 99)


@pytest.mark.parametrize("text", NO_SIZES)
def test_what_is_no_size_is_refused_by_the_name_of_its_field(text):
    with pytest.raises(UserError, match=r"^--size: .*HEIGHTxWIDTH.*64x96"):
        parse_size(text, "--size")


def test_a_size_in_words_cannot_be_misread():
    assert format_size(28, 40) == "40 wide and 28 high"
