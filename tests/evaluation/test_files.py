"""Files appear whole or not at all; what cannot be read or written is named in one line."""

import struct
import warnings
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from diffjax.errors import UserError
from diffjax.evaluation.files import animation, curve, read_image, write_png
from diffjax.files import write_whole


def random_picture(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_reads_back_as_it_was_written(tmp_path, channels):
    picture = random_picture(7, 5, channels)
    write_png(tmp_path / "new" / "folder" / "x.png", picture)
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "folder" / "x.png"), picture)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    def broken(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    (tmp_path / "x.png").write_bytes(b"old")
    with pytest.raises(UserError, match="No space left") as error:
        write_whole(tmp_path / "x.png", broken)
    assert str(tmp_path) in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]
    assert (tmp_path / "x.png").read_bytes() == b"old"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for write in (
        lambda path: write_png(path, random_picture(2, 2, 1)),
        lambda path: animation(path, random_picture(2, 1, 2, 2, 1), 1),
        lambda path: curve(path, {"loss": (np.arange(2), np.ones(2))}, "loss"),
    ):
        with pytest.raises(UserError, match="cannot write") as error:
            write(tmp_path / "file" / "x.png")
        assert str(tmp_path / "file") in str(error.value)
        assert "\n" not in str(error.value)


def test_an_animation_shows_every_frame_and_rests_on_the_last(tmp_path):
    animation(tmp_path / "x.gif", random_picture(4, 3, 4, 4, 1), 2, scale=2, frame_ms=50, last_ms=900)
    with Image.open(tmp_path / "x.gif") as gif:
        shown = []
        for frame in range(getattr(gif, "n_frames", 1)):
            gif.seek(frame)
            shown.append(gif.info["duration"])
        assert shown == [50, 50, 50, 900]
        assert gif.info["loop"] == 0


def test_a_curve_is_a_picture(tmp_path):
    steps = np.arange(0, 100, 10)
    curve(tmp_path / "x.png", {"train": (steps, 1 / (1 + steps)), "test": (steps[:1], np.ones(1))}, "loss")
    height, width, _ = read_image(tmp_path / "x.png").shape
    assert width > height > 400
    with pytest.raises(UserError, match="as many values as places"):
        curve(tmp_path / "x.png", {"train": (steps, steps[:3])}, "loss")


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
        "cut.png": "cannot be read",
        "text.png": "not a picture",
        "empty.png": "not a picture",
        "large.png": "over 64 megapixels",
        "larger.png": "over 64 megapixels",
        "largest.png": "over 64 megapixels",
        "deep.png": "more than 8 bits",
        "missing.png": "no such file",
        "folder.png": "Is a directory",
    }


def test_a_file_that_cannot_be_read_is_named_in_one_line(tmp_path):
    for name, message in damaged(tmp_path).items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(UserError, match=message) as error:
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
