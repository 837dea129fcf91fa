"""The density of a Gaussian model: its probability-flow ODE, and how volumes change along it.

On the circle y = x_t / √(alpha² + sigma²) = cos(phi) x0 + sin(phi) eps, every schedule is one and the same ODE

    dy/dphi = v(y) = cos(phi) E[eps|y] - sin(phi) E[x0|y]

from data at phi = 0 to noise at phi_1 = atan(sigma(1) / alpha(1)); and (Song et al. 2021, eq. 39)

    -log p(x0) = -log N(y_1; 0, sin²(phi_1)) - ∫ div v dphi.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float, PyTree

from diffjax.loss.protocol import sum_per_example
from diffjax.noise import Gaussian
from diffjax.protocols import Keys
from diffjax.utils.closures import closure_jit
from diffjax.utils.prng import fold

Values = Float[Array, "b *shape"]
Change = Float[Array, "probes b"]
State = tuple[Values, Change]
_POWER = 2  # phi = phi_1 w², w even: small steps near the data, where the finest detail is made


class _Stop(NamedTuple):
    """A step from w to w + length, and the clock and dphi/dw at its start, middle and end, [3]."""

    number: Array  # that its probes are folded from
    length: Array
    t: Array
    speed: Array


def negative_log_density(
    keys: Keys,
    noise: Gaussian,
    denoise: Any,
    x: Values,
    cond: PyTree,
    *,
    steps: int,
    probes: int,
    scan: bool,
    repeat: int = 1,
) -> Change:
    """-log p(x) in nats, [probes, b]: by Hutchinson's estimate with that many probes, or with 0, exactly, [1, b].

    Probes are drawn anew for every `repeat` steps.
    """
    state = (x, jnp.zeros((max(probes, 1), len(x))))
    stops, step = _stops(noise, steps, repeat), Partial(_step(noise, probes), keys, denoise, cond)
    if scan:
        y, change = _scan_steps(step, state, stops)
    else:
        for k in range(steps):
            state = _call_step(step, state, jax.tree.map(lambda leaf, k=k: leaf[k], stops))
        y, change = state
    spread = jnp.sin(jnp.pi / 2 * noise.level(jnp.ones(())))
    prior = ((y / spread) ** 2 + jnp.log(2 * jnp.pi)) / 2 + jnp.log(spread)
    return sum_per_example(prior)[None] - change


def _stops(noise: Gaussian, steps: int, repeat: int) -> _Stop:
    w = jnp.linspace(0.0, 1.0, 2 * steps + 1)
    end = jnp.pi / 2 * noise.level(jnp.ones(()))
    phi, speed = end * w**_POWER, end * _POWER * w ** (_POWER - 1)
    tiny = jnp.finfo(phi.dtype).tiny
    t = noise.time(2 * (jnp.log(jnp.maximum(jnp.cos(phi), tiny)) - jnp.log(jnp.maximum(jnp.sin(phi), tiny))))
    t = t.at[0].set(0.0).at[-1].set(1.0)

    def thirds(values: Array) -> Array:
        return jnp.stack([values[:-1:2], values[1::2], values[2::2]], axis=1)

    return _Stop(jnp.arange(steps) // repeat, jnp.full(steps, 1 / steps), thirds(t), thirds(speed))


@closure_jit
def _scan_steps(step: Callable[..., State], state: State, stops: _Stop) -> State:
    return jax.lax.scan(lambda state, stop: (step(state, stop), None), state, stops)[0]


@closure_jit
def _call_step(step: Callable[..., State], state: State, stop: _Stop) -> State:
    return step(state, stop)


@functools.cache
def _step(noise: Gaussian, probes: int) -> Callable[..., State]:
    """One step of the classical Runge-Kutta method, with the probes of its number."""

    def step(keys: Keys, denoise: Any, cond: PyTree, state: State, stop: _Stop) -> State:
        y, change = state
        directions = _directions(fold(keys, stop.number), y, probes)

        def slope(y: Values, i: int) -> State:
            """dy/dw = v dphi/dw and its divergence."""
            out, pushforward = jax.linearize(lambda y: stop.speed[i] * _velocity(noise, denoise, cond, y, stop.t[i]), y)
            divergence = jax.vmap(lambda d: sum_per_example(d * pushforward(d)))(directions)
            return out, divergence if probes else jnp.sum(divergence, axis=0, keepdims=True)

        h = stop.length
        v1, d1 = slope(y, 0)
        v2, d2 = slope(y + h / 2 * v1, 1)
        v3, d3 = slope(y + h / 2 * v2, 1)
        v4, d4 = slope(y + h * v3, 2)
        return y + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4), change + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)

    return step


def _velocity(noise: Gaussian, denoise: Any, cond: PyTree, y: Values, t: Array) -> Values:
    m = noise.coefficients(t)
    length = jnp.sqrt(m.alpha**2 + m.sigma**2)
    level, x_t = jnp.full((len(y),) + (1,) * (y.ndim - 1), t), length * y
    x0 = denoise(x_t, level, cond)
    return (m.alpha * noise.eps(x_t, x0, level) - m.sigma * x0) / length


def _directions(keys: Keys, y: Values, probes: int) -> Float[Array, "directions b *shape"]:
    """Signs at random for each example, or with no probes, one direction for each dimension."""
    if probes:
        signs = jax.vmap(lambda key: jax.random.rademacher(key, (probes, *y.shape[1:]), y.dtype))(keys)
        return jnp.swapaxes(signs, 0, 1)
    size = y[0].size
    units = jnp.eye(size, dtype=y.dtype).reshape(size, 1, *y.shape[1:])
    return jnp.broadcast_to(units, (size, *y.shape))
