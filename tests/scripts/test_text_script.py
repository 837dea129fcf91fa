"""A folder of Stable Diffusion from the command line: prompts, edits, and what is refused in one line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.published.pipeline_folder import write_pipeline

FEW = ("--num", 2, "--steps", 2)


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("pipelines") / "stable-diffusion", "ddim")


def pictures(folder: Path) -> np.ndarray:
    with np.load(folder / "samples.npz") as content:
        return content["arr_0"]


def test_a_prompt_becomes_pictures(pipeline, call, tmp_path) -> None:
    drawn = {}
    for name, more in {"cat": ("--prompt", "a cat"), "dog": ("--prompt", "a dog"), "none": ()}.items():
        told = call("sample.py", "--model", pipeline, *more, "--guidance", 7.5, *FEW, "--out", tmp_path / name)
        assert told.code == 0, told.err
        drawn[name] = pictures(tmp_path / name)
        assert drawn[name].shape == (2, 16, 16, 3)
    assert (drawn["cat"] != drawn["dog"]).any()
    assert (drawn["cat"] != drawn["none"]).any()
    assert "OpenRAIL" in told.err


def test_a_negative_prompt_another_size_and_a_long_prompt(pipeline, call, tmp_path) -> None:
    prompt = "a red cat on the mat and " * 30
    options = ("--prompt", prompt, "--negative", "a dog", "--guidance", 3, "--size", "16x32")
    told = call("sample.py", "--model", pipeline, *options, *FEW, "--out", tmp_path)
    assert told.code == 0, told.err
    assert "takes 77; left out: " in told.err
    assert pictures(tmp_path).shape == (2, 16, 32, 3)


def test_edits_by_a_prompt(pipeline, call, tmp_path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(256, size=(16, 16, 3), dtype=np.uint8)).save(tmp_path / "in.png")
    mask = np.zeros((16, 16), np.uint8)
    mask[:, 8:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    inpaint = ("--edit", "inpaint", "--image", tmp_path / "in.png", "--mask", tmp_path / "mask.png")
    variations = ("--edit", "variations", "--image", tmp_path / "in.png", "--strength", 0.5)
    walk = ("--edit", "interpolate", "--prompt_to", "a dog")
    for name, edit in {"inpaint": inpaint, "variations": variations, "walk": walk}.items():
        out = tmp_path / name
        told = call("sample.py", "--model", pipeline, "--prompt", "a cat", *FEW, "--out", out, *edit)
        assert told.code == 0, told.err
        assert len(pictures(out)) == 2


def test_a_label_for_a_text_model_is_one_line(pipeline, call, tmp_path) -> None:
    told = call("sample.py", "--model", pipeline, "--label", 3, *FEW, "--out", tmp_path / "out")
    assert told.code == 2
    assert "--label 3" in told.err
    assert not (tmp_path / "out").exists()
