"""The codec AutoencoderKL against diffusers' and MAR's, and its own laws."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.nets.autoencoder_kl import AutoencoderKL
from diffjax.published.autoencoder_kl import Codec, decode, encode, is_codec, read_codec
from diffjax.published.latent_scale import LatentScale
from diffjax.published.stored_tensors import StoredTensor, WeightFile
from diffjax.utils.tree_paths import leaves_by_name
from tests.published.golden_files import GOLDEN, MAX_ERROR, Case, read_case, relative_error, weight_file

CASES = sorted(path.stem for path in GOLDEN.glob("kl_*.npz"))
SETTINGS = {
    "kl_64": AutoencoderKL((32, 64), 1),
    "kl_96": AutoencoderKL((64, 96), 2, latent_channels=3),
    "kl_128": AutoencoderKL((32, 64, 128), 1, 8, False, False, encoder_attention=(1,), decoder_attention=(1,)),
    "kl_old": AutoencoderKL((32,), 1),
    "kl_mar_64": AutoencoderKL((32, 64), 2),
    "kl_mar_96": AutoencoderKL((32, 32, 96), 1, encoder_attention=(2,)),
    "kl_mar_128": AutoencoderKL((64, 128), 1, encoder_attention=(1,), decoder_attention=(1,)),
}


@cache
def case_of(name: str) -> Case:
    return read_case(GOLDEN / f"{name}.npz")


@cache
def codec_of(name: str) -> Codec:
    return read_codec(case_of(name).file)


def array_of(name: str, array: str) -> jax.Array:
    """An input of a case, [b, h, w, c]."""
    return jnp.asarray(case_of(name).arrays[array].transpose(0, 2, 3, 1))


@jax.jit
def moments_and_image(codec, x, z):
    variables = {"params": codec.params}
    mean, log_variance = codec.net.apply(variables, x, method="encode")
    return {"mean": mean, "log_variance": log_variance, "image": codec.net.apply(variables, z, method="decode")}


@pytest.mark.parametrize("name", CASES)
def test_a_codec_is_its_original(name) -> None:
    case, codec = case_of(name), codec_of(name)
    assert is_codec(case.file)
    assert codec.net == SETTINGS[name]
    x, z = array_of(name, "x"), array_of(name, "z")
    assert codec.channels == z.shape[-1]
    assert [side // codec.factor for side in x.shape[1:3]] == [*z.shape[1:3]]
    for output, ours in moments_and_image(codec, x, z).items():
        assert relative_error(np.asarray(ours), case.arrays[output]) <= MAX_ERROR


def part_of(name: str, **changes: StoredTensor | None) -> WeightFile:
    """The file of a case with some tensors replaced, or left out."""
    file = case_of(name).file
    tensors = {**file.tensors, **{key.replace("__", "."): value for key, value in changes.items()}}
    return replace(file, tensors={key: value for key, value in tensors.items() if value is not None})


def test_scaled_latents_are_those_of_a_diffusion_model() -> None:
    codec, arrays = codec_of("kl_128"), case_of("kl_128").arrays
    assert codec.latents == LatentScale(1.5305, 0.0609)
    latents = jax.jit(encode)(codec, array_of("kl_128", "x"))
    assert np.allclose(latents, (arrays["mean"] - 0.0609) * 1.5305, atol=1e-5)
    images = jax.jit(decode)(codec, (array_of("kl_128", "z") - 0.0609) * 1.5305)
    assert np.allclose(images, arrays["image"], atol=1e-4)


def test_channel_statistics_take_the_place_of_a_shift() -> None:
    case = case_of("kl_old")
    mean, deviation = [0.5, -1.0, 0.0, 2.0], [1.0, 2.0, 4.0, 0.5]
    config = {**case.file.config, "latents_mean": mean, "latents_std": deviation, "scaling_factor": 0.5}
    codec = read_codec(replace(case.file, config=config))
    expected = (case.arrays["mean"] - np.array(mean)) / np.array(deviation) * 0.5
    assert np.allclose(jax.jit(encode)(codec, array_of("kl_old", "x")), expected, atol=1e-5)


def test_a_scale_that_nothing_says_is_asked_for() -> None:
    file = replace(case_of("kl_old").file, kind="", config={})
    assert read_codec(file, LatentScale(0.3)).latents == LatentScale(0.3)
    with pytest.raises(UserError, match=r"^vae: does not say the scale of its 4 latent channels"):
        read_codec(file)


def test_without_a_config_the_published_codecs_are_known() -> None:
    assert read_codec(replace(case_of("kl_old").file, config={})).latents.scale == 0.18215  # as in diffusers
    for net, factor, scale in (
        (AutoencoderKL((32,) * 4, 1, 4, middle_attention=False), 8, 0.18215),
        (AutoencoderKL((32,) * 5, 1, 16, middle_attention=False), 16, 0.2325),
    ):
        codec = read_codec(weight_file(zero_tensors(net), "vae.safetensors"))
        assert (codec.net, codec.factor, codec.latents.scale) == (net, factor, scale)


def zero_tensors(net: AutoencoderKL) -> dict[str, np.ndarray]:
    """Weights of a net in the layout of diffusers."""
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
    tensors = {}
    for name, leaf in leaves_by_name(shapes).items():
        module, last = name.rsplit("/", 1)
        shape = (*leaf.shape[:-3:-1], *leaf.shape[:-2])
        stored = f"{module.replace('/', '.')}.{'bias' if last == 'bias' else 'weight'}"
        tensors[stored] = np.broadcast_to(np.float32(0), shape)
    return tensors


def test_a_checkpoint_of_a_whole_model_has_its_codec_by_prefix() -> None:
    file = case_of("kl_mar_64").file
    stage = {f"first_stage_model.{name}": tensor for name, tensor in file.tensors.items()}
    stage |= dict.fromkeys(("first_stage_model.loss.logvar", "model.diffusion_model.out.0.bias"), zeros(1))
    whole = replace(file, tensors=stage)
    assert is_codec(whole)
    assert has_params_of(whole, "kl_mar_64")
    assert has_params_of(part_of("kl_mar_64", loss__logvar=zeros(1)), "kl_mar_64")


def test_attention_may_be_stored_as_matrices_or_convolutions() -> None:
    file = case_of("kl_64").file
    tensors = {name: tensor.read() for name, tensor in file.tensors.items()}
    matrices = {name for name, values in tensors.items() if values.ndim == 2}
    assert len(matrices) == 8
    turned = tensors | {name: tensors[name][:, :, None, None] for name in matrices}
    assert has_params_of(weight_file(turned, "vae", file.kind, dict(file.config)), "kl_64")


def has_params_of(file: WeightFile, name: str) -> bool:
    params = read_codec(file).params
    return jax.tree.all(jax.tree.map(lambda one, other: bool((one == other).all()), params, codec_of(name).params))


def test_log_variances_are_clipped() -> None:
    codec = codec_of("kl_old")
    bias = jnp.asarray([0.0] * 4 + [100.0, -100.0] * 2)
    params = {**codec.params, "quant_conv": {**codec.params["quant_conv"], "bias": bias}}
    outputs = moments_and_image(replace(codec, params=params), array_of("kl_old", "x"), array_of("kl_old", "z"))
    assert np.allclose(outputs["log_variance"], [20, -30, 20, -30])


def test_examples_do_not_see_each_other_and_gradients_are_finite() -> None:
    codec, x = codec_of("kl_64"), array_of("kl_64", "x")
    other = jax.jit(encode)(codec, x.at[0].set(0))
    assert np.allclose(other[1] / codec.latents.scale, case_of("kl_64").arrays["mean"][1], atol=1e-5)
    gradients = jax.jit(jax.grad(lambda codec: decode(codec, encode(codec, x)).sum()))(codec)
    assert jax.tree.all(jax.tree.map(lambda leaf: bool(jnp.isfinite(leaf).all() & (leaf != 0).any()), gradients.params))


def zeros(*shape: int) -> StoredTensor:
    return StoredTensor(shape, np.dtype(np.float32), lambda: np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("kl_64", {"decoder__conv_in__weight": None}, "vae: has no tensor 'decoder.conv_in.weight'"),
        ("kl_mar_64", {"decoder__up__0__block__0__conv1__bias": None}, "kl.ckpt: has no tensor 'decoder.up.0.block.0"),
        ("kl_64", {"encoder__extra__weight": zeros(3)}, "vae: .* no place for, 'encoder.extra.weight'"),
        ("kl_64", {"quant_conv__weight": zeros(8, 8)}, "vae: 'quant_conv.weight' of shape"),
        ("kl_64", {"post_quant_conv__weight": zeros(4)}, "vae: 'post_quant_conv.weight' has shape"),
        ("kl_64", {"encoder__down_blocks__0__resnets__0__conv1__weight": zeros(20, 32, 3, 3)}, "vae: .*multiples of"),
        ("kl_64", {"encoder__mid_block__resnets__0__norm1__weight": None}, "vae: has no tensor 'encoder.mid_block"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(name, changes, message) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        read_codec(part_of(name, **changes))


@pytest.mark.parametrize(
    "setting",
    [
        {"norm_num_groups": 3},
        {"norm_num_groups": 0},
        {"act_fn": "relu"},
        {"scaling_factor": float("nan")},
        {"scaling_factor": -1},
        {"scaling_factor": "large"},
        {"shift_factor": float("inf")},
        {"latents_std": [1.0, 0.0, 1.0, 1.0]},
        {"latents_std": [1.0], "latents_mean": [0.0]},
        {"latents_std": [1.0] * 4, "latents_mean": None},
    ],
)
def test_a_config_that_does_not_fit_is_refused(setting) -> None:
    file = case_of("kl_64").file
    with pytest.raises(UserError, match=r"^vae: .*config"):
        read_codec(replace(file, config={**file.config, **setting}))


def test_other_files_are_no_codecs() -> None:
    assert not is_codec(read_case(GOLDEN / "dit_64.npz").file)
    encoder = {name: tensor for name, tensor in case_of("kl_64").file.tensors.items() if name.startswith("encoder")}
    assert not is_codec(replace(case_of("kl_64").file, tensors=encoder))
    assert not is_codec(part_of("kl_64", encoder__conv_out__weight=zeros(4, 64, 3, 3)))  # one of vectors, not moments


@pytest.mark.usefixtures("untyped")
def test_what_is_no_image_or_latent_is_refused() -> None:
    codec = codec_of("kl_64")
    for images in (
        jnp.zeros((1, 8, 8, 3), jnp.uint8),
        jnp.zeros((1, 8, 8, 1)),
        jnp.zeros((8, 8, 3)),
        jnp.zeros((1, 1, 8, 3)),
    ):
        with pytest.raises(UserError, match=r"^AutoencoderKL: expected images"):
            encode(codec, images)
    with pytest.raises(UserError, match=r"^AutoencoderKL: expected latents"):
        decode(codec, jnp.zeros((1, 4, 4, 3)))
