"""The calls that a denoiser makes of its nets: their arguments, and the prediction from given answers.

Under guidance a denoiser calls one net with copies of the examples under several conditions, or several nets. A sampler
with a cache or a context for each call needs these arguments, and computes the answers itself.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from diffjax.denoising import NetDenoiser, map_nets
from diffjax.errors import UserError
from diffjax.protocols import Cond, Denoise, Level, Noise, Prediction, Sample, TokenNoise

Predict = Callable[[Array, Array, Cond], Array | Prediction]


class NetCall(NamedTuple):
    """A net and the arguments of one call; `x_t` holds all copies of an example side by side."""

    part: NetDenoiser
    x_t: Sample
    t: Level
    cond: Cond


def net_calls(denoise: Denoise, x_t: Sample, t: Level, cond: Cond, *, logits: bool = False) -> list[NetCall]:
    """The calls that the denoiser makes of its nets at x_t, whose predictions are logits or have the shape of x_t.

    They are answered by zeros, so no call may depend on the answer to another.
    """
    calls: list[NetCall] = []

    def record(part: NetDenoiser) -> Predict:
        def call(x_t: Array, t: Array, cond: Cond) -> Array:
            calls.append(NetCall(part, x_t, t, cond))
            return jnp.zeros((*x_t.shape, token_vocab(part.noise))) if logits else jnp.zeros_like(x_t)

        return call

    map_nets(denoise, record)(x_t, t, cond)
    return calls


def token_vocab(noise: Noise) -> int:
    """The number of tokens of a noise. Raises UserError for a noise of real numbers."""
    if not isinstance(noise, TokenNoise):
        raise UserError(f"noise: expected a noise of tokens, such as dj.Masking(vocab), got {type(noise).__name__}")
    return noise.vocab


def answer_calls(denoise: Denoise, answers: Sequence[Predict]) -> Denoise:
    """The denoiser whose k-th call of a net is `answers[k]`."""

    def denoised(x_t: Array, t: Array, cond: Cond) -> PyTree:
        remaining = iter(answers)
        return map_nets(denoise, lambda _: lambda *arguments: next(remaining)(*arguments))(x_t, t, cond)

    return denoised
