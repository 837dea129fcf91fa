"""A user's pictures and masks: fitted to a model, said so, and refused where they do not say what to do."""

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffjax.commands import edit_requests, image_inputs
from diffjax.commands.edit_inputs import EditRequest
from diffjax.errors import UserError
from diffjax.experiment.data_spec import DataSpec

GREY = DataSpec((8, 8, 1), 0, (), 17, (), "unit")
COLOUR = replace(GREY, shape=(8, 8, 3), levels=256)
TOKENS = replace(GREY, form="tokens")
ROWS = np.arange(8, dtype=np.uint8)[:, None].repeat(8, 1)


@pytest.fixture
def file(tmp_path: Path):
    """Writes a picture of these pixels in that mode, and gives its path."""

    def written(pixels: np.ndarray, name: str = "in.png", mode: str | None = None) -> str:
        image = Image.fromarray(pixels)
        (image if mode is None else image.convert(mode)).save(tmp_path / name)
        return str(tmp_path / name)

    return written


def halves(height: int = 8, width: int = 8) -> np.ndarray:
    """White below."""
    pixels = np.zeros((height, width), np.uint8)
    pixels[height // 2 :] = 255
    return pixels


def huge(path: Path) -> str:
    """A PNG whose header promises a hundred megapixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    path.write_bytes(start + b"\0\0\1\0IDAT")
    return str(path)


def test_what_fits_is_left_as_it_is(file) -> None:
    given = image_inputs.read_picture(file(30 * ROWS), GREY)
    np.testing.assert_array_equal(given.pixels[..., 0], 30 * ROWS)
    assert given.notes == ""
    shown = image_inputs.to_bytes(given.pixels, GREY)
    np.testing.assert_array_equal(image_inputs.to_bytes(shown, GREY), shown)
    assert np.abs(shown[..., 0].astype(int) - 30 * ROWS).max() <= 8  # half of one of 17 levels


@pytest.mark.parametrize("form", ["unit", "dequantised", "tokens"])
def test_a_picture_is_seen_as_in_training_and_comes_back(file, form) -> None:
    facts = replace(GREY, form=form)
    given = image_inputs.read_picture(file(16 * ROWS), facts)
    x = image_inputs.to_model_input(given.pixels, facts)
    assert x.shape == facts.encoding.shape(facts.shape)
    levels = facts.encoding.decode(x[None], facts.shape, facts.levels)[0]
    np.testing.assert_array_equal(levels, image_inputs.to_levels(given.pixels, facts))


def test_other_sizes_and_kinds_are_fitted_and_said(file) -> None:
    """The largest centred part, its areas averaged; laid on white; grey or in three equal channels."""
    wide = np.zeros((16, 32, 3), np.uint8)
    wide[:, 8:16] = 255  # of the middle, the left half
    given = image_inputs.read_picture(file(wide), GREY)
    np.testing.assert_array_equal(given.pixels[0, :, 0], [255] * 4 + [0] * 4)
    assert given.notes.endswith("in.png: 32 wide and 16 high, RGB, fitted to 8 wide and 8 high, grey")
    given = image_inputs.read_picture(file(halves()), COLOUR)
    assert given.pixels.shape == (8, 8, 3)
    assert given.notes.endswith("8 wide and 8 high, grey, fitted to 8 wide and 8 high, RGB")
    clear = np.zeros((8, 8, 4), np.uint8)
    clear[0, ..., 3] = 255
    given = image_inputs.read_picture(file(clear), GREY)
    np.testing.assert_array_equal(given.pixels[:2, 0, 0], [0, 255])
    assert given.notes.endswith("8 wide and 8 high, RGB, laid on white, fitted to 8 wide and 8 high, grey")
    assert image_inputs.read_picture(file(halves(), mode="P"), COLOUR).pixels.max() == 255


def test_a_mask_is_fitted_as_its_picture_and_no_white_is_lost(file) -> None:
    pixels = np.zeros((16, 16), np.uint8)
    given = image_inputs.read_picture(file(pixels), GREY)
    pixels[5, 9] = 255
    pixels[0] = 100  # dark, as a JPEG leaves it
    painted = image_inputs.read_mask(file(pixels, "mask.png"), given)
    assert np.argwhere(painted).tolist() == [[2, 4]]


def edited(name: str, facts: DataSpec = GREY, **asked):
    return edit_requests.build_edit(name, EditRequest(facts, **asked))


def test_an_outpainted_picture_keeps_its_place(file) -> None:
    part = file(200 * np.ones((4, 5), np.uint8))
    made = edited("outpaint", image=(part,), place="1,3")
    assert made.inputs.mask is not None
    assert np.argwhere(~made.inputs.mask)[[0, -1]].tolist() == [[1, 3], [4, 7]]
    np.testing.assert_array_equal(made.inputs.panels["input"][~made.inputs.mask], 207)  # the nearest level
    middle = edited("outpaint", image=(part,))
    assert np.argwhere(~middle.inputs.mask)[0].tolist() == [2, 1]
    whole = edited("outpaint", image=(file(halves(16, 16)),))
    assert np.argwhere(~whole.inputs.mask)[[0, -1]].tolist() == [[2, 2], [5, 5]]
    assert "16 wide and 16 high, grey, fitted to 4 wide and 4 high, grey" in whole.inputs.notes[0]


def test_a_small_picture_is_the_means_of_the_large_one(file) -> None:
    made = edited("super_resolve", image=(file(halves(2, 2)),))
    assert made.inputs.panels["input"].shape == (2, 2, 1)
    assert made.inputs.notes == ()
    seen = made.sample.observation
    assert int(np.isfinite(seen.std).sum()) == 4
    made = edited("super_resolve", image=(file(halves(30, 30)),))
    assert made.inputs.panels["input"].shape == (4, 4, 1)
    grey = edited("colourise", COLOUR, image=(file(halves()),)).sample.observation
    assert int(np.isfinite(grey.std).sum()) == 64


def test_what_cannot_be_is_one_line(file, tmp_path) -> None:
    whole, mask = file(16 * ROWS), file(halves(), "mask.png")
    deep, large = file(np.zeros((8, 8), np.float32), "deep.tiff"), huge(tmp_path / "huge.png")
    more = file(halves(8, 9), "more.png")
    one = {"image": (whole,)}
    cases = [
        ("inpaint", {}, "^--image: "),
        ("inpaint", {"image": (whole, whole)}, "^--image: .*2"),
        ("inpaint", one, "^--mask: inpaint"),
        ("inpaint", {**one, "mask": more}, "more.png: .*8 wide and 8 high.*in.png.*9 wide and 8 high"),
        ("inpaint", {**one, "mask": file(0 * ROWS, "no.png")}, "no.png: "),
        ("inpaint", {**one, "mask": file(0 * ROWS + 255, "all.png")}, "all.png: "),
        ("inpaint", {"image": (deep,), "mask": mask}, "deep.tiff: .*16 bits"),
        ("inpaint", {**one, "mask": deep}, "deep.tiff: .*16 bits"),
        ("inpaint", {"image": (large,), "mask": mask}, "huge.png: .*64"),
        ("inpaint", {**one, "mask": mask, "strength": 0.5}, "--strength: .*inpaint"),
        ("inpaint", {**one, "mask": mask, "method": "paint"}, "--method: .*'paint'.*clamp, ddnm"),
        ("inpaint", {"image": (str(tmp_path / "none.png"),), "mask": mask}, "none.png: "),
        ("outpaint", {**one, "place": "9,0"}, "--place 9,0: .*TOP,LEFT"),
        ("outpaint", {**one, "place": "1"}, "--place 1: .*TOP,LEFT"),
        ("variations", {**one, "strength": 0.0}, r"strength: .*\(0, 1\]"),
        ("variations", {**one, "strength": 1.5}, r"strength: .*\(0, 1\]"),
        ("sketch", {**one, "strokes": more}, "--strokes .*more.png: .*8 wide and 8 high"),
        ("sketch", {**one, "strokes": whole}, "--strokes"),
        ("interpolate", one, "--image: interpolate.*got 1"),
        ("interpolate", {}, "--edit interpolate: .*--label_to"),
        ("interpolate", {"image": (whole, whole), "seed_to": 3}, "--seed_to: "),
        ("colourise", one, "--edit colourise: .*grey"),
        ("paint", one, "--edit: .*'paint'.*colourise, inpaint"),
    ]
    for name, asked, told in cases:
        with pytest.raises(UserError, match=told):
            edited(name, **asked)
    for name, asked in (("super_resolve", one), ("interpolate", {"image": (whole, whole)})):
        with pytest.raises(UserError, match=r"--edit .*tokens"):
            edited(name, TOKENS, **asked)
