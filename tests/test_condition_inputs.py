"""What a user asks for in words, drawings and numbers, as parts of a condition."""

from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from diffjax.commands import condition_inputs, condition_pictures
from diffjax.commands.condition_inputs import ConditionRequest
from diffjax.data import byte_tokenizer
from diffjax.errors import UserError
from diffjax.experiment.config import Config
from diffjax.experiment.data_spec import DataSpec
from diffjax.experiment.model_info import ModelInfo
from diffjax.nets import MLP
from diffjax.nets.condition_encoders import Category, Number, Picture, Text

NET = MLP(
    conditions=(
        Text(shape=(12,)),
        Picture(part="sketch", shape=(4, 4, 1)),
        Number(part="slant"),
        Category(part="font", vocab=3),
    )
)


def parts_of(net: MLP, **asked) -> dict[str, object]:
    """The parts of a request, for two samples of a net of pictures of 4 × 4."""
    info = ModelInfo(net, DataSpec((4, 4, 1), 0, (), 256, (), "unit"), Config(), 0, "0.9")
    return condition_inputs.condition_parts(info, ConditionRequest(**asked), jax.random.key(0), 2)


@pytest.fixture
def drawing(tmp_path: Path):
    """Writes a picture of these pixels, and gives its path."""

    def written(pixels: np.ndarray) -> str:
        path = tmp_path / "drawing.png"
        Image.fromarray(pixels).save(path)
        return str(path)

    return written


def test_each_is_the_part_that_the_net_knows(drawing) -> None:
    strokes = np.zeros((8, 8), np.uint8)
    strokes[2, 5], strokes[7, 0] = 255, 200
    asked = parts_of(NET, prompt="a  seven", sketch=drawing(strokes), numbers=("slant=-0.5", "font=2"))
    np.testing.assert_array_equal(asked["text"], byte_tokenizer.encode(["a seven"], 12)[0])
    assert np.argwhere(asked["sketch"][..., 0]).tolist() == [[1, 2], [3, 0]]  # every stroke stays
    assert (asked["slant"], asked["font"]) == (-0.5, 2)
    assert parts_of(NET) == {}


def test_a_grey_drawing_may_have_three_channels(drawing) -> None:
    strokes = np.zeros((4, 4, 3), np.uint8)
    strokes[1] = 255
    np.testing.assert_array_equal(condition_pictures.read_sketch(Path(drawing(strokes)), (4, 4, 1))[1], 1)


def test_what_the_model_does_not_know_is_named() -> None:
    bare = MLP(classes=3)
    cases = [
        (
            bare,
            {"prompt": "a seven"},
            "^--prompt: ",
        ),
        (bare, {"sketch": "x.png"}, "^--sketch: "),
        (bare, {"low_res": "x.png"}, "^--low_res: "),
        (NET, {"low_res_noise": 0.1}, "^--low_res_noise: .*--low_res"),
        (bare, {"numbers": ("slant=1",)}, r"^--number slant=1: .*'slant'"),
        (NET, {"numbers": ("width=1",)}, r"^--number .*'width'.*slant, font"),
        (NET, {"numbers": ("slant",)}, "^--number slant"),
        (NET, {"numbers": ("slant=inf",)}, "^--number slant=inf"),
        (NET, {"numbers": ("font=3",)}, "^--number font=3.*0 … 2"),
        (NET, {"prompt": " "}, "^--prompt: text"),
        (NET, {"prompt": "a seven, leaning"}, "^--prompt: .*16 bytes.*12"),
    ]
    for net, asked, told in cases:
        with pytest.raises(UserError, match=told):
            parts_of(net, **asked)


def test_a_drawing_that_cannot_be_is_named(drawing) -> None:
    colour = np.zeros((4, 4, 3), np.uint8)
    colour[0, 0, 0] = 255
    cases = [
        (np.eye(6, dtype=np.uint8) * 255, "4 wide and 4 high.*6 wide and 6 high"),
        (np.zeros((4, 8), np.uint8), "4 wide and 4 high.*8 wide and 4 high"),
        (np.zeros((4, 4), np.uint8), "--sketch"),
        (np.full((4, 4), 255, np.uint8), "--sketch"),
        (colour, "--sketch"),
    ]
    for pixels, told in cases:
        with pytest.raises(UserError, match=told):
            condition_pictures.read_sketch(Path(drawing(pixels)), (4, 4, 1))
