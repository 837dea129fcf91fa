"""Files appear whole or not at all; what cannot be written is named in one line."""

import numpy as np
import pytest
from PIL import Image

from diffjax.errors import UserError
from diffjax.reports.image_files import animation, write_png
from diffjax.reports.plots import Curves, plot_curves
from diffjax.utils.image_io import read_image


def random_picture(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_reads_back_as_it_was_written(tmp_path, channels):
    picture = random_picture(7, 5, channels)
    write_png(tmp_path / "new" / "folder" / "x.png", picture)
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "folder" / "x.png"), picture)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for write in (
        lambda path: write_png(path, random_picture(2, 2, 1)),
        lambda path: animation(path, random_picture(2, 1, 2, 2, 1), 1),
        lambda path: plot_curves(path, Curves("loss", {"loss": (np.arange(2), np.ones(2))}, "loss")),
    ):
        with pytest.raises(UserError, match="file") as error:
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
    lines = {"train": (steps, 1 / (1 + steps)), "test": (steps[:1], np.ones(1))}
    plot_curves(tmp_path / "x.png", Curves("losses", lines, "loss"))
    height, width, _ = read_image(tmp_path / "x.png").shape
    assert width > height > 400
    with pytest.raises(UserError, match=str(tmp_path)):
        plot_curves(tmp_path / "x.png", Curves("loss", {"train": (steps, steps[:3])}, "loss"))


def test_many_curves_with_bars_have_their_names_beside_them(tmp_path):
    x = np.array([5.0, 50.0, 100.0])
    curves = {f"line {i}": (x, 1 / x + i) for i in range(12)}
    errors = {name: np.zeros(3) for name in curves}
    many = Curves("many", curves, "ratio", "cost", "log", xscale="log", errors=errors, level=("real", 1.0))
    plot_curves(tmp_path / "x.png", many)
    plot_curves(tmp_path / "y.png", Curves("one", {"one": curves["line 0"]}, "ratio"))
    assert read_image(tmp_path / "x.png").shape[1] > read_image(tmp_path / "y.png").shape[1]
