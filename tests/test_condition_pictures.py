"""Pictures that samples follow: at low resolution, with noise or from another model, and references of style."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from diffjax import order, predict, schedule
from diffjax.commands import condition_inputs, condition_pictures
from diffjax.commands.condition_inputs import ConditionRequest
from diffjax.commands.sample_request import SampleRequest, prepare_request
from diffjax.denoising import denoiser
from diffjax.edit import MixedCondition
from diffjax.errors import UserError
from diffjax.experiment.config import Config, Sample
from diffjax.experiment.data_spec import DataSpec
from diffjax.experiment.model_info import ModelInfo
from diffjax.experiment.trained_model import TrainedModel
from diffjax.nets import MLP
from diffjax.nets.condition_encoders import Picture, Style
from diffjax.noise import Gaussian

COUNT = 3
CLEAN = Picture(part="low_res", shape=(4, 6, 3))
NOISY = Picture(part="low_res", shape=(4, 6, 4))
STYLE = Style(shape=(8, 12, 3))


def conditions(*encoders, **asked):
    """The conditions of samples of 8 × 12 by a net with these encoders."""
    info = ModelInfo(MLP(conditions=encoders), DataSpec((8, 12, 3), 0, (), 256, (), "unit"), Config(), 0, "0.9")
    return condition_inputs.build_conditions(info, ConditionRequest(**asked), jax.random.key(7), COUNT).cond


@pytest.fixture
def picture(tmp_path: Path):
    """Writes random pixels of this size, and gives the path and the pixels."""

    def write(height: int, width: int, seed: int = 0) -> tuple[str, np.ndarray]:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
        path = tmp_path / f"{seed}.png"
        Image.fromarray(pixels).save(path)
        return str(path), pixels

    return write


def test_a_picture_at_low_resolution_is_on_the_scale_of_training(picture) -> None:
    path, pixels = picture(4, 6)
    value = conditions(CLEAN, low_res=path)["low_res"].value
    assert value.shape == (COUNT, 4, 6, 3)
    np.testing.assert_allclose(value[1], pixels / 127.5 - 1, atol=1e-6)


def test_a_larger_picture_is_fitted_and_a_smaller_one_refused(picture, capsys) -> None:
    path, pixels = picture(8, 12)
    value = conditions(CLEAN, low_res=path)["low_res"].value[0]
    blocks = pixels.reshape(4, 2, 6, 2, 3).mean((1, 3))
    np.testing.assert_allclose(value, blocks / 127.5 - 1, atol=1 / 127)
    assert "fitted to 6 wide and 4 high" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"^--low_res .*6 wide and 4 high or more, got 5 wide and 4 high"):
        conditions(CLEAN, low_res=picture(4, 5, seed=1)[0])


def test_noise_has_the_level_that_the_net_is_told_and_differs_by_sample(picture) -> None:
    """The standard deviation of 216 numbers is within eight standard errors."""
    path, pixels = picture(4, 6)
    value = np.asarray(conditions(NOISY, low_res=path, low_res_noise=0.5)["low_res"].value)
    noise = value[..., :3] - (pixels / 127.5 - 1)
    np.testing.assert_array_equal(value[..., 3], 0.5)
    assert abs(noise.std() - 0.5) < 0.2
    assert (noise[0] != noise[1]).all()
    quiet = conditions(NOISY, low_res=path)["low_res"].value
    np.testing.assert_allclose(quiet[1, ..., :3], pixels / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(quiet[..., 3], 0)
    with pytest.raises(UserError, match=r"^--low_res_noise: .*without noise"):
        conditions(CLEAN, low_res=path, low_res_noise=0.5)


def test_samples_of_another_model_are_enlarged_one_by_one(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (COUNT + 2, 4, 6, 3), np.uint8)
    path = tmp_path / "samples.npz"
    np.savez(path, arr_0=images)
    value = conditions(NOISY, low_res=str(path))["low_res"].value
    np.testing.assert_allclose(value[..., :3], images[:COUNT] / 127.5 - 1, atol=1e-6)
    for wrong, message in (
        ({"arr_0": images[:1]}, "holds 1 pictures, for 3 samples"),
        ({"arr_0": images[:, :3]}, r"\[4, 6, 3\].*\[5, 3, 6, 3\]"),
        ({"other": images}, "arr_0.*no pictures"),
    ):
        np.savez(path, **wrong)
        with pytest.raises(UserError, match=f"^--low_res .*{message}"):
            conditions(NOISY, low_res=str(path))


def test_a_file_of_samples_that_is_missing_is_named_with_its_flag(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--low_res .*none\.npz"):
        conditions(NOISY, low_res=str(tmp_path / "none.npz"))


def test_two_references_are_mixed_by_their_shares(picture) -> None:
    (a, first), (b, second) = picture(8, 12), picture(8, 12, seed=1)
    alone = conditions(STYLE, style=a)["reference"].value
    np.testing.assert_allclose(alone[2], first / 127.5 - 1, atol=1e-6)
    both = conditions(STYLE, style=f"{a}:0.3,{b}:0.7")
    assert isinstance(both, MixedCondition)
    np.testing.assert_allclose(both.share, jnp.full(COUNT, 0.7))
    np.testing.assert_allclose(both.second["reference"].value[0], second / 127.5 - 1, atol=1e-6)
    assert both.first["reference"].present.all()


def test_predictions_are_mixed_by_the_shares(picture, one_device) -> None:
    net = MLP(width=8, conditions=(STYLE,))
    x, t = jax.random.normal(jax.random.key(1), (COUNT, 8, 12, 3)), jnp.full((COUNT, 1, 1, 1), 0.7)
    variables = jax.jit(net.init)(jax.random.key(0), x[:1], t[:1])
    variables = jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(2), leaf.shape), variables)
    noise = Gaussian(schedule.cosine, predict.v)
    info = ModelInfo(net, DataSpec((8, 12, 3), 0, (), 256, (), "unit"), Config(), 0, "0.9")
    model = TrainedModel(denoiser(noise, net, variables), noise, order.together, info)

    def predicted(style: str) -> jax.Array:
        request = SampleRequest(Sample(steps=1), ConditionRequest(style=style))
        ready = prepare_request(model, request, COUNT)
        return ready.sampler.denoise(x, t, ready.cond)

    a, b = picture(8, 12)[0], picture(8, 12, seed=1)[0]
    one, other = predicted(a), predicted(b)
    assert float(jnp.max(jnp.abs(one - other))) > 1e-3
    np.testing.assert_allclose(predicted(f"{a}:0.3,{b}:0.7"), 0.3 * one + 0.7 * other, atol=1e-5)


@pytest.mark.parametrize("text", ["a.png,b.png", "a.png:0.5,b.png:0.6", "a.png:0.3,b.png:0.3,c.png:0.4", ":1,b.png:0"])
def test_shares_that_do_not_add_up_are_named(text: str) -> None:
    with pytest.raises(UserError, match=f"^--style {text}: .*SHARE"):
        condition_pictures.parse_style(text)


def test_a_model_without_references_is_named(picture) -> None:
    with pytest.raises(UserError, match=r"^--style: .*low_res"):
        conditions(CLEAN, style=picture(8, 12)[0])
