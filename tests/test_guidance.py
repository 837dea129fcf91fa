"""Classifier-free guidance commutes with every row, is neutral at 1, and serves any number of channels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from diffjax import guidance, predict, schedule
from diffjax.errors import UserError
from diffjax.noise import Gaussian

NULL = jnp.asarray(3, jnp.int32)


def net(x_t, t, cond):
    """Anything that depends on all it is given."""
    return jnp.sin(x_t * (1.0 + cond.reshape(-1, 1, 1, 1))) - t


@pytest.mark.parametrize("channels", [4, pytest.param(16, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "row", [predict.x0, predict.eps, predict.v, predict.velocity, predict.score, predict.edm], ids=lambda r: r.name
)
def test_guiding_the_output_is_guiding_x0(row, channels) -> None:
    with jax.enable_x64(True):
        noise, w = Gaussian(schedule.linear_beta, row, 0.6), 2.5
        x, t = jax.random.normal(jax.random.key(0), (3, 2, 2, channels)), jnp.full((3, 1, 1, 1), 0.4)
        cond = jnp.array([0, 1, 2])

        def x0(x_t, t, cond):
            return noise.read(net(x_t, t, cond), x_t, t)

        null = jnp.broadcast_to(NULL, 3)
        mixed = (1 - w) * net(x, t, null) + w * net(x, t, cond)
        guided = guidance.cfg(Partial(x0), w, NULL)(x, t, cond)
        np.testing.assert_allclose(guided, noise.read(mixed, x, t), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("scale", "like"), [(1.0, [0, 1, 2]), (0.0, [3, 3, 3])])
def test_one_is_neutral_and_zero_unconditional(scale, like) -> None:
    x, t = jax.random.normal(jax.random.key(0), (3, 2, 2, 1)), jnp.full((1, 1, 1, 1), 0.4)
    guided = guidance.cfg(net, scale, NULL)(x, t, jnp.array([0, 1, 2]))
    np.testing.assert_allclose(guided, net(x, t, jnp.array(like)), atol=1e-6)


def test_a_new_scale_compiles_nothing() -> None:
    traced = 0

    @jax.jit
    def run(denoise, x, t, cond):
        nonlocal traced
        traced += 1
        return denoise(x, t, cond)

    for scale in (1.0, 2.0, 5.0):
        run(guidance.cfg(net, scale, NULL), jnp.ones((3, 1, 1, 1)), jnp.ones((3, 1, 1, 1)), jnp.arange(3))
    assert traced == 1


def test_guidance_without_conditions_is_refused() -> None:
    with pytest.raises(UserError, match="conditional model"):
        guidance.cfg(net, 2.0, None)
    with pytest.raises(UserError, match="cond="):
        guidance.cfg(net, 2.0, NULL)(jnp.ones((1, 1, 1, 1)), jnp.ones((1, 1, 1, 1)), None)
