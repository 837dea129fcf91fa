"""benchmarks/photographs.py: its measures against their definitions, and its baselines where they are exact."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffjax.edit.tiling import tile_starts

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

photographs = importlib.import_module("photographs")
measures = importlib.import_module("photographic.measures")
baselines = importlib.import_module("photographic.baselines")
whole = importlib.import_module("photographic.whole")

RANDOM = np.random.default_rng(0)


def white(count: int, height: int = 16, width: int = 24) -> np.ndarray:
    return RANDOM.normal(0.5, 0.1, (count, height, width, 3))


def test_psnr_of_noise_of_a_tenth_is_twenty_decibels() -> None:
    truth = white(4)
    assert measures.psnr(truth + 0.1, truth) == pytest.approx(20)


def test_the_error_of_a_mean_is_that_of_the_central_limit() -> None:
    """The jackknife of a mean, by groups of 8: within 40 %, three standard deviations of such an error."""
    numbers = RANDOM.normal(size=256)
    estimate = measures.jackknife(np.mean, numbers)
    assert estimate.value == pytest.approx(numbers.mean())
    assert estimate.error == pytest.approx(1 / 16, rel=0.4)


def test_gradients_of_twice_the_contrast_are_further_away() -> None:
    truth = white(4)
    assert measures.gradient_distance(truth, truth) == 0
    twice = measures.gradient_distance(2 * truth, truth)
    assert twice == pytest.approx(255 * measures.gradients(truth).mean())


def test_squares_are_cut_from_the_first_pixel_on() -> None:
    images = white(2, 17, 24)
    cut = measures.squares(images, 8)
    assert cut.shape == (2 * 2 * 3, 8, 8, 3)
    np.testing.assert_array_equal(cut[2], images[0, :8, 8:16])


def test_patches_tile_a_picture() -> None:
    images = white(2, 17, 24)
    cut = measures.patches(images)
    assert cut.shape == (2 * 2 * 3, 192)
    np.testing.assert_array_equal(cut[4].reshape(8, 8, 3), images[0, 8:16, 8:16])
    assert measures.patch_frechet(images, images) == pytest.approx(0, abs=1e-8)


def test_the_coverage_of_exact_samples_is_the_one_that_is_said() -> None:
    """Of 20,000 truths: four standard errors."""
    draws = RANDOM.normal(size=(33, 20_000))
    share, exact = measures.rank_coverage(draws[1:], draws[0])
    assert share == pytest.approx(exact, abs=0.009)


def test_a_training_patch_is_its_own_nearest() -> None:
    train = white(600, 4, 4)
    seen = np.arange(16).reshape(4, 4) < 9
    np.testing.assert_array_equal(baselines.nearest(train[250:270], train, seen), train[250:270])
    np.testing.assert_array_equal(baselines.nearest(train[-5:], train, 2), train[-5:])


@pytest.mark.parametrize("kind", [Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
def test_a_constant_picture_is_enlarged_to_itself(kind: Image.Resampling) -> None:
    low = np.full((1, 5, 7, 3), 0.3)
    np.testing.assert_allclose(baselines.resampled(low, 2, kind), 0.3, atol=1e-6)


def test_what_a_field_says_has_the_block_means() -> None:
    rough = white(20, 9, 9)
    train = (rough[:, 1:, 1:] + rough[:, :-1, 1:] + rough[:, 1:, :-1] + rough[:, :-1, :-1]) / 4
    low = np.clip(baselines.block_means(train, 2), 0.45, 0.55)
    field = baselines.fit_field(train)
    assert field.down == pytest.approx(0.5, abs=0.1)
    np.testing.assert_allclose(baselines.block_means(baselines.field_means(low, 2, field), 2), low, atol=1e-6)


def test_biharmonic_keeps_what_is_known_and_fills_a_plane() -> None:
    plane = np.broadcast_to(np.linspace(0.2, 0.8, 12)[None, :, None, None], (1, 12, 12, 3))
    hidden = np.zeros((12, 12), bool)
    hidden[4:8, 4:8] = True
    np.testing.assert_allclose(baselines.biharmonic(plane, hidden), plane, atol=1e-3)


def test_seams_are_found_where_tiles_begin_and_end() -> None:
    starts = tile_starts(48, 32, 16, 2)
    assert starts.tolist() == [0, 16]
    picture = np.zeros((1, 48, 48, 3))
    picture[:, 16:] += 1  # a step where a tile begins
    picture[:, 32:] += 1
    picture[:, :, 16:] += 1
    picture[:, :, 32:] += 1
    assert whole.seam_ratio(picture + np.arange(48)[:, None, None] * 0.01 + np.arange(48)[:, None] * 0.01, 32, 16) > 50


def test_a_picture_looks_like_itself_turned_about_and_unlike_a_brighter_one() -> None:
    images = white(3)
    scale = np.ones(15)
    assert measures.look_distances(images[:, ::-1, ::-1], images, scale) == pytest.approx(0, abs=1e-9)
    brighter = measures.look_distances(images + 0.3, images, scale)
    assert brighter == pytest.approx(0.3 * np.sqrt(3 / 15))


def test_tables_are_a_function_of_the_figures() -> None:
    figures = {
        "enlarge": {"rows": {"bicubic": [25.0, 0.1, 0.0, 0.0, 1.0, 2.0]}},
        "holes": {
            "rows": {"biharmonic": [20.0, 0.5, 0.0, 0.0, 3.0], "repaint": [21.0, 0.5, 1.0, 0.2, 2.0, 0.88, 0.879]}
        },
        "sizes": {"rows": {"32x32": [0.4, 0.2, 1.0, 0.5], "64x96": [0.5, 0.2, 1.0, 0.5]}},
        "whole": {"rows": {"bicubic": [0.0, 1.0, 1.01]}},
    }
    figures["style"] = {"rows": {"with the reference": [0.5, 1.4, 0.95]}}
    enlarge, holes, sizes, large, style = photographs.tables(figures)
    assert enlarge.rows[0][2] == "+0.00 ± 0.00"
    assert all(len(row) == len(table.columns) for table in (enlarge, holes, sizes, large, style) for row in table.rows)
    assert sizes.rows[1][2] == "1.25"
