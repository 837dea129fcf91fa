"""The key-value cache draws what the generic sampler draws, from the same keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import guidance, nets, order, steps
from diffjax.denoising import denoiser
from diffjax.errors import UserError
from diffjax.noise import Masking
from diffjax.protocols import Step
from diffjax.sampling import cached
from diffjax.sampling.loop import sample
from diffjax.utils.prng import keys

VOCAB, SHAPE, N = 5, (3, 4), 12
NOISE = Masking(VOCAB)
ORDERS = {"raster": order.raster, "shuffled": order.shuffled}
RULES = {"posterior": steps.posterior()}
SOME = keys(3, 16)
COND = jnp.arange(16) % 3


def denoise_by(causal: bool):
    """A net with random weights, far from where outputs start at 0."""
    net = nets.Transformer(VOCAB, SHAPE, width=16, depth=2, heads=2, classes=3, causal=causal)
    variables = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, N), jnp.int32), jnp.zeros((1, 1)))
    leaves, tree = jax.tree.flatten(variables)
    noises = jax.random.split(jax.random.key(1), len(leaves))
    moved = [leaf + 0.3 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, noises, strict=True)]
    return net, denoiser(NOISE, net, tree.unflatten(moved))


NET, DENOISE = denoise_by(causal=True)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ORDERS)
def test_samples_are_those_of_the_generic_path(name, rule) -> None:
    given = (SOME, NOISE, ORDERS[name], DENOISE, (N,))
    fast = cached.sample(*given, cond=COND, step=RULES[rule])
    np.testing.assert_array_equal(fast, sample(*given, cond=COND, steps=N, step=RULES[rule]))
    assert int(fast.max()) < VOCAB
    assert len(np.unique(fast, axis=0)) > len(SOME) // 2  # and they are not all one


def test_under_guidance_each_half_has_its_own_cache() -> None:
    guided = guidance.cfg(DENOISE, 2.5, NET.null_cond)
    given = (SOME, NOISE, order.shuffled, guided, (N,))
    fast = cached.sample(*given, cond=COND)
    np.testing.assert_array_equal(fast, sample(*given, cond=COND, steps=N))
    assert bool(jnp.any(fast != cached.sample(SOME, NOISE, order.shuffled, DENOISE, (N,), cond=COND)))


def test_a_hook_may_overrule_what_is_drawn() -> None:
    """It is the token of the state that the next step reads, not the one that was drawn."""

    def hook(keys, x, pred, t, s):
        return jnp.where((jnp.arange(N) < 4)[None] & (s == 0), 2, x)

    given = (SOME, NOISE, order.raster, DENOISE, (N,))
    fast = cached.sample(*given, cond=COND, hook=hook)
    np.testing.assert_array_equal(fast, sample(*given, cond=COND, steps=N, hook=hook))
    assert bool(jnp.all(fast[:, :4] == 2))


def test_an_example_depends_on_its_own_key_alone() -> None:
    whole = cached.sample(SOME, NOISE, order.shuffled, DENOISE, (N,), cond=COND)
    part = cached.sample(SOME[5:7], NOISE, order.shuffled, DENOISE, (N,), cond=COND[5:7])
    np.testing.assert_array_equal(part, whole[5:7])


def test_one_by_one_is_when_every_step_reveals_a_position() -> None:
    even = jnp.linspace(1.0, 0.0, N + 1)
    assert cached.is_one_per_step(even, N)
    assert cached.is_one_per_step(even.at[3].add(0.4 / N), N)  # any stop between the same ranks
    assert not cached.is_one_per_step(even[::2], N)
    assert not cached.is_one_per_step(even.at[3].add(0.6 / N), N)


def test_mistakes_are_told() -> None:
    twice = Step(lambda x: None, steps.posterior().update, evaluations=2, per_position=True)
    both_ways = denoise_by(causal=False)[1]
    for changes, told in (
        ({"denoise": both_ways}, "causal=True"),
        ({"order": order.together}, "order.*width"),
        ({"steps": 6}, "12.*grid.*6.*steps=12"),
        ({"step": twice}, "posterior"),
    ):
        given = {"order": order.raster, "denoise": DENOISE, **changes}
        with pytest.raises(UserError, match=told):
            cached.sample(SOME, NOISE, given.pop("order"), given.pop("denoise"), (N,), cond=COND, **given)
