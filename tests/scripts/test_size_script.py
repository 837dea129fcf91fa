"""Samples and edits of another size than the training images, from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import NO_PICTURES, Trained, trained
from PIL import Image


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Trained:
    """Two steps of a transformer whose patches do not divide the images."""
    net = "--config.model.net=DiT(patch=3, width=8, depth=1, heads=2)"
    return trained(tmp_path_factory.mktemp("patches"), data_dir, False, net, *NO_PICTURES)


def drawn(call, workdir: Path, out: Path, *more: object):
    told = call("sample.py", "--workdir", workdir, "--out", out, "--num=3", *more)
    assert told.code == 0, told.err
    with np.load(out / "samples.npz", allow_pickle=False) as file:
        return file["arr_0"], json.loads(str(file["provenance"])), told.err


def test_samples_of_another_size(call, patches, tmp_path) -> None:
    images, provenance, err = drawn(call, patches.workdir, tmp_path / "out", "--size=9x14")
    assert images.shape == (3, 9, 14, 1)
    assert provenance["size"] == "9x14"
    assert "samples are 14 wide and 9 high, and training pictures 8 wide and 8 high" in err
    with Image.open(tmp_path / "out" / "samples" / "0.png") as single:
        assert single.size == (14, 9)
    images, provenance, _ = drawn(call, patches.workdir, tmp_path / "own")
    assert images.shape == (3, 8, 8, 1)
    assert "size" not in provenance


def test_a_picture_is_edited_at_its_own_size(call, patches, tmp_path) -> None:
    pixels = np.rint(np.random.default_rng(0).integers(0, 17, (11, 5)) * 255 / 16).astype(np.uint8)
    mask = np.zeros((11, 5), np.uint8)
    mask[4:8] = 255
    Image.fromarray(pixels).save(tmp_path / "in.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    flags = ["--edit=inpaint", "--size=image", "--image", tmp_path / "in.png", "--mask", tmp_path / "mask.png"]
    images, provenance, err = drawn(call, patches.workdir, tmp_path / "out", *flags, "--method=replacement")
    assert provenance["size"] == "11x5"
    assert "fitted" not in err
    np.testing.assert_array_equal(images[:, mask == 0, 0], pixels[None, mask == 0].repeat(3, 0))
    assert (images[0] != images[1]).any()


def test_what_cannot_be_is_one_line_and_leaves_nothing(call, tiny, patches, tmp_path) -> None:
    cases = [
        (tiny, ["--size=9"], ["--size: MLP(", "8 wide and 8 high", "UNet"]),
        (patches, ["--size=9x"], ["--size: expected HEIGHTxWIDTH", "'9x'"]),
        (patches, ["--size=image"], ["--size image: ", "HEIGHTxWIDTH"]),
    ]
    for run, flags, words in cases:
        told = call("sample.py", "--workdir", run.workdir, "--out", tmp_path / "out", *flags)
        assert told.code == 2
        assert len(told.err.splitlines()) == 1
        assert all(word in told.err for word in words), told.err
        assert not (tmp_path / "out").exists()
