"""Attributes of strokes: right where the answer is known, and blind to what each of them should not see."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from diffjax.errors import UserError
from examples.digits_text.attributes import ATTRIBUTES, measure

LEVELS = 17


def bar(shear: int = 0, columns: int = 2, left: int = 8, rows: int = 10, size: int = 24, level: int = 16) -> np.ndarray:
    """A bar in a picture 24 pixels wide; each row up starts `shear` pixels further right."""
    image = np.zeros((size, size, 1), np.uint8)
    for i in range(rows):
        start = left + shear * i
        image[size - 4 - i, start : start + columns] = level
    return image


def of(*images: np.ndarray, levels: int = LEVELS) -> dict[str, np.ndarray]:
    return measure(np.stack(images), levels)


def digits() -> np.ndarray:
    """Real strokes with room around them: 12 pixels a side."""
    images = load_digits().images[:50].astype(np.uint8)
    return np.pad(images, ((0, 0), (2, 2), (2, 2)))[..., None]


@pytest.mark.parametrize("shear", [-1, 0, 1])
def test_a_sheared_bar_has_its_shear_for_slant_and_keeps_its_width(shear: int):
    found = of(bar(shear, left=12 - 5 * shear))
    np.testing.assert_allclose(found["slant"], shear, atol=1e-6)
    np.testing.assert_allclose(found["width"], 2 / 24, atol=1e-6)


@pytest.mark.parametrize("columns", [1, 3, 8])
def test_a_bar_of_so_many_columns_has_their_width_and_weight(columns: int):
    found = of(bar(columns=columns))
    np.testing.assert_allclose(found["width"], columns / 24, rtol=1e-6)
    np.testing.assert_allclose(found["weight"], columns * 10 / 24**2, rtol=1e-6)


def test_position_goes_from_edge_to_edge():
    found = of(bar(columns=2, left=0), bar(columns=2, left=11), bar(columns=2, left=22))
    np.testing.assert_allclose(found["position"], [-1 + 1 / 12, 0, 1 - 1 / 12], atol=1e-6)


def test_moving_a_stroke_moves_its_position_alone():
    images = digits()
    before, after = measure(images, LEVELS), measure(np.roll(images, (1, 2), axis=(1, 2)), LEVELS)
    np.testing.assert_allclose(after["position"], before["position"] + 2 * 2 / 12, atol=1e-6)
    for name in ("weight", "slant", "width"):
        np.testing.assert_allclose(after[name], before[name], atol=1e-6)


def test_a_shear_adds_to_the_slant_and_leaves_weight_and_width():
    images = np.pad(digits(), ((0, 0), (0, 0), (8, 8), (0, 0)))
    sheared = np.stack([np.roll(images[:, i], 6 - i, axis=1) for i in range(12)], axis=1)
    before, after = measure(images, LEVELS), measure(sheared, LEVELS)
    np.testing.assert_allclose(after["slant"], before["slant"] + 1, atol=1e-5)
    for name in ("weight", "width"):
        np.testing.assert_allclose(after[name], before[name], atol=1e-5)


def test_a_mirror_turns_slant_and_position_round():
    images = digits()
    before, after = measure(images, LEVELS), measure(images[:, :, ::-1], LEVELS)
    for name, sign in zip(ATTRIBUTES, (1, -1, 1, -1), strict=True):
        np.testing.assert_allclose(after[name], sign * before[name], atol=1e-6)


def test_paler_ink_is_less_ink_of_the_same_shape():
    images = digits() // 2 * 2
    before, after = measure(images, LEVELS), measure(images // 2, LEVELS)
    np.testing.assert_allclose(2 * after["weight"], before["weight"], rtol=1e-6)
    for name in ("slant", "width", "position"):
        np.testing.assert_allclose(after[name], before[name], atol=1e-6)


def test_neither_resolution_nor_the_number_of_levels_changes_the_ruler():
    """Each pixel becomes four: the same ink, of which every row still moves by the same share."""
    images = digits()
    finer = images.repeat(2, axis=1).repeat(2, axis=2)
    before, after = measure(images, LEVELS), measure(finer * 15, 241)  # 16 * 15 is the highest of 241 levels
    for name in ("weight", "position"):
        np.testing.assert_allclose(after[name], before[name], atol=1e-6)
    np.testing.assert_allclose(after["slant"], before["slant"], rtol=0.05, atol=0.01)
    np.testing.assert_allclose(after["width"], before["width"], rtol=0.02)


def test_no_ink_and_a_single_row_have_numbers_too():
    row = np.zeros((8, 8, 1), np.uint8)
    row[3] = 16
    found = of(np.zeros((8, 8, 1), np.uint8), row)
    assert [float(found[name][0]) for name in ATTRIBUTES] == [0, 0, 0, 0]
    np.testing.assert_allclose([found[name][1] for name in ATTRIBUTES], [1 / 8, 0, 1, 0], atol=1e-6)


def test_levels_that_bytes_cannot_hold_are_refused():
    with pytest.raises(UserError, match=r"^levels\b"):
        of(bar(), levels=1)
