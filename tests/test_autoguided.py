"""Guidance away from a weaker model: of exact models, of nets whose attention is taken out, and with memories."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import guidance, nets, oracles, order, predict, schedule, steps
from diffjax.denoising import denoiser
from diffjax.errors import UserError
from diffjax.noise import Gaussian, Masking
from diffjax.sampling import cached
from diffjax.sampling.loop import sample
from diffjax.traits import NetTraits
from diffjax.utils.prng import keys

NOISE = Gaussian(schedule.cosine, predict.v)


class Attentive(nn.Module):
    """Two blocks in which every row of a picture looks at every other, or, where perturbed, at itself alone."""

    perturbed: tuple[int, ...] = ()

    traits = NetTraits(perturbable=True)

    @nn.compact
    def __call__(self, x, level, cond=None, keys=None):
        h = nn.Dense(8)(x.reshape(len(x), x.shape[1], -1)) + level.reshape(len(x), -1, 1).mean(1, keepdims=True)
        for block in range(2):
            q, k, v = (nn.Dense(8, name=f"{name}{block}")(h) for name in "qkv")
            weights = jax.nn.softmax(jnp.einsum("bid,bjd->bij", q, k))
            h = h + (v if block in self.perturbed else jnp.einsum("bij,bjd->bid", weights, v))
        return nn.Dense(x[0, 0].size)(h).reshape(x.shape)


X, T = jax.random.normal(jax.random.key(0), (3, 4, 2, 3)), jnp.array([0.0, 0.5, 1.0]).reshape(3, 1, 1, 1)
NET = Attentive()
VARIABLES = jax.jit(NET.init)(jax.random.key(1), X, T)
DENOISE = denoiser(NOISE, NET, VARIABLES)


@pytest.mark.parametrize("blocks", [(0,), (0, 1)])
def test_perturbed_attention_leads_away_from_the_net_without_it(blocks) -> None:
    weak = denoiser(NOISE, Attentive(perturbed=blocks), VARIABLES)
    guided = guidance.perturbed_attention(DENOISE, 3.0, blocks)
    plain, worse = DENOISE(X, T, None), weak(X, T, None)
    np.testing.assert_allclose(guided(X, T, None), plain + 2.0 * (plain - worse), atol=1e-5)  # their scale is 2
    assert float(jnp.max(jnp.abs(plain - worse))) > 0.01
    np.testing.assert_array_equal(guidance.perturbed_attention(DENOISE, 1.0, blocks)(X, T, None), plain)
    compiled = jax.jit(lambda g, x: g(x, T, None))(guided, X)
    np.testing.assert_allclose(compiled, guided(X, T, None), atol=1e-5)


def test_what_is_guided_already_may_be_perturbed() -> None:
    inside = guidance.autoguidance(DENOISE, lambda x_t, t, cond: x_t / 2, 2.0)
    guided = guidance.perturbed_attention(inside, guidance.interval(2.0, 0.4, 0.6), (1,), rule=guidance.rescaled(0.5))
    found = guided(X, T, None)
    np.testing.assert_array_equal(found[::2], inside(X, T, None)[::2])
    assert float(jnp.max(jnp.abs(found[1] - inside(X, T, None)[1]))) > 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: guidance.perturbed_attention(DENOISE, 2.0, (-1,)), "^perturbed_attention: blocks"),
        (lambda: guidance.perturbed_attention(lambda *a: a[0], 2.0, (0,)), "^perturbed_attention: denoise"),
        (
            lambda: guidance.perturbed_attention(denoiser(NOISE, nn.Dense(3), {"params": {}}), 2.0, (0,)),
            "Dense .*perturbed",
        ),
        (lambda: guidance.momentum(steps.heun(), 2.0), "^momentum: heun"),
    ],
)
def test_mistakes_are_named(make, message) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_autoguidance_takes_away_what_the_weak_model_has_more_of() -> None:
    """Models that smear N(0, 1) to variances 1.2 and 1.5 end, guided, at 1.5^((1-w)/2) 1.2^(w/2): at one w at 1.

    (y = x/alpha keeps y / Π (variance + sigma²)^(weight/2) along the ODE.)
    """
    w = np.log(1.5) / np.log(1.5 / 1.2)
    noise = Gaussian(schedule.edm_of(sigma_min=0.002, sigma_max=200.0), predict.edm)
    with jax.enable_x64(True):
        strong, weak = (oracles.gaussian(noise, np.zeros(1), np.full((1, 1), each)) for each in (1.2, 1.5))
        guided, start = guidance.autoguidance(strong, weak, w), 200.0 * jnp.linspace(-2.0, 2.0, 5)[:, None]
        x = sample(keys(0, 5), noise, order.together, guided, (1,), steps=400, step=steps.rk4(), start=start)
    np.testing.assert_allclose(x[:, 0], np.linspace(-2.0, 2.0, 5), atol=1e-4)


@pytest.mark.parametrize(
    ("scale", "calls"), [(2.5, 2), pytest.param(guidance.interval(2.5, 0.5, 1.0), 1, marks=pytest.mark.long)]
)
def test_a_net_that_remembers_is_called_as_it_expects(scale, calls) -> None:
    """In turn under both conditions, each has its own keys and values; of a scale of t every step computes both."""
    noise, n = Masking(5), 4
    net = nets.Transformer(5, (2, 2), width=16, depth=1, heads=2, classes=3, causal=True)
    variables = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, n), jnp.int32), jnp.zeros((1, 1)))
    moved = jax.tree.map(lambda leaf: leaf + 0.3 * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape), variables)
    guided = guidance.cfg(denoiser(noise, net, moved), scale, net.null_cond, calls=calls)
    given = (keys(3, 8), noise, order.shuffled, guided, (n,))
    cond = jnp.arange(8) % 3
    np.testing.assert_array_equal(cached.sample(*given, cond=cond), sample(*given, cond=cond, steps=n))
    plain = cached.sample(keys(3, 8), noise, order.shuffled, denoiser(noise, net, moved), (n,), cond=cond)
    assert bool(jnp.any(plain != cached.sample(*given, cond=cond)))
