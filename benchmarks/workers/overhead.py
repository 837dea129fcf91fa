"""What a sampler costs beside its net: `dj.sample` by every rule of `dj.steps`, and as many bare calls of the net.

Bare calls are those of the jitted denoiser, each on what the last one gave, sent without waiting for it; and the same
in one compiled loop, which has nothing to send. A case is a net and a rule, at batch 1.
"""

from collections.abc import Callable
from functools import cache, partial

import jax
import jax.numpy as jnp
from jaxtyping import Array
from protocol import Case, in_turns, serve

import diffjax as dj
from diffjax.denoising import NetDenoiser

STEPS = 50
GAUSSIAN = dj.Gaussian(dj.schedule.cosine, dj.predict.v)
TOKENS = dj.Masking(17)
MODELS = {  # by the noise and the size: the net, and the shape of an example
    (GAUSSIAN, "normal"): (dj.nets.DiT(patch=1, width=128, depth=4), (8, 8, 1)),
    (GAUSSIAN, "tiny"): (dj.nets.MLP(width=64, depth=2), (2,)),
    (TOKENS, "normal"): (dj.nets.Transformer(17, (8, 8), width=128, depth=4), (64,)),
    (TOKENS, "tiny"): (dj.nets.Transformer(17, (4,), width=16, depth=1), (4,)),
}


@cache
def prepared(noise: dj.Noise, size: str) -> tuple[Array, NetDenoiser]:
    """A state of noise, and the denoiser."""
    net, shape = MODELS[noise, size]
    x = jax.vmap(lambda key: noise.prior(key, shape))(dj.keys(0, 1))
    variables = jax.jit(net.init)(jax.random.key(0), x, jnp.zeros((1,) * x.ndim))
    return x, dj.denoiser(noise, net, variables)


@jax.jit
def call_net(denoise: NetDenoiser, x: Array, t: Array) -> Array:
    """The prediction at x, or of logits some numbers in the shape of x."""
    out = denoise(x, t, None)
    return out if out.shape == x.shape else out[..., 0].astype(x.dtype)


@partial(jax.jit, static_argnames="calls")
def call_in_loop(denoise: NetDenoiser, x: Array, calls: int) -> Array:
    """As many calls, one program."""
    times = jnp.linspace(1.0, 0.0, calls + 1)[:-1].reshape((-1,) + (1,) * x.ndim)
    return jax.lax.scan(lambda x, t: (call_net(denoise, x, t), None), x, times)[0]


def over_calls(draw: Callable, noise: dj.Noise, x: Array, denoise: NetDenoiser, step: dj.Step) -> Case:
    """The sampler, bare calls, and those in a compiled loop."""
    calls = STEPS * step.evaluations
    times = [jnp.full((len(x),) + (1,) * (x.ndim - 1), 1 - i / calls) for i in range(calls)]
    given = (dj.keys(0, len(x)), noise, dj.order.together, denoise, x.shape[1:])

    def bare() -> None:
        state = x
        for t in times:
            state = call_net(denoise, state, t)
        jax.block_until_ready(state)

    def sampler() -> None:
        jax.block_until_ready(draw(*given, steps=STEPS, step=step))

    return Case(in_turns(sampler, bare, lambda: jax.block_until_ready(call_in_loop(denoise, x, calls))))


def by_rule(noise: dj.Noise, size: str, step: dj.Step) -> Case:
    """`dj.sample` over calls."""
    return over_calls(dj.sample, noise, *prepared(noise, size), step)


RULES = {rule: getattr(dj.steps, rule)() for rule in dj.steps.__all__}
CASES = {
    f"{size}: {rule}{' of tokens' if noise is TOKENS else ''}": partial(by_rule, noise, size, step)
    for noise, size in MODELS
    for rule, step in RULES.items()
    if isinstance(noise, step.needs)
}

if __name__ == "__main__":
    serve(CASES)
