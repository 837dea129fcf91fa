"""Pictures hold the images' own pixels at computed places, and leave room for the words."""

import re

import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.reports.image_grids import (
    LINE,
    MIN_LEGIBLE_SIDE,
    PAPER,
    RULE,
    crossed_grid,
    grid,
    labelled_grid,
    side_by_side,
    strip,
)


def random_images(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def contains(picture, tile):
    """Whether the tile, as RGB, occurs anywhere in the picture."""
    tile = np.broadcast_to(tile, (*tile.shape[:2], 3))
    height, width = tile.shape[:2]
    first_row = re.compile(b"(?=" + re.escape(tile[0].tobytes()) + b")")
    corners = [
        (y, match.start() // 3) for y in range(len(picture)) for match in first_row.finditer(picture[y].tobytes())
    ]
    return any(np.array_equal(picture[y : y + height, x : x + width], tile) for y, x in corners)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [1, 3])
def test_every_pixel_of_a_grid_is_where_it_is_promised(channels, scale):
    images = random_images(5, 4, 6, channels)
    picture = grid(images, 3, scale)
    assert picture.shape == (2 * (4 * scale + LINE) + LINE, 3 * (6 * scale + LINE) + LINE, 3)
    for n, i, j in np.ndindex(5, 4, 6):
        top = LINE + n // 3 * (4 * scale + LINE) + i * scale
        left = LINE + n % 3 * (6 * scale + LINE) + j * scale
        assert (picture[top : top + scale, left : left + scale] == images[n, i, j]).all()


def test_lines_frame_the_images_and_empty_cells_stay_white():
    picture = grid(random_images(3, 4, 4, 1), 2, 2)
    assert (picture[:LINE] == RULE).all()
    assert (picture[8 + LINE : 8 + 2 * LINE, : 8 + 2 * LINE] == RULE).all()
    assert (picture[8 + 2 * LINE :, 8 + 2 * LINE :] == PAPER).all()


def test_small_images_are_enlarged_until_legible_and_large_ones_are_not():
    assert grid(random_images(1, 8, 8, 1), 1).shape[0] >= MIN_LEGIBLE_SIDE
    assert grid(random_images(1, 64, 80, 3), 1).shape == (64 + 2 * LINE, 80 + 2 * LINE, 3)


def test_a_crossed_picture_holds_each_pair_as_a_square_in_its_row_and_column():
    images = random_images(2, 3, 4, 5, 5, 1)
    picture = crossed_grid(images, ["one", "two"], ["a", "b", "a longer name than its images are wide"])
    assert all(contains(picture, grid(images[r, q], 2)) for r, q in np.ndindex(2, 3))
    with pytest.raises(UserError, match=r"2 rows.*1 columns"):
        crossed_grid(images, ["one", "two"], ["a"])


def test_a_labelled_grid_has_a_row_for_each_class_in_order_and_a_name_beside_it():
    images, labels = random_images(6, 4, 4, 1), np.array([2, 0, 2, 2, 0, 2])
    picture = labelled_grid(images, labels, ["nought", "one", "two"], 3, 2)
    left = picture.shape[1] - (3 * (8 + LINE) + LINE)
    np.testing.assert_array_equal(picture[: 8 + 2 * LINE, left : left + 2 * 8 + 3 * LINE], grid(images[[1, 4]], 2, 2))
    np.testing.assert_array_equal(picture[8 + LINE :, left:], grid(images[[0, 2, 3]], 3, 2))
    names = (picture[:, :left] != PAPER).any((1, 2))
    assert names[: 8 + LINE].any()
    assert names[8 + 2 * LINE :].any()


def test_a_strip_runs_from_left_to_right_over_its_levels():
    frames = random_images(4, 2, 5, 5, 3)
    picture = strip(frames, [1.0, 0.5, 0.25, "0"], scale=9)
    side = 5 * 9 + LINE
    rows = grid(np.swapaxes(frames, 0, 1).reshape(8, 5, 5, 3), 4, 9)
    left = next(x for x in range(picture.shape[1]) if (picture[0, x] == RULE).all())
    np.testing.assert_array_equal(picture[: rows.shape[0], left : left + rows.shape[1]], rows)
    below = (picture[rows.shape[0] :, left : left + rows.shape[1]] != PAPER).any((0, 2))
    for column in range(4):
        assert below[column * side : (column + 1) * side].any(), "a level is missing"
        assert not below[column * side], "two levels touch"


def test_crowded_levels_are_thinned_but_the_last_stays():
    frames = random_images(30, 1, 4, 4, 1)
    picture = strip(frames, list(np.linspace(1, 0, 30)), scale=2)
    ink = (picture[8 + 2 * LINE :] != PAPER).any((0, 2))
    words = np.flatnonzero(np.diff(ink.astype(int)) == 1)
    assert 3 < len(words) < 60
    assert ink[-(8 + LINE) - 12 :].any()
    assert not ink[-1], "the last level is cut off"


def test_samples_lie_above_their_matches():
    samples, matches = random_images(3, 4, 4, 1), 255 - random_images(3, 4, 4, 1)
    picture = side_by_side(samples, matches, 2, 2)
    for sample, match in zip(samples, matches, strict=True):
        rule = np.full((LINE, 8, 3), RULE, np.uint8)
        above, below = (np.broadcast_to(x.repeat(2, 0).repeat(2, 1), (8, 8, 3)) for x in (sample, match))
        assert contains(picture, np.concatenate([above, rule, below]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: grid(x, 0), "columns|images"),
        (lambda x: grid(x[:0], 2), "images"),
        (lambda x: grid(x, 2, 0), "^scale "),
        (lambda x: grid(x.repeat(2, -1), 2), r"\[n, h, w, c\]"),
        (lambda x: labelled_grid(x, np.array([0, 1, 2]), ["a", "b"], 2), "labels"),
        (lambda x: side_by_side(x, x, 0), "0 columns"),
        (lambda x: strip(x[None], [1.0, 0.0]), "1 frames.*2 levels"),
    ],
)
def test_what_makes_no_picture_is_refused(call, message):
    with pytest.raises(UserError, match=message):
        call(random_images(3, 4, 4, 1))
