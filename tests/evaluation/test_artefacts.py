"""An artefact that was put in is flagged by its own name, and pictures of the same kind are not."""

import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.evaluation import image_statistics

LEVELS = 256


def smooth(count: int, seed: int, size: int = 16) -> np.ndarray:
    """Smooth pictures: a few random waves."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    waves = [
        rng.normal(size=(count, 1, 1)) * np.cos(2 * np.pi * (a * x + b * y) + rng.uniform(0, 7, (count, 1, 1)))
        for a, b in ((1, 0), (0, 1), (1, 1), (2, 1), (1, 2))
    ]
    return np.clip(128 + 30 * sum(waves), 0, 255).round().astype(np.uint8)[..., None]


REAL = smooth(400, 0)
BOARD = np.indices((16, 16)).sum(0)[..., None] % 2 * 2 - 1


def raised(samples: np.ndarray) -> set[str]:
    return {flag.name for flag in image_statistics.compare_measures(samples, REAL, LEVELS) if flag.raised}


def changed(change) -> np.ndarray:
    return np.clip(change(smooth(300, 1).astype(float)), 0, 255).round().astype(np.uint8)


def test_pictures_of_the_same_kind_raise_nothing() -> None:
    for seed in range(1, 21):
        assert raised(smooth(300, seed)) == set()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda x: x + 25, "mean"),
        (lambda x: 128 + 0.5 * (x - 128), "contrast"),
        (lambda x: 128 + 4 * (x - 128), "saturation"),
        (lambda x: x + np.random.default_rng(0).normal(size=x.shape) * 10, "high frequencies"),
        (lambda x: x + 8 * BOARD, "checkerboard"),
    ],
)
def test_what_was_put_in_is_named(change, name) -> None:
    assert name in raised(changed(change))


def test_noise_is_no_checkerboard_and_a_checkerboard_in_rows_alone_is_one() -> None:
    stripes = np.broadcast_to(np.arange(16)[:, None, None] % 2 * 2 - 1, (16, 16, 1))
    assert "checkerboard" in raised(changed(lambda x: x + 8 * stripes))
    noisy = image_statistics.image_measures(
        changed(lambda x: x + np.random.default_rng(0).normal(size=x.shape) * 10), LEVELS
    )
    assert noisy["checkerboard"].mean() < noisy["high frequencies"].mean() / 20


def test_the_measures_of_what_is_known() -> None:
    board = (255 * (np.indices((8, 8)).sum(0) % 2)).astype(np.uint8)[None, ..., None]
    found = image_statistics.image_measures(board, LEVELS)
    assert {name: pytest.approx(value[0]) for name, value in found.items()} == {
        "mean": 0.5,
        "contrast": 0.5,
        "saturation": 1,
        "high frequencies": 1,
        "checkerboard": 1,
    }
    grey = np.full((3, 5, 7, 3), 100, np.uint8)
    assert all(np.isfinite(value).all() for value in image_statistics.image_measures(grey, LEVELS).values())
    assert not any(flag.raised for flag in image_statistics.compare_measures(grey, grey, LEVELS))
    assert {flag.name for flag in image_statistics.compare_measures(grey + 50, grey, LEVELS) if flag.raised} == {"mean"}


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UserError, match=r"^artefacts: samples"):
        image_statistics.compare_measures(REAL[:, :8], REAL, LEVELS)
    with pytest.raises(UserError, match=r"^artefacts: "):
        image_statistics.compare_measures(REAL[:1], REAL, LEVELS)
    with pytest.raises(UserError, match=r"^artefacts: .*4 pixels a side"):
        image_statistics.image_measures(REAL[:, :3], LEVELS)
