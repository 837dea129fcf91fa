"""The net of continuous autoregression: what an output may depend on, and its two parts against the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from diffjax import loss, nets, order, predict, schedule
from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.utils.prng import fold, keys

NOISE = Gaussian(schedule.cosine, predict.v)
NET = nets.MAR(patch=2, width=16, depth=2, heads=2, head_width=16, head_depth=2, octaves=1, classes=3, dropout=0.3)
X, LABELS = jax.random.normal(jax.random.key(0), (4, 4, 6, 2)), jnp.array([0, 1, 2, 1])
PATCHES = 6
APPLY = jax.jit(NET.apply, static_argnames="method")
KNOWN = (0, 4)  # of six patches; the others are hidden, each at a level of its own


def pixels(of_patches) -> jax.Array:
    """A number for each patch, at each of its pixels: [b, 6] to [b, 4, 6, 1]."""
    return jnp.repeat(jnp.repeat(of_patches.reshape(-1, 2, 3, 1), 2, axis=1), 2, axis=2)


LEVEL = pixels(jnp.tile(jnp.linspace(0.2, 0.9, PATCHES), (4, 1)).at[:, KNOWN].set(0))


@pytest.fixture(scope="module")
def variables():
    """Random weights, far from where outputs start at 0."""
    made = jax.jit(NET.init)(jax.random.key(0), X, LEVEL, LABELS)
    leaves, tree = jax.tree.flatten(made)
    some = jax.random.split(jax.random.key(1), len(leaves))
    return tree.unflatten([leaf + 0.2 * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, some, strict=True)])


def reach(apply, given) -> np.ndarray:
    """Whether the output at each patch (rows) changes with what is given at each patch (columns)."""
    changed = jax.vmap(lambda i: given + 0.1 * pixels(jax.nn.one_hot(i, PATCHES)[None]))(jnp.arange(PATCHES + 1))
    out = jax.lax.map(apply, changed)  # the last of them is the same
    moved = jnp.abs(out[:-1] - out[-1:])
    return np.asarray(moved.reshape(PATCHES, 4, 2, 2, 3, 2, 2).max(axis=(1, 3, 5, 6)) > 0).reshape(PATCHES, -1).T


def test_it_begins_by_saying_nothing() -> None:
    out, _ = jax.jit(NET.init_with_output)(jax.random.key(0), X, LEVEL, LABELS)
    np.testing.assert_array_equal(out, 0)


def test_a_hidden_patch_reaches_itself_alone_and_a_known_one_all(variables) -> None:
    hidden = [i for i in range(PATCHES) if i not in KNOWN]
    found = reach(lambda x: NET.apply(variables, x, LEVEL, LABELS), X)
    np.testing.assert_array_equal(found[hidden][:, hidden], np.eye(len(hidden), dtype=bool))
    assert found[:, KNOWN].all()


def test_a_level_above_zero_reaches_its_own_patch_alone(variables) -> None:
    hidden = np.array([i for i in range(PATCHES) if i not in KNOWN])
    found = reach(lambda level: NET.apply(variables, X, level, LABELS), LEVEL)
    np.testing.assert_array_equal(found[:, hidden], np.eye(PATCHES, dtype=bool)[:, hidden])
    assert found[hidden][:, KNOWN].all()  # at a level above 0 they would be known no more


def test_what_the_large_part_sees_is_all_that_is_known_and_the_label(variables) -> None:
    def context(x, level, cond):
        return APPLY(variables, x, level, cond, method="context")

    z, hidden = context(X, LEVEL, LABELS), LEVEL > 0
    assert z.shape == (4, PATCHES, 16)
    np.testing.assert_array_equal(context(jnp.where(hidden, 7.0, X), jnp.where(hidden, 1.0, LEVEL), LABELS), z)
    assert bool(jnp.all(jnp.max(jnp.abs(context(X, LEVEL, (LABELS + 1) % 3) - z), axis=(1, 2)) > 1e-3))
    null = jnp.broadcast_to(NET.null_cond, 4)
    np.testing.assert_allclose(context(X, LEVEL, null), context(X, LEVEL, None), atol=1e-6)


def test_the_head_of_some_patches_is_that_of_all_there(variables) -> None:
    z = APPLY(variables, X, LEVEL, LABELS, method="context")
    whole = APPLY(variables, X, LEVEL, LABELS)
    np.testing.assert_allclose(APPLY(variables, X, LEVEL, z, method="head"), whole, atol=1e-5)
    moving = pixels(jnp.zeros((4, PATCHES)).at[jnp.arange(4), jnp.array([1, 3, 3, 5])].set(1)) > 0
    one_pixel = moving.at[:, 1::2].set(False).at[:, :, ::2].set(False)
    for which in (moving, one_pixel):
        places = NET.places(which, 2)
        assert places.shape == (4, 2)
        np.testing.assert_array_equal(places[:, 0], [1, 3, 3, 5])
        part = APPLY(variables, X, LEVEL, z, places, method="head")
        np.testing.assert_allclose(jnp.where(moving, part, 0), jnp.where(moving, whole, 0), atol=1e-5)
        assert int(jnp.sum(jnp.any(part != 0, axis=-1))) == 4 * 2 * 4  # two patches of four pixels each


def test_one_level_for_all_is_every_patch_at_that_level(variables) -> None:
    for level in (jnp.full((4, 1, 1, 1), 0.4), jnp.zeros((4, 1, 1, 1))):
        one = APPLY(variables, X, level, LABELS)
        np.testing.assert_allclose(APPLY(variables, X, jnp.broadcast_to(level, (4, 4, 6, 1)), LABELS), one, atol=1e-5)


def test_an_example_drops_by_its_own_key_alone_or_in_a_batch(variables) -> None:
    apply = jax.jit(lambda x, level, cond, keys: NET.apply(variables, x, level, cond, keys))
    whole = apply(X, LEVEL, LABELS, keys(0, 4))
    np.testing.assert_allclose(apply(X[2:], LEVEL[2:], LABELS[2:], keys(0, 2, start=2)), whole[2:], atol=1e-5)
    assert float(jnp.max(jnp.abs(whole - apply(X, LEVEL, LABELS, keys(1, 4))))) > 1e-3


def test_an_output_does_not_know_its_devices(variables) -> None:
    mesh = jax.make_mesh((4,), ("batch",), devices=jax.devices()[:4], axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.device_put((X, LEVEL, LABELS), NamedSharding(mesh, PartitionSpec("batch")))
    out = APPLY(variables, *spread)
    assert len(out.sharding.device_set) == 4
    np.testing.assert_allclose(out, APPLY(variables, X, LEVEL, LABELS), atol=1e-5)


def test_in_bfloat16_and_remembering_less_it_says_the_same(variables) -> None:
    whole = APPLY(variables, X, LEVEL, LABELS)
    rough = jax.jit(NET.clone(dtype="bfloat16").apply)(variables, X, LEVEL, LABELS)
    assert rough.dtype == jnp.float32
    assert float(jnp.max(jnp.abs(rough - whole))) < 0.1 * float(jnp.max(jnp.abs(whole)))
    assert bool(jnp.any(rough != whole))
    again = jax.jit(NET.clone(remat=True).apply)(variables, X, LEVEL, LABELS)
    np.testing.assert_allclose(again, whole, atol=1e-6)


def test_it_learns_what_each_order_shows() -> None:
    """Pixels that are all alike: those known say all of the others, and the error falls below the best without them."""
    net = nets.MAR(width=16, depth=1, heads=2, head_width=16, head_depth=1)
    run = loss.regression(NOISE, order.blocks(4, shuffled=True), independent=True)
    variables = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 2, 2, 1)), jnp.zeros((1, 1, 1, 1)))

    def value(variables, some):
        x0 = jnp.broadcast_to(jax.vmap(lambda key: jax.random.normal(key, (1, 1, 1)))(some), (64, 2, 2, 1))
        return jnp.mean(run(some, lambda *given: net.apply(variables, *given), x0, None))

    def body(state, k):
        variables, memory = state
        error, change = jax.value_and_grad(value)(variables, fold(keys(0, 64), k))
        change, memory = optimizer.update(change, memory)
        return (optax.apply_updates(variables, change), memory), error

    optimizer = optax.adam(1e-2)
    found = np.asarray(jax.lax.scan(body, (variables, optimizer.init(variables)), jnp.arange(150))[1])
    # of the target v with x0 ~ N(0, 1) nothing can be said: its variance is 1 at every level; one known pixel says all
    assert found[0] > 0.8
    assert np.mean(found[-20:]) < 0.5


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match=r"^net: width .*heads"):
        nets.MAR(width=10)
    with pytest.raises(UserError, match=r"MAR: .*patch=9"):
        jax.eval_shape(nets.MAR(patch=9).init, jax.random.key(0), X, LEVEL)
