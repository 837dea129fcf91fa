"""Nets: shapes, precision, conditions that matter, dropout by example, and the drivers that suit them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import order, predict, schedule, steps
from diffjax.denoising import denoiser
from diffjax.errors import UserError
from diffjax.nets import MLP, UNet
from diffjax.noise import Gaussian
from diffjax.parallel import dispatch
from diffjax.sampling import driver
from diffjax.sampling.loop import sample, stepwise
from diffjax.utils.prng import keys

NETS = {
    "mlp": MLP(width=16, depth=1, classes=3, dropout=0.3),
    "unet": UNet(width=8, multipliers=(1, 2), classes=3, dropout=0.3, attention=(0,)),
}
X, LEVEL, LABELS = jnp.linspace(-1, 1, 4 * 64).reshape(4, 8, 8, 1), jnp.full((4, 1, 1, 1), 0.5), jnp.array([0, 1, 2, 0])


@pytest.fixture(scope="module", params=NETS)
def net(request):
    """A net with random weights: (net, variables, its jitted call)."""
    made = NETS[request.param]
    variables = jax.jit(made.init)(jax.random.key(0), X, LEVEL, LABELS)
    leaves, tree = jax.tree.flatten(variables)
    moved = [leaf + 0.1 * jax.random.normal(jax.random.key(i), leaf.shape) for i, leaf in enumerate(leaves)]
    return made, jax.tree.unflatten(tree, moved), jax.jit(made.apply)


def test_output_has_the_shape_of_x_and_depends_on_all_it_is_told(net) -> None:
    _, variables, apply = net
    out = apply(variables, X, LEVEL, LABELS)
    assert out.shape == X.shape
    assert out.dtype == jnp.float32
    for other in (
        apply(variables, X, 0.6 * LEVEL, LABELS),
        apply(variables, X, LEVEL, LABELS + 1),
        apply(variables, -X, LEVEL, LABELS),
    ):
        assert bool(jnp.all(jnp.max(jnp.abs(out - other), axis=(1, 2, 3)) > 1e-4))


def test_no_label_is_the_null_label_and_one_past_the_last(net) -> None:
    made, variables, apply = net
    assert int(made.null_cond) == 3
    null = jnp.broadcast_to(made.null_cond, 4)
    np.testing.assert_allclose(apply(variables, X, LEVEL, null), apply(variables, X, LEVEL, None), atol=1e-6)


def test_an_example_drops_by_its_own_key(net) -> None:
    made, variables, _ = net
    apply = jax.jit(lambda x, level, cond, keys: made.apply(variables, x, level, cond, keys))
    whole = apply(X, LEVEL, LABELS, keys(0, 4))
    part = apply(X[2:], LEVEL[2:], LABELS[2:], keys(0, 2, start=2))
    np.testing.assert_allclose(whole[2:], part, atol=1e-5)
    assert float(jnp.max(jnp.abs(whole - apply(X, LEVEL, LABELS, keys(1, 4))))) > 1e-3


def test_both_drivers_give_the_same_pictures(net) -> None:
    made, variables, _ = net
    noise = Gaussian(schedule.cosine, predict.v)
    args = keys(0, 4), noise, order.together, denoiser(noise, made, variables), (8, 8, 1)
    options = {"cond": LABELS, "steps": 3, "step": steps.dpmpp_2m()}
    *_, stepped = stepwise(*args, **options)
    np.testing.assert_allclose(sample(*args, **options), stepped, atol=1e-5)
    np.testing.assert_allclose(driver.sample_for(made)(*args, **options), stepped, atol=1e-5)


def test_the_driver_follows_platform_and_net() -> None:
    assert dispatch.loops_are_slow(NETS["unet"])  # the tests run on a CPU
    assert not dispatch.loops_are_slow(NETS["mlp"])
    assert dispatch.steps_per_dispatch(NETS["unet"]) == 1
    assert dispatch.steps_per_dispatch(NETS["mlp"]) > 1
    assert driver.sample_for(NETS["mlp"]) is sample


def test_what_does_not_fit_is_named() -> None:
    for made in NETS.values():
        with pytest.raises(UserError, match=r"order\.together"):
            jax.eval_shape(made.init, jax.random.key(0), X, jnp.ones((4, 8, 8, 1)), LABELS)
    with pytest.raises(UserError, match=r"^UNet: "):
        jax.eval_shape(UNet(width=8).init, jax.random.key(0), jnp.ones((1, 6)), LEVEL[:1])
    with pytest.raises(UserError, match=r"^UNet: .*heads"):
        UNet(heads=3)
    with pytest.raises(UserError, match="classes="):
        jax.eval_shape(MLP().init, jax.random.key(0), X, LEVEL, LABELS)


def test_a_unet_hears_the_level_of_each_pixel() -> None:
    """One level for all says what a map of it says; where one pixel's level changes, the output does, and nearby."""
    net, x, one = UNet(width=8, multipliers=(1, 2), heads=2, per_pixel=True), jnp.ones((2, 8, 8, 1)), 0.3
    variables = jax.jit(net.init)(jax.random.key(0), x, jnp.full((2, 1, 1, 1), one))
    variables = jax.tree.map(lambda leaf: leaf + 0.1, variables)  # past the zeros of the start
    apply: Any = jax.jit(net.apply)
    whole = apply(variables, x, jnp.full((2, 8, 8, 1), one))
    np.testing.assert_allclose(apply(variables, x, jnp.full((2, 1, 1, 1), one)), whole, rtol=1e-5, atol=1e-5)
    varied = apply(variables, x, jnp.full((2, 8, 8, 1), one).at[0, 2, 2].set(0.0))
    assert np.abs(np.asarray(varied - whole)[0]).max() > 1e-3
    np.testing.assert_array_equal(varied[1], whole[1])
