"""A model that copies and one that saturates are pointed out; one that draws what is real is not."""

import numpy as np

from diffjax.reports.findings import find_problems

LEVELS = 17


def pictures(count: int, seed: int) -> np.ndarray:
    """Soft spots somewhere, of 8x8 pixels with 17 levels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:8, :8]
    across, down, wide = (rng.uniform(low, high, (count, 1, 1)) for low, high in ((2, 5), (2, 5), (1, 3)))
    spots = 12 * np.exp(-((x - across) ** 2 + (y - down) ** 2) / (2 * wide**2)) + rng.uniform(0, 3, (count, 8, 8))
    return spots.astype(np.uint8)[..., None]


SPLITS = {name: (pictures(count, seed), None) for seed, (name, count) in enumerate({"train": 500, "test": 300}.items())}


def drawn(count: int = 300, seed: int = 9) -> np.ndarray:
    return np.rint(pictures(count, seed) * (255 / 16)).astype(np.uint8)


def test_what_is_real_stands_out_in_nothing() -> None:
    for seed in range(9, 14):
        found = find_problems(drawn(seed=seed), SPLITS, LEVELS)
        assert found.alarms == []
        assert len(found.flags) == 5


def test_a_model_that_copies_a_quarter_is_pointed_out() -> None:
    images = drawn()
    images[:75] = np.rint(SPLITS["train"][0][:75] * (255 / 16))
    (alarm,) = find_problems(images, SPLITS, LEVELS).alarms
    assert "of the samples are as near to a training image" in alarm
    assert "26" in alarm or "25" in alarm


def test_a_saturated_model_is_pointed_out_after_other_alarms() -> None:
    images = np.where(drawn() > 100, 255, 0).astype(np.uint8)
    found = find_problems(images, SPLITS, LEVELS, ["before"])
    assert found.alarms[0] == "before"
    assert any(alarm.startswith("saturation of samples is 1, of real images 0.") for alarm in found.alarms)
