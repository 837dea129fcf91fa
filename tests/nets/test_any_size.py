"""Nets at any size and any rank: sides that a net does not divide, signals, pictures and volumes."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import nets
from diffjax.conditions import fill_condition
from diffjax.errors import UserError
from diffjax.nets.adaln_zero import sincos_positions
from diffjax.nets.condition_encoders import Picture
from diffjax.nets.patchify import from_patches, levels_of_patches, to_patches
from diffjax.traits import net_traits

UNET = nets.UNet(width=8, multipliers=(1, 1, 2), heads=2, attention=(1,), classes=2)
NETS = {
    "UNet": UNET,
    "UNet, per pixel": UNET.clone(per_pixel=True),
    "DiT": nets.DiT(patch=3, width=8, depth=1, heads=2, classes=2),
    "MAR": nets.MAR(patch=3, width=8, depth=1, heads=2, head_width=8, head_depth=1, classes=2),
}
SIDES = range(17, 41)
SHAPES = {"signal": (13, 2), "volume": (3, 5, 4, 2), "of rank 4": (2, 3, 2, 3, 1)}


def randomized(variables):
    """Other parameters than those of the start, many of which are 0."""
    leaves, tree = jax.tree.flatten(variables)
    moved = [leaf + 0.1 * jax.random.normal(jax.random.key(i), leaf.shape) for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(tree, moved)


def inputs(*shape, batch=2):
    return jax.random.normal(jax.random.key(0), (batch, *shape)), jnp.full((batch,) + (1,) * len(shape), 0.3)


def initialized(net, *shape):
    return randomized(jax.jit(net.init)(jax.random.key(0), *inputs(*shape), jnp.array([0, 1])))


def output_shape(net, variables, shape):
    arguments = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), inputs(*shape))
    return jax.eval_shape(net.apply, variables, *arguments).shape


@pytest.mark.parametrize("name", NETS)
def test_the_output_has_the_size_of_the_input(name) -> None:
    """With the parameters of another size where these serve any."""
    net = NETS[name]
    fixed = None if not net_traits(net).any_size else jax.eval_shape(net.init, jax.random.key(0), *inputs(16, 16, 1))
    for height in (17, 18, 27, 40):
        x = inputs(height, 57 - height, 1)
        variables = fixed or jax.eval_shape(net.init, jax.random.key(0), *x)
        assert output_shape(net, variables, x[0].shape[1:]) == x[0].shape


@pytest.mark.long
@pytest.mark.parametrize("name", ["UNet", "DiT"])
def test_the_output_has_the_size_of_the_input_at_every_size(name) -> None:
    variables = jax.eval_shape(NETS[name].init, jax.random.key(0), *inputs(16, 16, 1))
    for height, width in product(SIDES, SIDES):
        assert output_shape(NETS[name], variables, (height, width, 1)) == (2, height, width, 1)


@pytest.mark.parametrize("name", NETS)
def test_nothing_is_padded_where_sides_divide(name, monkeypatch) -> None:
    """Then the program is that of a net that cannot pad."""
    net = NETS[name]

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError

    monkeypatch.setattr(jnp, "pad", refuse)
    jax.eval_shape(net.init, jax.random.key(0), *inputs(12, 24, 1))
    with pytest.raises(AssertionError):
        jax.eval_shape(net.init, jax.random.key(0), *inputs(13, 24, 1))


RANKS = (
    ("UNet", "signal"),
    ("UNet", "volume"),
    ("UNet, per pixel", "of rank 4"),
    ("DiT", "signal"),
    ("DiT", "of rank 4"),
    ("MAR", "volume"),
)


@pytest.mark.parametrize(("name", "rank"), RANKS)
def test_every_rank(name, rank) -> None:
    """The output has the shape of x, and depends on all of x, on the level and on the label."""
    shape = SHAPES[rank]
    net = NETS[name]
    x, level = inputs(*shape)
    variables = initialized(net, *shape)
    apply = jax.jit(net.apply)
    out = apply(variables, x, level, jnp.array([0, 1]))
    assert out.shape == x.shape
    others = (
        apply(variables, x, 0.5 * level, jnp.array([0, 1])),
        apply(variables, x, level, jnp.array([1, 0])),
        apply(variables, x.at[:, *(-1,) * len(shape)].add(1.0), level, jnp.array([0, 1])),
    )
    for other in others:
        assert bool(jnp.all(jnp.max(jnp.abs(out - other), axis=range(1, x.ndim)) > 1e-6))


def flattened(params):
    """The parameters of the net of one axis that is the given net of two, where the second has one position."""

    def flatten(path, leaf):
        if path[-1].key != "kernel" or leaf.ndim != 4 or "Attention" in path[1].key:
            return leaf
        return leaf[:, 1] if leaf.shape[1] == 3 else leaf.sum(axis=1)  # convolutions at that position, and halvings

    return jax.tree.map_with_path(flatten, params)


@pytest.mark.parametrize("length", [8, 13])
def test_a_unet_of_pictures_one_wide_is_a_unet_of_signals(length) -> None:
    """Of the 3×3 kernels the middle column acts; a halving sees the one position twice."""
    net = UNET.clone(per_pixel=True)
    x, level = inputs(length, 1, 2)
    variables = initialized(net, length, 1, 2)
    out = jax.jit(net.apply)(variables, x, level, jnp.array([0, 1]))
    signal = jax.jit(net.apply)(flattened(variables), x[:, :, 0], level[:, :, 0], jnp.array([0, 1]))
    np.testing.assert_allclose(signal, out[:, :, 0], rtol=1e-4, atol=1e-5)


def test_a_dit_of_pictures_one_wide_is_a_dit_of_signals() -> None:
    net = nets.DiT(patch=1, width=8, depth=1, heads=2, adaln_zero=False)
    x, level = inputs(9, 1, 2)
    variables = randomized(jax.jit(net.init)(jax.random.key(0), x, level))
    out = jax.jit(net.apply)(variables, x, level)
    tables = dict(variables["params"]["Places_0"])
    shift = tables.pop("Embed_1")["embedding"]
    params = {**variables["params"], "Places_0": jax.tree.map(lambda table: table + shift, tables)}
    signal = jax.jit(net.apply)({"params": params}, x[:, :, 0], level[:, :, 0])
    np.testing.assert_allclose(signal, out[:, :, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(7, 2), (5, 7, 1), (2, 3, 4, 1)])
@pytest.mark.parametrize("padding", ["reflect", "edge"])
def test_patches_of_any_array_come_back(shape, padding) -> None:
    x = inputs(*shape)[0]
    patches = to_patches(x, 3, padding)
    assert patches.shape[1:] == (np.prod([-(-side // 3) for side in shape[:-1]]), 3 ** (len(shape) - 1) * shape[-1])
    np.testing.assert_array_equal(from_patches(patches, x.shape, 3), x)


def test_a_padded_patch_has_the_level_of_its_own_pixels() -> None:
    level = jnp.where(jnp.arange(7) < 6, 1.0, 0.0).reshape(1, 7, 1)
    np.testing.assert_array_equal(levels_of_patches(level, 3), [[1, 1, 0]])


@pytest.mark.parametrize("sides", [(5,), (2, 3), (2, 3, 2)])
def test_positions_differ_and_do_not_depend_on_the_size(sides) -> None:
    table = np.asarray(sincos_positions(sides, 16)).reshape(*sides, 16)
    rows = table.reshape(-1, 16)
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    assert distances[~np.eye(len(rows), dtype=bool)].min() > 0.1
    larger = np.asarray(sincos_positions(tuple(2 * side for side in sides), 16)).reshape(*(2 * n for n in sides), 16)
    np.testing.assert_array_equal(larger[tuple(map(slice, sides))], table)


@pytest.mark.parametrize("name", ["UNet", "DiT"])
def test_conditions_and_control_at_odd_sides(name) -> None:
    """A picture of half the size acts through a controlled copy."""
    net = nets.control(NETS[name].clone(conditions=(Picture(shape=(5, 7, 1)),)))
    x, level = inputs(10, 14, 1)
    cond = fill_condition(net.null_cond, 2, {"sketch": np.ones((5, 7, 1), np.float32)})
    variables = randomized(jax.jit(net.init)(jax.random.key(0), x, level, cond))
    apply = jax.jit(net.apply)
    out = apply(variables, x, level, cond)
    assert out.shape == x.shape
    assert bool(jnp.any(out != apply(variables, x, level, fill_condition(net.null_cond, 2, {}))))


def test_a_condition_that_does_not_fit_is_named() -> None:
    net = UNET.clone(conditions=(Picture(shape=(5, 7, 1)),))
    cond = fill_condition(net.null_cond, 2, {"sketch": np.ones((5, 7, 1), np.float32)})
    for shape in ((10, 13, 1), (10, 1)):
        with pytest.raises(UserError, match=r"condition .*\(5, 7\)"):
            jax.eval_shape(partial(net.init, jax.random.key(0)), *inputs(*shape), cond)


@pytest.mark.parametrize("name", NETS)
def test_a_vector_is_no_array_with_positions(name) -> None:
    with pytest.raises(UserError, match=r"^(UNet|DiT|MAR): .*spatial axis"):
        jax.eval_shape(NETS[name].init, jax.random.key(0), *inputs(6))
