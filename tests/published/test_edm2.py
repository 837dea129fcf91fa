"""EDM2: the denoiser of its files, what they must hold, and the laws of its net."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from diffjax.denoising import denoiser
from diffjax.errors import UserError
from diffjax.nets.edm2_unet import EDM2UNet
from diffjax.nets.magnitude_preserving import MPConv, MPFourier, mp_concatenate, mp_silu, mp_sum, normalize
from diffjax.noise import Gaussian
from diffjax.published import edm2
from diffjax.published.models import find_family
from diffjax.published.tensor_mapping import net_shapes
from tests.published.golden_files import GOLDEN, MAX_ERROR, read_case, relative_error, weight_file
from tests.published.seeded import seeded_tensor

CASES = ("edm2_64", "edm2_128")  # of two values of sigma_data
NET = EDM2UNet(size=4, widths=(64,), blocks=1, attention=(0,), classes=3)
LEVEL = jnp.asarray([-1.5, 0.2, 1.1]).reshape(-1, 1, 1, 1)
LABELS = jnp.asarray([0, 2, 3])  # the last is the null class
X = jax.random.normal(jax.random.key(1), (3, 4, 4, 2))


def channels_last(x: np.ndarray) -> jax.Array:
    return jnp.asarray(x.transpose(0, 2, 3, 1))


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    """Those of the smallest case."""
    file = read_case(GOLDEN / "edm2_192.npz").file
    return {name: tensor.read() for name, tensor in file.tensors.items()}


@pytest.fixture(scope="module")
def params():
    """Of NET."""
    shapes = net_shapes(NET, (4, 4, 2), LABELS[:1])
    leaves = {name: jnp.asarray(seeded_tensor(name, shape)) for name, shape in shapes.items()}
    return unflatten_dict({tuple(name.split("/")): leaf for name, leaf in leaves.items()})


@jax.jit
def output(params, x, cond):
    return NET.apply({"params": params}, x, LEVEL, cond)


@pytest.mark.parametrize("name", CASES)
def test_the_denoiser_is_the_original_at_each_noise_level(name) -> None:
    case = read_case(GOLDEN / f"{name}.npz")
    model = find_family(case.file).read(case.file)
    sigma = jnp.asarray(case.about["sigma"]).reshape(-1, 1, 1, 1)
    t = model.noise.time(-2 * jnp.log(sigma))
    cond = jnp.asarray(case.arrays["cond"], jnp.int32) if "cond" in case.arrays else None
    noisy = channels_last(case.arrays["noisy"])
    np.testing.assert_allclose(model.noise.level(t).ravel(), case.about["level"], atol=1e-6)
    np.testing.assert_allclose(model.noise.feed(noisy, t), channels_last(case.arrays["x"]), atol=1e-5)
    denoise = denoiser(model.noise, model.net, {"params": model.params})
    denoised = jax.jit(lambda denoise, x, t: denoise(x, t, cond))(denoise, noisy, t)
    errors = map(relative_error, np.asarray(denoised), case.arrays["denoised"])
    assert max(errors) <= MAX_ERROR


def test_what_a_file_says_is_the_net_and_how_to_draw() -> None:
    case = read_case(GOLDEN / "edm2_128.npz")
    model = find_family(case.file).read(case.file)
    fields = {"blocks": 1, "attention": (1,), "frequencies": 128, "embedding": 256}
    assert model.net == EDM2UNet(size=12, widths=(128, 128, 256), **fields)
    assert model.net.null_cond is None
    assert isinstance(model.noise, Gaussian)
    assert model.noise.data_std == 0.7
    assert (model.shape, model.classes, model.schedule) == ((12, 12, 4), 0, "edm_of(rho=1.0)")
    assert (model.sampler, model.grid, model.steps) == ("heun", "karras", 32)


def test_the_smallest_published_model_has_its_number_of_parameters() -> None:
    """124.7 million (Karras et al. 2024, table 2)."""
    shapes = net_shapes(EDM2UNet(classes=1000), (64, 64, 4), jnp.zeros(1, jnp.int32))
    assert sum(np.prod(shape) for shape in shapes.values()) == pytest.approx(124.7e6, abs=5e4)


def test_weights_in_float16_are_read_as_they_are(tensors) -> None:
    halves = {name: tensor.astype(np.float16) for name, tensor in tensors.items()}
    params = edm2.FAMILY.read(weight_file(halves)).params
    kernel = halves["unet.enc.6x6_conv.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(params["enc.6x6_conv"]["kernel"], kernel.astype(np.float32))


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("unet.dec.6x6_in0.attn_proj.weight", None, "has no tensor 'unet.dec.6x6_in0.attn_proj.weight'"),
        ("unet.enc.6x6_block0.conv_res1.weight", None, "has no tensor 'unet.enc.6x6_block0.conv_res1.weight'"),
        ("unet.dec.6x6_up.emb_gain", np.zeros(()), "no place for, 'unet.dec.6x6_up.emb_gain'"),
        ("unet.enc.6x6_block0.emb_gain", np.zeros(1), "'unet.enc.6x6_block0.emb_gain' of shape"),
        ("unet.enc.6x6_block0.conv_res1.weight", np.zeros(()), "'unet.enc.6x6_block0.conv_res1.weight' has shape"),
        ("unet.enc.6x6_block0.conv_res1.weight", np.zeros((32, 32, 3, 3)), "depth 0 attends, so its width"),
        ("unet.enc.3x3_block70.conv_res1.weight", np.zeros((64, 64, 3, 3)), "has no tensor 'unet.enc.3x3_block0"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tensors, name, tensor, message) -> None:
    changed = {key: value for key, value in (tensors | {name: tensor}).items() if value is not None}
    with pytest.raises(UserError, match=rf"^weights\.pt: .*{message}.*; use"):
        edm2.FAMILY.read(weight_file(changed))


@pytest.mark.parametrize("setting", [{"clip_act": None}, {"sigma_data": "0.5"}, {"sigma_data": -1}, {"dropout": 1}])
def test_settings_that_the_net_does_not_have_are_named(tensors, setting) -> None:
    with pytest.raises(UserError, match=rf"^weights\.pt: .*({'|'.join(setting)}|data_std)"):
        edm2.FAMILY.read(weight_file(tensors, config=setting))


def test_layers_keep_unit_magnitude() -> None:
    x, y = (jax.random.normal(jax.random.key(i), (4096, channels)) for i, channels in ((0, 64), (1, 192)))
    conv = MPConv(96)
    kernel = {"params": {"kernel": 5 * jax.random.normal(jax.random.key(2), (64, 96)) ** 3}}
    fourier = MPFourier(512)
    levels = jnp.linspace(-2, 2, 64)
    outputs = (
        mp_silu(x),
        mp_sum(x, y[:, :64], 0.3),
        mp_concatenate(x, y, 0.3),
        normalize(3 * x, (1,)),
        conv.apply(kernel, x),
        fourier.apply(fourier.init(jax.random.key(3), levels), levels),
    )
    for output in outputs:
        assert float(jnp.sqrt(jnp.mean(jnp.asarray(output) ** 2))) == pytest.approx(1, abs=0.02)


def test_the_null_class_is_one_past_the_last(params) -> None:
    assert NET.null_cond == 3
    null, classes = output(params, X, jnp.full(3, 3)), output(params, X, LABELS)
    np.testing.assert_array_equal(classes[2], null[2])
    assert jnp.abs(classes - null)[:2].max() > 1e-2
    with pytest.raises(UserError, match="unconditional"):
        NET.clone(classes=0).apply({"params": params}, X, LEVEL, LABELS)


def test_an_example_does_not_depend_on_its_batch(params) -> None:
    others = output(params, X.at[1:].set(5.0), LABELS.at[1:].set(1))
    np.testing.assert_allclose(others[0], output(params, X, LABELS)[0], atol=1e-6)


def test_without_keys_there_is_no_dropout_and_without_labels_the_null_class(params) -> None:
    @jax.jit
    def dropped_output(keys):
        return NET.clone(dropout=0.5).apply({"params": params}, X, LEVEL, None, keys)

    null = output(params, X, jnp.full(3, 3))
    np.testing.assert_allclose(dropped_output(None), null, atol=1e-5)
    assert jnp.abs(dropped_output(jax.random.split(jax.random.key(2), 3)) - null).max() > 1e-2


def test_gradients_are_finite(params) -> None:
    """Also of weights and activations that are 0, whose norm has no slope."""

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1))
    def gradient(params, x):
        return jnp.sum(jnp.asarray(NET.apply({"params": params}, x, LEVEL, LABELS)) ** 2)

    for weights in (params, jax.tree.map(jnp.zeros_like, params)):
        gradients = gradient(weights, jnp.zeros_like(X))
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradients))


def test_sides_and_levels_that_the_net_does_not_take(params) -> None:
    net = EDM2UNet(size=8, widths=(64, 64), blocks=1, attention=(0,))
    variables = jax.eval_shape(net.init, jax.random.key(0), X, LEVEL)
    other_size = jnp.zeros((3, 6, 10, 2))
    assert jax.eval_shape(net.apply, variables, other_size, LEVEL).shape == other_size.shape
    with pytest.raises(UserError, match=r"multiples of 2 .* got \(6, 9\)"):
        jax.eval_shape(net.apply, variables, other_size[:, :, :9], LEVEL)
    with pytest.raises(UserError, match="one level per example"):
        NET.apply({"params": params}, X, jnp.zeros((3, 4, 4, 1)), LABELS)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"attention": (4,)}, "attention must name depths"),
        ({"widths": (64, 96), "attention": ()}, "multiple of 64"),
        ({"size": 12}, "multiples of 8"),
        ({"widths": (), "attention": ()}, "depths must be at least 1"),
        ({"frequencies": -1}, "frequencies must be"),
        ({"classes": -1}, "classes must be"),
    ],
)
def test_fields_out_of_range_are_named(fields, message) -> None:
    with pytest.raises(UserError, match=message):
        EDM2UNet(**fields)
