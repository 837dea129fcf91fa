"""A prompt to a picture, as diffusers' pipeline of Stable Diffusion draws it from the same start."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffjax as dj
from diffjax.conditions import fill_condition
from diffjax.errors import UserError
from diffjax.experiment import build
from diffjax.experiment.codecs import load_codec
from diffjax.published.autoencoder_kl import decode
from diffjax.published.clip_text import encode
from diffjax.published.weight_files import read_weight_file
from tests.published.pipeline_folder import golden_pipeline, write_pipeline

STEPS = 20
MAX_PIXEL_ERROR = 1e-4  # of pixels in [0, 1]
ABOUT, ARRAYS = golden_pipeline()
QUICK = ("pndm", "euler_karras")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("pipeline") / "stable-diffusion", "pndm")


@pytest.mark.parametrize(
    "scheduler", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in ABOUT["schedulers"]]
)
def test_a_pipeline_draws_what_diffusers_draws(scheduler, folder, tmp_path) -> None:
    copy = tmp_path / "pipeline"
    shutil.copytree(folder, copy)
    (copy / "scheduler" / "scheduler_config.json").write_text(json.dumps(ABOUT["schedulers"][scheduler]))
    denoise, noise, order, info = dj.load(copy)
    assert info.text_encoder is not None
    rule, grid = build.build_sampler(
        noise, order, step=info.config.sample.sampler, grid=info.config.sample.grid, count=STEPS
    )
    prompt, negative = (
        fill_condition(info.net.null_cond, 1, {"text": np.asarray(encode(info.text_encoder, [text])[0])})
        for text in (ABOUT["prompt"], ABOUT["negative"])
    )
    null = jax.tree.map(lambda leaf: leaf[0], negative)
    codec = load_codec(copy / "vae")
    start = jnp.asarray(ARRAYS["start"].transpose(0, 2, 3, 1))
    if scheduler == "euler_karras":  # which begins with sigma / alpha times the noise, and others with unit variance
        start *= noise.coefficients(grid[0]).sigma
    for scale in (1.0, 7.5):
        guided = denoise if scale == 1 else dj.guidance.cfg(denoise, scale=scale, null=null)
        x = dj.sample(
            dj.keys(0, 1), noise, order, guided, start.shape[1:], cond=prompt, grid=grid, step=rule, start=start
        )
        picture = (np.asarray(decode(codec, x)).clip(-1, 1) + 1) / 2
        assert np.abs(picture - ARRAYS[f"{scheduler}/{scale}"]).max() <= MAX_PIXEL_ERROR


def test_without_a_prompt_the_text_is_the_empty_one(folder) -> None:
    denoise, _, _, info = dj.load(folder)
    x, t = jnp.ones((2, 8, 8, 4)), jnp.full((2, 1, 1, 1), 0.5)
    empty = fill_condition(info.net.null_cond, 2, {"text": np.asarray(encode(info.text_encoder, [""])[0])})
    null = fill_condition(info.net.null_cond, 2, {})
    np.testing.assert_allclose(denoise(x, t, null), denoise(x, t, empty), rtol=1e-6, atol=1e-6)


def test_the_folder_and_its_unet_are_the_same_model(folder) -> None:
    whole, part = dj.load(folder), dj.load(folder / "unet")
    assert whole.info.data.shape == part.info.data.shape == (16, 16, 3)
    assert whole.info.config.sample == part.info.config.sample
    assert whole.info.config.sample.sampler == "pndm()"


BROKEN = {
    "a part that is missing": (lambda folder: shutil.rmtree(folder / "vae"), "no folder vae"),
    "a second text encoder": (
        lambda folder: add_part(folder, "text_encoder_2", "CLIPTextModelWithProjection"),
        "text_encoder_2.*CLIPTextModelWithProjection",
    ),
    "a text encoder of another class": (
        lambda folder: add_part(folder, "text_encoder", "T5EncoderModel"),
        "text_encoder of class 'T5EncoderModel'.*CLIPTextModel",
    ),
    "no index": (lambda folder: (folder / "model_index.json").unlink(), "no model_index.json"),
    "a scheduler that is not known": (
        lambda folder: (folder / "scheduler" / "scheduler_config.json").write_text(
            '{"_class_name": "FlowMatchEulerDiscreteScheduler"}'
        ),
        "FlowMatchEulerDiscreteScheduler",
    ),
}


def add_part(folder: Path, name: str, kind: str) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, name: ["transformers", kind]}))


@pytest.mark.parametrize("case", BROKEN)
def test_a_pipeline_that_is_not_whole_is_refused(case, folder, tmp_path) -> None:
    copy = tmp_path / "pipeline"
    shutil.copytree(folder, copy)
    damage, message = BROKEN[case]
    damage(copy)
    with pytest.raises(UserError, match=message) as refused:
        dj.load(copy / "unet" if case == "no index" else copy)
    assert "\n" not in str(refused.value)


def test_a_unet_by_itself_asks_for_its_pipeline(folder, tmp_path) -> None:
    shutil.copytree(folder / "unet", tmp_path / "unet")
    assert read_weight_file(tmp_path / "unet").kind == "UNet2DConditionModel"
    with pytest.raises(UserError, match="give the folder of the whole pipeline"):
        dj.load(tmp_path / "unet")
