"""EDM: the denoisers of its files, what they must hold, and the laws of its nets."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict
from quickly import few

from diffjax import grids
from diffjax.denoising import denoiser
from diffjax.errors import UserError
from diffjax.nets.dhariwal_unet import DhariwalUNet
from diffjax.nets.edm_layers import BlockForm, UNetBlock, downsample, group_norm, upsample
from diffjax.nets.edm_layout import BlockPlace, class_vectors
from diffjax.nets.edm_unet import SongUNet
from diffjax.published import edm_precond
from diffjax.published.models import find_family
from diffjax.published.tensor_mapping import net_shapes
from diffjax.traits import net_traits
from tests.published.golden_files import GOLDEN, MAX_ERROR, read_case, relative_error, weight_file
from tests.published.seeded import seeded_input, seeded_tensor

# A time in float32 gives ln(sigma) within 1e-6, and NCSN++ takes sines of up to 2π · 10 times it.
DENOISERS = {"edm_ddpmpp_128_denoiser": MAX_ERROR, "edm_ncsnpp_96_denoiser": 3e-5}
SONG = SongUNet(
    **{"resolution": 4, "width": 8, "multipliers": (1, 2), "blocks": 1, "attention": (2,), "classes": 3},
    **{"fourier": True, "residual_inputs": True, "resample_filter": (1, 3, 3, 1), "noise_multiplier": 2},
)
DHARIWAL = DhariwalUNet(resolution=4, width=64, multipliers=(1, 1), blocks=1, attention=(), classes=3)
LEVEL = jnp.asarray([-1.5, 0.2, 1.1]).reshape(-1, 1, 1, 1)
LABELS = jnp.asarray([0, 2, 3])  # the last is null
FORMS = (
    BlockForm(1e-6, 0.5**0.5, False, True, head_channels=0, resample_filter=(1, 3, 3, 1), dropout=0.5),
    BlockForm(1e-5, 1.0, True, False, head_channels=4, resample_filter=(1, 1), dropout=0.5),
)


def channels_last(x: np.ndarray) -> jax.Array:
    return jnp.asarray(x.transpose(0, 2, 3, 1))


@pytest.fixture(params=[SONG, DHARIWAL], ids=["song", "dhariwal"])
def net(request):
    return request.param


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    """Those of the smallest case with two depths."""
    file = read_case(GOLDEN / "edm_ncsnpp_96.npz").file
    return {name: tensor.read() for name, tensor in file.tensors.items()}


@pytest.mark.parametrize("name", few(DENOISERS, "edm_ddpmpp_128_denoiser"))
def test_the_denoiser_is_the_original_at_each_noise_level(name) -> None:
    """Of images with other sides than the net was trained on."""
    case = read_case(GOLDEN / f"{name}.npz")
    model = find_family(case.file).read(case.file)
    sigma = jnp.asarray(case.about["sigma"]).reshape(-1, 1, 1, 1)
    t = model.noise.time(-2 * jnp.log(sigma))
    np.testing.assert_allclose(model.noise.level(t), jnp.log(sigma) / 4, atol=1e-6)
    cond = jnp.asarray(case.arrays["cond"], jnp.int32) if "cond" in case.arrays else None
    noisy = channels_last(case.arrays["x"])
    denoised = jax.jit(lambda x, t: denoiser(model.noise, model.net, {"params": model.params})(x, t, cond))(noisy, t)
    assert max(map(relative_error, np.asarray(denoised), case.arrays["out"])) <= DENOISERS[name]


def test_the_grid_and_the_noise_are_those_that_the_authors_draw_with(tensors) -> None:
    """Karras et al. 2022, eq. 5, with 18 steps for images of 32 and less."""
    model = edm_precond.FAMILY.read(weight_file(tensors, config={"sigma_data": 1}))
    assert (model.schedule, model.sampler, model.grid, model.steps) == ("edm_of(rho=1.0)", "heun", "karras", 18)
    sigma = model.noise.coefficients(grids.karras(model.noise, model.steps)).sigma
    ramp = np.arange(18) / 17
    expected = (80 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(sigma, np.append(expected, 0), rtol=1e-5)
    assert model.noise.data_std == 1
    t = jnp.asarray(0.3)
    m = model.noise.coefficients(t)
    np.testing.assert_allclose(model.noise.feed(jnp.ones(2), t), 1 / jnp.sqrt(m.sigma**2 + 1), rtol=1e-6)


@pytest.mark.parametrize("kind", ["", "EDMPrecond"])
def test_the_tensors_tell_the_net(tensors, kind) -> None:
    halves = {name: tensor.astype(np.float16) for name, tensor in tensors.items()}
    config = {"model_type": "SongUNet", "dropout": 0.25} if kind else {}
    model = edm_precond.FAMILY.read(weight_file(halves, kind=kind, config=config))
    fields = {"fourier": True, "residual_inputs": True, "resample_filter": (1, 3, 3, 1), "noise_multiplier": 2}
    fields["dropout"] = 0.25 if kind else 0.0
    assert model.net == SongUNet(resolution=8, width=96, multipliers=(1, 2), blocks=1, attention=(), **fields)
    assert (model.shape, model.classes, model.latents, model.noise.data_std) == ((8, 8, 3), 0, None, 0.5)
    assert model.net.null_cond is None
    bias = halves["model.enc.8x8_conv.bias"].astype(np.float32)
    np.testing.assert_array_equal(model.params["enc.8x8_conv"]["bias"], bias)


def test_the_first_published_model_has_its_number_of_parameters() -> None:
    """edm-cifar10-32x32-cond-vp, without the weights of 9 augmentation labels."""
    shapes = net_shapes(SongUNet(classes=10), (8, 8, 3), jnp.zeros(1, jnp.int32))
    assert sum(np.prod(shape) for shape in shapes.values()) == 55_735_299 - 9 * 128


BLOCK, RESAMPLE = "model.enc.8x8_block0", "model.enc.4x4_down.conv0.resample_filter"


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("model.dec.4x4_in0.proj.weight", None, "has no tensor 'model.dec.4x4_in0.proj.weight'"),
        (f"{BLOCK}.conv0.weight", None, f"has no tensor '{BLOCK}.conv0.weight'"),
        (f"{BLOCK}.affine.bias", np.zeros(95), f"'{BLOCK}.affine.bias' of shape"),
        (f"{BLOCK}.conv0.weight", np.zeros(()), f"'{BLOCK}.conv0.weight' has shape"),
        (f"{BLOCK}.conv0.weight", np.zeros((64, 96, 3, 3)), "multiplier must be at least 1"),
        ("model.enc.4x4_aux_skip.weight", np.zeros((96, 3, 1, 1)), "no place for, 'model.enc.4x4_aux_skip.weight'"),
        ("model.enc.4x4_block70.conv0.weight", np.zeros(2), r"blocks must be at .* at most 64, got 71"),
        (RESAMPLE, None, f"has no tensor '{RESAMPLE}'"),
        (RESAMPLE, np.full((1, 1, 2, 2), 0.25, np.float32), "are not all one of the filters"),
        ("u", np.zeros(1001), "is a model of iDDPMPrecond"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tensors, name, tensor, message) -> None:
    changed = {key: value for key, value in (tensors | {name: tensor}).items() if value is not None}
    with pytest.raises(UserError, match=rf"^weights\.pt: .*{message}.*; use"):
        edm_precond.FAMILY.read(weight_file(changed))


@pytest.mark.parametrize("kind", ["VPPrecond", "VEPrecond", "iDDPMPrecond"])
def test_models_of_other_noise_are_refused(tensors, kind) -> None:
    file = weight_file(tensors, kind=kind)
    assert find_family(file) is edm_precond.FAMILY
    with pytest.raises(UserError, match=rf"^weights\.pt: is a model of {kind}, .*; use"):
        edm_precond.FAMILY.read(file)


@pytest.mark.parametrize("setting", [{"sigma_data": "0.5"}, {"sigma_data": 0}, {"dropout": 1}])
def test_settings_that_cannot_be_are_named(tensors, setting) -> None:
    with pytest.raises(UserError, match=rf"^weights\.pt: .*({'|'.join(setting)}|data_std)"):
        edm_precond.FAMILY.read(weight_file(tensors, config=setting))


def test_the_shortest_filter_is_the_mean_and_nearest_neighbours() -> None:
    x = channels_last(seeded_input((2, 3, 4, 6)))
    np.testing.assert_allclose(downsample(x, (1, 1)), x.reshape(2, 2, 2, 3, 2, 3).mean((2, 4)), atol=1e-6)
    np.testing.assert_array_equal(upsample(x, (1, 1)), x.repeat(2, 1).repeat(2, 2))


@pytest.mark.parametrize("resample_filter", [(1, 1), (1, 3, 3, 1)])
def test_doubling_is_four_times_the_transpose_of_halving(resample_filter) -> None:
    """And both leave constants as they are, away from the border."""
    x, y = channels_last(seeded_input((2, 3, 12, 8))), channels_last(seeded_input((2, 3, 6, 4), seed=2))
    halve, double = (jax.jit(resample, static_argnums=1) for resample in (downsample, upsample))
    inner = jnp.vdot(halve(x, resample_filter), y)
    np.testing.assert_allclose(jnp.vdot(x, double(y, resample_filter)) / 4, inner, rtol=1e-4)
    for resample in (halve, double):
        inside = resample(jnp.ones_like(x), resample_filter)[:, 2:-2, 2:-2]
        np.testing.assert_allclose(inside, jnp.ones_like(inside), rtol=1e-6)


def test_an_example_depends_on_itself_alone_and_on_its_label(net) -> None:
    shapes = net_shapes(net, (4, 4, 3), jnp.zeros(1, jnp.int32))
    leaves = {tuple(name.split("/")): seeded_tensor(name, shape[::-1]).T for name, shape in shapes.items()}
    params = jax.tree.map(jnp.asarray, unflatten_dict(leaves))
    x = channels_last(seeded_input((3, 3, 4, 6)))
    apply = jax.jit(net.apply)
    out = apply({"params": params}, x, LEVEL, LABELS)
    moved = apply({"params": params}, x[::-1], LEVEL[::-1], LABELS[::-1])
    np.testing.assert_allclose(moved[::-1], out, atol=2e-6)
    others = apply({"params": params}, x, LEVEL, LABELS.at[1:].set(net.null_cond))
    np.testing.assert_allclose(others[::2], out[::2], atol=2e-6)
    assert jnp.abs(others - out)[1].max() > 1e-2


def test_the_null_label_is_zeros() -> None:
    np.testing.assert_array_equal(class_vectors(3, LABELS, 3), [[1, 0, 0], [0, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(class_vectors(3, None, 2), np.zeros((2, 3)))
    assert SONG.null_cond == DHARIWAL.null_cond == 3


@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_a_block_are_finite_and_dropout_is_by_keys_alone(form) -> None:
    block = UNetBlock(form, BlockPlace("block", 8, attends=True, resampling="down"))
    x = channels_last(seeded_input((3, 8, 4, 6)))
    embedding = jnp.asarray(seeded_input((3, 5)))
    keys = jax.random.split(jax.random.key(0), 3)

    @jax.jit
    def gradient(params, x, keys):
        def sum_of_first(params, x):
            out = block.apply(params, x, embedding, keys)
            return jnp.sum(out[0] ** 2), out

        return jax.grad(sum_of_first, (0, 1), has_aux=True)(params, x)

    params = jax.jit(block.init)(jax.random.key(0), x, embedding, None)
    gradients, out = gradient(params, x, keys)
    assert out.shape == (3, 2, 3, 8)
    assert all(bool(jnp.isfinite(leaf).all() & (leaf != 0).any()) for leaf in jax.tree.leaves(gradients[0]))
    assert bool((gradients[1][0] != 0).any() & (gradients[1][1:] == 0).all())
    _, others = gradient(params, x, keys[::-1])
    np.testing.assert_array_equal(others[1], out[1])
    assert jnp.abs(others - out)[::2].max() > 1e-2


def test_random_frequencies_are_not_trained() -> None:
    assert net_traits(SONG).fixed == ("map_noise/freqs",)
    assert "map_noise/freqs" in net_shapes(SONG, (4, 4, 3), jnp.zeros(1, jnp.int32))
    assert net_traits(SONG.clone(fourier=False)).fixed == ()


def test_inputs_that_a_net_does_not_take(net) -> None:
    def apply(x, level=LEVEL, cond=LABELS, net=net):
        return jax.eval_shape(net.init, jax.random.key(0), x, level, cond)

    for shape in ((3, 4, 5, 3), (3, 4, 3), (3, 4, 4, 4, 3)):
        with pytest.raises(UserError, match=r"^net: .*sides that divide by 2, got"):
            apply(jnp.zeros(shape))
    with pytest.raises(UserError, match="one level per example"):
        apply(jnp.zeros((3, 4, 4, 3)), level=jnp.zeros((3, 4, 4, 1)))
    with pytest.raises(UserError, match="unconditional"):
        apply(jnp.zeros((3, 4, 4, 3)), net=net.clone(classes=0))


@pytest.mark.parametrize(
    ("net", "fields", "message"),
    [
        (SONG, {"attention": (8,)}, "attention must name sides of depths, 4, 2, got"),
        (SONG, {"resolution": 5}, "resolution must divide by 2"),
        (SONG, {"multipliers": (1, 0)}, "multiplier must be at least 1"),
        (SONG, {"resample_filter": (1, 2, 1)}, "resample_filter must be an even number"),
        (SONG, {"resample_filter": ()}, "resample_filter must be an even number"),
        (SONG, {"width": 9, "noise_multiplier": 1}, "must be even"),
        (DHARIWAL, {"classes": -1}, "classes must be"),
        (DHARIWAL, {"dropout": 1.0}, "dropout must be"),
        (DHARIWAL, {"width": 63}, "width must be even"),
    ],
)
def test_fields_out_of_range_are_named(net, fields, message) -> None:
    with pytest.raises(UserError, match=message):
        net.clone(**fields)


def test_channels_that_do_not_divide_are_named() -> None:
    with pytest.raises(UserError, match="130 channels of norm0 must divide into 32 groups"):
        group_norm(130, 1e-5, "norm0")
    block = UNetBlock(replace(FORMS[1], head_channels=6), BlockPlace("block", 20, attends=True))
    with pytest.raises(UserError, match="20 channels have 3 heads"):
        jax.eval_shape(block.init, jax.random.key(0), jnp.zeros((1, 2, 2, 8)), jnp.zeros((1, 4)), None)
