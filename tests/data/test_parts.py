"""Parts of conditions: each is what it says of a picture where the answer is known, and refuses what it can't be of."""

import numpy as np
import pytest
from scipy import ndimage

from diffjax.data import Dataset, byte_tokenizer, condition_parts
from diffjax.data.condition_parts import Maker, Part, PartContext, part_context
from diffjax.data.examples import Feature
from diffjax.errors import UserError
from examples.digits_text import parts as digits_parts
from examples.digits_text.attributes import measure
from examples.digits_text.captions import describe_traits, parse_caption

PHOTO = PartContext((12, 16, 3), ("a",), 256, {})
NEIGHBOURS = np.ones((3, 3), bool)


def grey(height: int, width: int) -> PartContext:
    return PartContext((height, width, 1), ("a",), 256, {})


def of(maker: Maker, image: np.ndarray, levels: int = 256, label: int = 0) -> np.ndarray:
    part = maker(PartContext(image.shape, ("a",), levels, {}))
    value = part.make(image, label)
    assert (value.shape, value.dtype) == (part.shape, part.dtype)
    return value


def stroke(height: int, width: int, rows: slice, columns: slice) -> np.ndarray:
    image = np.zeros((height, width, 1), np.uint8)
    image[rows, columns] = 255
    return image


@pytest.mark.parametrize("thickness", [1, 3, 5])
def test_the_sketch_of_a_bar_is_its_middle_line(thickness: int):
    drawn = of(condition_parts.sketch(), stroke(16, 16, slice(2, 14), slice(4, 4 + thickness)))[..., 0]
    rows = slice(2 + thickness // 2, 14 - thickness // 2)
    np.testing.assert_array_equal(drawn[rows, 4 + thickness // 2], 1)
    assert drawn.sum(axis=1).max() <= 2


def test_a_sketch_is_lines_in_the_strokes_and_holds_together_as_they_do(digits: Dataset):
    images, _ = digits.arrays("validation", np.arange(80))
    make = condition_parts.sketch()(part_context(digits)).make
    for image in images:
        drawn, ink = make(image, 0)[..., 0], ndimage.binary_dilation(image[..., 0] > 0, NEIGHBOURS)
        assert set(np.unique(drawn)) <= {0, 1}
        assert 0 < drawn.sum() < 0.8 * (image > 0).sum()
        assert not drawn[~ink].any()
        around = np.pad(image[..., 0] > 8, 1)
        assert ndimage.label(drawn, NEIGHBOURS)[1] <= max(ndimage.label(around, NEIGHBOURS)[1], 2)


def test_moving_a_stroke_moves_its_sketch(digits: Dataset):
    image = np.pad(digits.arrays("test", np.array([3]))[0][0], ((4, 4), (4, 4), (0, 0)))
    moved = np.roll(image, (1, -2), axis=(0, 1))
    np.testing.assert_array_equal(
        of(condition_parts.sketch(), moved, 17), np.roll(of(condition_parts.sketch(), image, 17), (1, -2), axis=(0, 1))
    )


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_edges_of_a_square_go_around_it(channels: int):
    image = np.zeros((24, 24, channels), np.uint8)
    image[6:18, 6:18] = 255
    drawn = of(condition_parts.sketch(sigma=1.0), image)[..., 0]
    assert 30 < drawn.sum() < 60
    assert not drawn[9:15, 9:15].any()
    assert not drawn[:4].any()
    assert not of(condition_parts.sketch(sigma=1.0), np.full((24, 24, channels), 99, np.uint8)).any()


def test_low_res_is_the_mean_of_each_block_in_the_units_of_x():
    image = np.random.default_rng(0).integers(0, 17, (6, 8, 3), np.uint8)
    small = of(condition_parts.low_res(2), image, 17)
    for i, j in np.ndindex(3, 4):
        np.testing.assert_allclose(
            small[i, j], 2 * image[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((0, 1)) / 16 - 1, atol=1e-6
        )
    ends = of(condition_parts.low_res(4), stroke(4, 8, slice(None), slice(4, 8)))
    np.testing.assert_array_equal(ends.ravel(), [-1, 1])


def test_captions_are_texts_that_are_true(digits: Dataset):
    images, labels = digits.arrays("test", np.arange(20))
    part = digits_parts.caption(choices=3)(part_context(digits))
    assert (part.name, part.shape, part.choices, part.vocab) == ("text", (64,), 3, 257)
    for image, label, own in zip(images, labels, describe_traits(images, labels, 17), strict=True):
        value = part.make(image, int(label))
        assert (value.shape, value.dtype) == ((3, 64), np.int32)
        said = [parse_caption(told) for told in byte_tokenizer.decode(value)]
        assert said[0] == (label, own)
        assert all(digit == label and some.items() <= own.items() for digit, some in said)


def test_a_measured_part_is_the_attribute_of_the_picture(digits: Dataset):
    images, _ = digits.arrays("test", np.arange(5))
    for name, expected in measure(images, 17).items():
        part = digits_parts.measured(name)(part_context(digits))
        assert (part.name, part.shape) == (name, ())
        np.testing.assert_array_equal([part.make(image, 0) for image in images], expected)


STORED = {
    "vector": Feature((2, 3), np.dtype(np.float64)),
    "note": Feature((), np.dtype(object), text=True),
    "kind": Feature((), np.dtype(np.int64), classes=5),
    "count": Feature((), np.dtype(np.int64)),
    "huge": Feature((), np.dtype(np.int64), classes=2**22),
    "any": Feature((None, 3), np.dtype(np.float32)),
}


def stored(name: str) -> Part:
    return condition_parts.feature(name)(PartContext((8, 8, 1), (), 17, STORED))


def test_features_come_as_they_are_stored():
    array = np.arange(6.0).reshape(2, 3)
    found = stored("vector").make(array, 0)
    np.testing.assert_array_equal(found, array)
    assert (found.dtype, stored("vector").shape, stored("vector").reads) == (np.float32, (2, 3), "vector")
    assert byte_tokenizer.decode(stored("note").make("schön".encode(), 0)[None]) == ["schön"]
    assert (stored("kind").vocab, stored("kind").make(np.int64(4), 0).dtype) == (5, np.int32)
    assert not stored("vector").of_image


def test_the_bytes_of_a_part_are_those_of_its_values(digits: Dataset):
    image = digits.split("test")[0]["image"]
    for maker in (
        condition_parts.sketch(),
        condition_parts.low_res(),
        digits_parts.caption(choices=2),
        digits_parts.measured("slant"),
    ):
        part = maker(part_context(digits))
        assert part.make(image, 0).nbytes == part.bytes


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: condition_parts.sketch(sigma=-1.0), "sigma"),
        (
            lambda: condition_parts.sketch()(PHOTO),
            "sketch: .*3 channels.*sigma=1",
        ),
        (lambda: condition_parts.low_res(1), "low_res: factor"),
        (lambda: condition_parts.low_res(2, noise=-0.1), "low_res: noise"),
        (lambda: condition_parts.low_res(5)(PHOTO), r"low_res: factor .*16 wide and 12 high"),
        (lambda: digits_parts.caption(length=10), "caption: .*length.*64"),
        (lambda: digits_parts.caption()(PHOTO), r"feature\('name'\)"),
        (lambda: digits_parts.measured("height"), "'height'.*weight, slant, width, position"),
        (lambda: digits_parts.measured("slant")(PHOTO), r"feature\('name'\)|grey"),
        (lambda: condition_parts.feature("note")(PHOTO), "feature: .*'note'"),
        (lambda: stored("nota"), "feature: .*'nota'.*any, count, huge, kind, note, vector"),
        (lambda: stored("any"), r"'any' .*\(None, 3\)"),
        (lambda: stored("count").make(np.int64(2**40), 0), "'count'.*32 bits"),
        (lambda: stored("kind").make(np.int64(-1), 0), "0 … 4.*-1"),
        (lambda: stored("huge"), "'huge' .*4,194,304.*1,048,576"),
        (lambda: stored("vector").make(np.full((2, 3), np.nan), 0), "'vector'"),
        (lambda: stored("note").make(b"", 0), "'note'|text"),
    ],
)
def test_what_cannot_be_is_refused(make, message: str):
    with pytest.raises(UserError, match=message):
        make()
