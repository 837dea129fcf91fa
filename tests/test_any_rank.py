"""Signals and volumes through everything that pictures go through: orders, losses, samplers, likelihoods, editing."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import diffjax as dj
from diffjax import order as orders
from diffjax.conditions import fill_condition
from diffjax.nets.condition_encoders import Number, Picture, Text
from diffjax.protocols import ConditionPart

NOISE = dj.Gaussian(dj.schedule.cosine, dj.predict.v)
KEYS = dj.keys(0, 2)
SHAPES = {"signal": (12, 2), "picture": (3, 4, 2), "volume": (2, 3, 2, 2)}  # of as many numbers, and positions
LABELS = jnp.array([0, 2])


@pytest.mark.parametrize(
    "order", [orders.raster, orders.shuffled, orders.rolling(0.3), orders.blocks(4, shuffled=True)]
)
def test_ranks_are_those_of_the_positions_in_raster_order(order) -> None:
    flat = orders.ranks(order, KEYS, (12,), 1)
    for shape in SHAPES.values():
        ranks = orders.ranks(order, KEYS, shape[:-1], 1)
        assert ranks.shape == (2, *shape[:-1], 1)
        np.testing.assert_array_equal(ranks.reshape(flat.shape), flat)


def by_itself(x_t, t, cond):
    """A denoiser of each number by itself."""
    return jnp.tanh(x_t) * (1 - t)


@pytest.mark.parametrize("order", [orders.together, orders.rolling(0.3)])
def test_what_knows_no_neighbours_knows_no_rank(order) -> None:
    """Samples, completions and bits of a signal are those of the picture, and of the volume, with its numbers."""
    results = []
    for shape in SHAPES.values():
        known = (jnp.arange(12) < 5).reshape(shape[:-1])
        x = jax.random.normal(jax.random.key(1), (2, *shape))
        seen = dj.edit.inpaint(x, known, batched=True)
        samples = dj.sample(KEYS, NOISE, order, Partial(by_itself), shape, steps=4)
        completions = dj.sample(KEYS, NOISE, order, Partial(by_itself), shape, steps=4, hook=seen)
        np.testing.assert_array_equal(completions[:, known], x[:, known])
        bound = dj.likelihood.bits_per_dim(KEYS, NOISE, order, Partial(by_itself), x, method="bound", draws=4)
        results.append([samples.ravel(), completions.ravel(), bound.bits])
    for others in results[1:]:
        for other, first in zip(others, results[0], strict=True):
            np.testing.assert_allclose(other, first, rtol=1e-5, atol=1e-6)


CASES = {
    "signal": dj.nets.DiT(
        patch=2, width=8, depth=1, heads=2, classes=3, conditions=(Text(width=8, depth=1, shape=(6,)),)
    ),
    "volume": dj.nets.UNet(width=8, multipliers=(1, 1), heads=2, classes=3, conditions=(Number(),)),
    "volume, one level each": dj.nets.DiT(patch=1, width=8, depth=1, heads=2, classes=3),
}
PARTS = {"label": LABELS, "number": 0.5, "text": jnp.arange(6)}


@pytest.mark.parametrize("name", CASES)
def test_a_conditional_net_learns_samples_and_has_bits(name, one_device) -> None:
    """By guidance, in one program for the loss, one for the samples and one for the bits."""
    net = CASES[name]
    shape = SHAPES[name.split(",")[0]]
    order = orders.rolling(0.5) if "each" in name else orders.together
    x0 = jax.random.normal(jax.random.key(1), (2, *shape))
    names = net.null_cond.keys() if isinstance(net.null_cond, dict) else {"label"}
    cond = fill_condition(net.null_cond, 2, {part: PARTS[part] for part in names})
    variables = jax.jit(net.init)(jax.random.key(0), x0, jnp.zeros((2,) + (1,) * len(shape)), cond)
    variables = jax.tree.map(lambda leaf: leaf + 0.05, variables)
    objective = dj.loss.regression(NOISE, order)

    def mean_loss(variables):
        return jnp.mean(objective(KEYS, partial(net.apply, variables), x0, cond))

    slopes = jax.jit(jax.grad(mean_loss))(variables)
    assert all(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(slopes["params"]["Embedding_0"]))
    denoise = dj.denoiser(NOISE, net, variables)
    guided = dj.guidance.cfg(denoise, scale=2.0, null=net.null_cond)
    x = dj.sample(KEYS, NOISE, order, guided, shape, cond=cond, steps=2)
    assert x.shape == (2, *shape)
    method = (
        {"method": "ode", "steps": 1, "probes": 2, "check": 0} if order.width == 1 else {"method": "bound", "draws": 2}
    )
    bits = dj.likelihood.bits_per_dim(KEYS, NOISE, order, denoise, x0, cond, **method).bits
    assert bool(jnp.all(jnp.isfinite(bits)))


@pytest.mark.parametrize(("causal", "shape"), [(False, (6,)), (True, (2, 1, 3))])
def test_tokens_of_any_array(causal, shape, one_device) -> None:
    """With a picture, signal or volume of the same sides as a condition."""
    net = dj.nets.Transformer(
        4, shape, width=8, depth=1, heads=2, causal=causal, conditions=(Picture(shape=(*shape, 1)),)
    )
    noise = dj.Masking(4)
    cond = {"sketch": ConditionPart(jnp.ones((2, *shape, 1)), jnp.ones(2, bool))}
    x0 = jnp.zeros((2, 6), jnp.int32)
    variables = jax.jit(net.init)(jax.random.key(0), x0, jnp.ones((2, 1)), cond)
    denoise = dj.denoiser(noise, net, variables)
    x = dj.sample(KEYS, noise, orders.raster, denoise, (6,), cond=cond, steps=6)
    assert x.shape == (2, 6)
    bits = dj.likelihood.bits_per_dim(KEYS, noise, orders.raster, denoise, x, cond, method="exact").bits
    assert bool(jnp.all(bits > 0))


def test_a_forecast_is_an_inpainted_future() -> None:
    """For a Gaussian process with the exact conditional mean and covariance; ancestral sampling needs more steps."""
    length = 6
    covariance = 0.8 ** np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    denoise = dj.oracles.gaussian(NOISE, np.zeros(length), covariance)
    x = jnp.asarray([1.0, -0.5, 0.8, 0.0, 0.0, 0.0]).reshape(length, 1)
    seen = dj.edit.inpaint(x, jnp.arange(length) < 3)
    count = 4_000
    options = {"method": dj.edit.clamp(), "step": dj.steps.heun(), "steps": 20}
    samples = np.asarray(dj.edit.solve(dj.keys(0, count), NOISE, orders.together, denoise, seen, **options))[..., 0]
    np.testing.assert_array_equal(samples[:, :3], np.broadcast_to(x[:3, 0], (count, 3)))
    future, past = covariance[3:, 3:], covariance[3:, :3] @ np.linalg.inv(covariance[:3, :3])
    mean, cov = past @ np.asarray(x[:3, 0]), future - past @ covariance[:3, 3:]
    error = np.sqrt(np.diag(cov) / count)
    assert np.all(np.abs(samples[:, 3:].mean(axis=0) - mean) < 4.5 * error + 0.01)
    np.testing.assert_allclose(np.cov(samples[:, 3:].T), cov, atol=0.05)
