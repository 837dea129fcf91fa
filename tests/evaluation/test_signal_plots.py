"""Plots of signals: one panel each, whatever their number, and fans of forecasts."""

import numpy as np
import pytest
from PIL import Image

from diffjax.reports import plot_forecasts, plot_signals


def size(path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (5, 2), (40, 4)])
def test_each_row_has_four_signals_and_there_are_at_most_sixteen(count, rows, tmp_path) -> None:
    plot_signals(tmp_path / "one.png", np.zeros((1, 12, 1)))
    plot_signals(tmp_path / "all.png", np.random.default_rng(0).normal(size=(count, 12, 2)))
    assert size(tmp_path / "all.png")[1] == rows * size(tmp_path / "one.png")[1]


def test_forecasts_are_drawn_beside_the_truth(tmp_path) -> None:
    plot_forecasts(tmp_path / "few.png", np.zeros((2, 12, 1)), np.ones((2, 3, 12, 1)))
    plot_forecasts(tmp_path / "many.png", np.zeros((9, 12, 1)), np.ones((9, 50, 12, 1)))
    assert size(tmp_path / "many.png")[0] == 2 * size(tmp_path / "few.png")[0]
