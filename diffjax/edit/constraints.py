"""How what was seen enters sampling: clamped in what the denoiser is given, or put into x after each step.

Functions here are made once for each noise and hold what was seen as an argument, so other values compile nothing.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import Partial
from jaxtyping import Array

from diffjax.denoising import is_causal
from diffjax.errors import UserError
from diffjax.order import ranks
from diffjax.utils.closures import as_pytree
from diffjax.utils.prng import fold

_KEY_COUNT = 32  # of which an order's ranks are looked at


def clamp_denoiser(noise: Any, observation: Any, denoise: Any) -> Partial:
    """The denoiser, given at seen positions what was seen, and its level, in place of x_t and t."""
    if observation.of_tokens:
        return Partial(_clamp_tokens, observation, as_pytree(denoise))
    return Partial(_clamp_numbers(noise), observation, _value_levels(noise, observation), as_pytree(denoise))


def pin_hook(noise: Any, observation: Any) -> Partial:
    """The hook that makes what is known exactly so: tokens always, numbers where the level is 0."""
    return Partial(_pin_tokens if observation.of_tokens else _pin, observation)


def release_hook(noise: Any, observation: Any) -> Partial:
    """The hook of `clamp_denoiser`: seen positions go on from their own level when the clock falls below it."""
    if observation.of_tokens or not observation.noisy:
        return pin_hook(noise, observation)
    return Partial(_release(noise), observation, _value_levels(noise, observation))


def renoise_hook(noise: Any, observation: Any) -> Partial:
    """The hook that replaces what is known exactly by alpha_s values + sigma_s eps, and at s = 0 by the values."""
    return Partial(_renoise(noise), observation)


def check_order(observation: Any, order: Any, denoise: Any, shape: tuple[int, ...]) -> None:
    """Raise UserError where a causal net would draw something hidden before it has seen all that is known."""
    if not is_causal(denoise):
        return
    known = jnp.broadcast_to(
        observation.batched_values()[1] == 0, (len(observation.values) if observation.batched else 1, *shape[1:])
    )
    rank = ranks(order, jax.vmap(jax.random.key)(jnp.arange(_KEY_COUNT)), shape[1:], 0)[:, None]
    early = jnp.max(jnp.where(known, rank, 0), axis=2) < jnp.min(jnp.where(known, 2, rank), axis=2)
    if order.exchangeable or not (isinstance(early, Tracer) or np.all(early)):
        raise UserError(
            "clamp: a causal net sees of what is known only what comes before in its order, and here something hidden "
            "comes first; use edit.known_first(order, seen) where the net was trained on any order, or a net with "
            "causal=False"
        )


def _value_levels(noise: Any, observation: Any) -> Array:
    """The level at which alpha values is x_t: log-SNR = -2 log std. 0 where known exactly, or not seen."""
    std = observation.std
    noisy = (std > 0) & jnp.isfinite(std)
    return jnp.where(noisy, noise.time(-2 * jnp.log(jnp.where(noisy, std, 1))), 0)


@functools.cache
def _clamp_numbers(noise: Any) -> Callable:
    def denoise(observation: Any, value_levels: Array, inner: Any, x_t: Array, t: Array, cond: Any) -> Array:
        values, std = observation.batched_values()
        value_levels = value_levels if observation.batched else value_levels[None]
        is_clamped = jnp.isfinite(std) & (t >= value_levels)
        t = jnp.where(is_clamped, value_levels, t)
        x_t = jnp.where(is_clamped, noise.coefficients(value_levels).alpha * values, x_t)
        return jnp.where(std == 0, values, inner(x_t, jnp.broadcast_to(t, (len(x_t), *t.shape[1:])), cond))

    return denoise


def _clamp_tokens(observation: Any, inner: Any, x_t: Array, t: Array, cond: Any) -> Array:
    values, std = observation.batched_values()
    level = jnp.where(std == 0, 0, t) if t.shape == x_t.shape else t
    return inner(jnp.where(std == 0, values.astype(x_t.dtype), x_t), level, cond)


def _pin(observation: Any, keys: Any, x: Array, pred: Any, t: Array, s: Array) -> Array:
    values, std = observation.batched_values()
    return observation.replace_coordinates(x, values, (std == 0) & (s == 0))


def _pin_tokens(observation: Any, keys: Any, x: Array, pred: Any, t: Array, s: Array) -> Array:
    values, std = observation.batched_values()
    return jnp.where(std == 0, values.astype(x.dtype), x)


@functools.cache
def _release(noise: Any) -> Callable:
    def hook(observation: Any, value_levels: Array, keys: Any, x: Array, pred: Array, t: Array, s: Array) -> Array:
        values, std = observation.batched_values()
        value_levels = jnp.broadcast_to(value_levels if observation.batched else value_levels[None], x.shape)
        due = (std > 0) & jnp.isfinite(std) & (t >= value_levels) & (s < value_levels)
        from_value_levels = jax.vmap(noise.posterior)(
            keys,
            noise.coefficients(value_levels).alpha * values,
            pred,
            value_levels,
            jnp.where(due, jnp.broadcast_to(s, x.shape), value_levels),
        )
        return _pin(observation, keys, jnp.where(due, from_value_levels, x), pred, t, s)

    return hook


@functools.cache
def _renoise(noise: Any) -> Callable:
    def hook(observation: Any, keys: Any, x: Array, pred: Any, t: Array, s: Array) -> Array:
        values, std = observation.batched_values()
        m, eps = noise.coefficients(s), normal(keys, x)
        return observation.replace_coordinates(x, jnp.where(s == 0, values, m.alpha * values + m.sigma * eps), std == 0)

    return hook


def normal(keys: Any, x: Array) -> Array:
    """Standard normal numbers in the shape of x, each example's from its key."""
    return jax.vmap(lambda key: jax.random.normal(key, x.shape[1:], x.dtype))(fold(keys, 0))
