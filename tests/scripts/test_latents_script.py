"""From pictures to a codec, its latents, a model of them, samples and their scores, from the command line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shell import called

import diffjax as dj
from diffjax.errors import UserError
from tests.scripts.conftest import SMALL_PICTURES

ENCODE = "diffjax/commands/encode_command.py"
FEW = [option for option in SMALL_PICTURES if ".net=" not in option]
CODEC = "AutoencoderKL(widths=(8, 8), layers=1, latent_channels=4, groups=4, middle_attention=False)"
COUNT = 48


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, a codec of them, their latents and a model of these."""
    folder = tmp_path_factory.mktemp("chain")
    rng = np.random.default_rng(0)
    colours = rng.integers(256, size=(COUNT, 1, 1, 3))
    images = np.clip(colours + rng.normal(0, 20, (COUNT, 8, 8, 3)), 0, 255).astype(np.uint8)
    np.savez(folder / "set.npz", image=images)
    data = [f"--config.data.name=array:{folder / 'set.npz'}", "--config.data.image_size=8"]
    codec = ["--workdir", folder / "codec", *data, *FEW, f"--config.model.net={CODEC}"]
    assert called("train.py", "--config", "configs/photos_codec.py", *codec) == 0
    encode = ["--codec", folder / "codec", "--out", folder / "latents", "--flips"]
    assert called(ENCODE, "--config", "configs/pictures.py", *data, *encode) == 0
    net = "--config.model.net=DiT(patch=1, width=8, depth=1, heads=2)"
    options = ["--workdir", folder / "model", *data, *FEW, net, f"--config.data.latents={folder / 'latents'}"]
    options = [option for option in options if not str(option).startswith("--config.train.picture")]
    assert called("train.py", "--config", "configs/photos_latents.py", *options) == 0
    return folder


def test_samples_and_pictures_while_training_are_decoded(chain, call: Callable, tmp_path) -> None:
    told = call("sample.py", "--workdir", chain / "model", "--num", 2, "--out", tmp_path)
    assert told.code == 0, told.err
    with np.load(tmp_path / "samples.npz") as content:
        assert content["arr_0"].shape == (2, 8, 8, 3)
        assert content["arr_0"].dtype == np.uint8
    assert list((chain / "model" / "pictures").glob("*.png"))


def test_an_edit_keeps_what_lies_outside_of_the_mask(chain, call, tmp_path) -> None:
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(256, size=(8, 8, 3), dtype=np.uint8)).save(tmp_path / "in.png")
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    edit = ["--edit", "inpaint", "--image", tmp_path / "in.png", "--mask", tmp_path / "mask.png"]
    told = call("sample.py", "--workdir", chain / "model", "--num", 2, "--steps", 2, "--out", tmp_path / "out", *edit)
    assert told.code == 0, told.err


def test_every_score_has_what_the_codec_costs_beside_it(chain, call) -> None:
    told = call("evaluate.py", "--workdir", chain / "model", "--num", 24, "--quick")
    assert told.code == 0, told.err
    assert "codec alone" in told.out
    assert "PSNR" in told.out


def test_a_codec_is_no_model_and_a_model_no_codec(chain, call, tmp_path) -> None:
    told = call("sample.py", "--workdir", chain / "codec", "--out", tmp_path / "out")
    assert told.code == 2
    assert "is a codec" in told.err
    encode = ["--config.data.image_size=8", "--codec", chain / "model", "--out", tmp_path / "out"]
    told = call(ENCODE, "--config", "configs/pictures.py", *encode)
    assert told.code == 2
    assert "DiT" in told.err
    assert not (tmp_path / "out").exists()


def test_a_moved_codec_is_named_and_found_where_it_is_said_to_be(chain, tmp_path) -> None:
    moved = tmp_path / "moved"
    (chain / "codec").rename(moved)
    try:
        with pytest.raises(UserError, match="codec, which is not there"):
            dj.load(chain / "model")
        assert dj.load(chain / "model", codec=moved).info.data.shape == (8, 8, 3)
    finally:
        moved.rename(chain / "codec")
