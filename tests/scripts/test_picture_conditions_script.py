"""Samples that follow a picture at low resolution and references of style, and larger ones by tiles, in a shell."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL_PICTURES
from PIL import Image
from shell import ROOT, called

CONFIG = ROOT / "configs" / "super_resolution.py"
CONDITIONS = (
    "--config.data.parts=('low_res(factor=2, noise=0.5)','reference()')",
    "--config.model.conditions=(\"Picture(part='low_res')\",'Style(width=4, code=2)')",
)


def save(path: Path, height: int, width: int) -> Path:
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps on forty pictures of 8 × 8 pixels."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(40):
        save(folder / f"{number}.png", 8, 8)
    workdir = tmp_path_factory.mktemp("run") / "run"
    source = (f"--config.data.name=folder:{folder}", "--config.data.image_size=8")
    assert called("train.py", "--config", CONFIG, "--workdir", workdir, *source, *CONDITIONS, *SMALL_PICTURES) == 0
    return workdir


@pytest.fixture
def draw(run: Path, call, tmp_path: Path):
    """The samples and the provenance of a call."""

    def drawn(*flags: object, num: int = 2):
        told = call("sample.py", "--workdir", run, "--out", tmp_path / "out", f"--num={num}", *flags)
        assert told.code == 0, told.err
        with np.load(tmp_path / "out" / "samples.npz") as file:
            return file["arr_0"], json.loads(str(file["provenance"]))

    return drawn


def test_a_small_picture_is_enlarged_at_its_own_size_at_once_and_by_tiles(draw, tmp_path: Path) -> None:
    small = save(tmp_path / "small.png", 5, 7)
    own = ("--low_res", small, "--low_res_noise=0.1", "--size=image")
    images, provenance = draw(*own)
    assert images.shape == (2, 10, 14, 3)
    assert (provenance["low_res"], provenance["low_res_noise"]) == (str(small), 0.1)
    tiled, provenance = draw(*own, "--tile_overlap=2")
    assert tiled.shape == images.shape
    assert provenance["tile_overlap"] == 2
    assert (tiled != images).any()


def test_a_cascade_enlarges_the_samples_of_another_model(draw, tmp_path: Path) -> None:
    first = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), np.uint8)
    np.savez(tmp_path / "first.npz", arr_0=first)
    images, _ = draw("--low_res", tmp_path / "first.npz", num=3)
    assert images.shape == (3, 8, 8, 3)
    edited, _ = draw(
        "--low_res", tmp_path / "first.npz", "--edit=variations", "--image", save(tmp_path / "in.png", 8, 8)
    )
    assert edited.shape == (2, 8, 8, 3)


def test_a_reference_and_a_mixture_of_two(draw, tmp_path: Path) -> None:
    a, b = save(tmp_path / "a.png", 9, 9), save(tmp_path / "b.png", 12, 8)
    for style in (str(a), f"{a}:0.5,{b}:0.5"):
        images, provenance = draw("--style", style)
        assert images.shape == (2, 8, 8, 3)
        assert provenance["style"] == style


def test_what_cannot_be_is_one_line_and_leaves_nothing(run: Path, call, tmp_path: Path) -> None:
    small = save(tmp_path / "small.png", 4, 4)
    for flags, words in (
        (["--low_res", tmp_path / "none.png"], ["--low_res", "none.png", "no such file"]),
        (["--low_res", save(tmp_path / "tiny.png", 2, 3)], ["--low_res", "4 wide and 4 high"]),
        (["--low_res_noise=0.1"], ["--low_res_noise", "--low_res"]),
        (["--low_res", small, "--low_res_noise=-1"], ["--low_res_noise", "at least 0"]),
        (["--style", f"{small}:0.5"], ["--style", "SHARE"]),
        (["--tile_overlap=2"], ["--tile_overlap", "--size"]),
        (["--tile_overlap=8", "--size=16"], ["--tile_overlap 8", "8 wide and 8 high"]),
        (["--tile_overlap=2", "--size=8"], ["--size", "larger"]),
    ):
        told = call("sample.py", "--workdir", run, "--out", tmp_path / "out", *flags)
        assert (told.code, len(told.err.splitlines())) == (2, 1), told.err
        assert all(word in told.err for word in words), told.err
        assert not (tmp_path / "out").exists()


def test_captions_beside_pictures_are_found(call, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(12):
        save(folder / f"{number}.png", 8, 8).with_suffix(".txt").write_text(f"number {number}")
    source = (f"--config.data.name=folder:{folder}", "--config.data.image_size=8", "--config.train.steps=1")
    config = ROOT / "configs" / "captions.py"
    told = call("train.py", "--config", config, "--workdir", tmp_path / "run", *source, "--check")
    assert told.code == 0, told.err
    assert "number" in told.out
