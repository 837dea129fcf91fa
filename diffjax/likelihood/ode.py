"""The log-density of a Gaussian model, by its probability-flow ODE on the circle (`steps.circle`).

With y, phi and the velocity dy/dphi = v(y) defined there, from data at phi = 0 to noise at phi_1 = atan(sigma(1) /
alpha(1)),

    -log p(x0) = -log N(y_1; 0, sin²(phi_1)) - ∫ div v dphi    (Song et al. 2021, eq. 39).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PyTree

from diffjax.denoising import forward_differentiable
from diffjax.loss.protocol import sum_per_example
from diffjax.protocols import Cond, Denoise, GaussianNoise, Keys, Sample
from diffjax.steps import circle
from diffjax.utils.closures import closure_jit
from diffjax.utils.prng import fold

Change = Float[Array, "probes b"]
State = tuple[Sample, Change]  # y, and the integral of the divergence so far
_POWER = 2  # phi = phi_1 w², w even: small steps near the data, where the ODE is stiffest


class Inputs(NamedTuple):
    """A model and the examples whose likelihood is computed."""

    keys: Keys
    denoise: Denoise
    x: Sample
    cond: Cond


@dataclass(frozen=True)
class DensityOde:
    """How the ODE is integrated: `probes` of Hutchinson's estimate (0: the exact divergence), a scan or a host loop."""

    noise: GaussianNoise
    probes: int
    scan: bool


class _Interval(NamedTuple):
    """A step from w to w + length, with clock value and dphi/dw at its start, middle and end, [3]."""

    number: Int[Array, "*n"]  # that its probes are folded from
    length: Float[Array, "*n"]
    t: Float[Array, "*n 3"]
    speed: Float[Array, "*n 3"]


def negative_log_density(ode: DensityOde, inputs: Inputs, steps: int, repeat: int = 1) -> Change:
    """-log p(x) in nats by each probe, [probes, b], or exactly, [1, b], in `steps` Runge-Kutta steps.

    Each `repeat` neighbouring steps have the same probes.
    """
    state = (inputs.x, jnp.zeros((max(ode.probes, 1), len(inputs.x))))
    intervals = _intervals(ode.noise, steps, repeat)
    denoise = forward_differentiable(inputs.denoise)
    step = Partial(_RungeKuttaStep(ode.noise, ode.probes), inputs.keys, denoise, inputs.cond)
    if ode.scan:
        y, change = _scan_steps(step, state, intervals)
    else:
        for k in range(steps):
            state = call_jitted(step, state, jax.tree.map(lambda leaf, k=k: leaf[k], intervals))
        y, change = state
    spread = jnp.sin(circle.angle(ode.noise, jnp.ones(())))
    prior = ((y / spread) ** 2 + jnp.log(2 * jnp.pi)) / 2 + jnp.log(spread)
    return sum_per_example(prior)[None] - change


def _intervals(noise: GaussianNoise, steps: int, repeat: int) -> _Interval:
    w = jnp.linspace(0.0, 1.0, 2 * steps + 1)
    end = circle.angle(noise, jnp.ones(()))
    t = circle.clock(noise, end * w**_POWER).at[0].set(0.0).at[-1].set(1.0)
    speed = end * _POWER * w ** (_POWER - 1)

    def thirds(values: Float[Array, " points"]) -> Float[Array, "steps 3"]:
        return jnp.stack([values[:-1:2], values[1::2], values[2::2]], axis=1)

    return _Interval(jnp.arange(steps) // repeat, jnp.full(steps, 1 / steps), thirds(t), thirds(speed))


@closure_jit
def _scan_steps(step: Callable[..., State], state: State, intervals: _Interval) -> State:
    return jax.lax.scan(lambda state, interval: (step(state, interval), None), state, intervals)[0]


@closure_jit
def call_jitted(function: Callable[..., PyTree], *arguments: PyTree) -> PyTree:
    """`function(*arguments)`, compiled."""
    return function(*arguments)


@dataclass(frozen=True)
class _RungeKuttaStep:
    """One step of the classical Runge-Kutta method of order 4, with the probes of its number."""

    noise: GaussianNoise
    probes: int

    def __call__(self, keys: Keys, denoise: Denoise, cond: Cond, state: State, interval: _Interval) -> State:
        y, change = state
        directions = _directions(fold(keys, interval.number), y, self.probes)

        def velocity(y: Sample, i: int) -> Sample:
            """dy/dw = v dphi/dw."""
            m = self.noise.coefficients(interval.t[i])
            radius = jnp.sqrt(m.alpha**2 + m.sigma**2)
            return interval.speed[i] * circle.velocity(self.noise, denoise, cond, y, interval.t[i], radius)

        def slope(y: Sample, i: int) -> State:
            """dy/dw and its divergence."""
            out, pushforward = jax.linearize(lambda y: velocity(y, i), y)
            divergence = jax.vmap(lambda d: sum_per_example(d * pushforward(d)))(directions)
            return out, divergence if self.probes else jnp.sum(divergence, axis=0, keepdims=True)

        h = interval.length
        v1, d1 = slope(y, 0)
        v2, d2 = slope(y + h / 2 * v1, 1)
        v3, d3 = slope(y + h / 2 * v2, 1)
        v4, d4 = slope(y + h * v3, 2)
        return y + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4), change + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)


def _directions(keys: Keys, y: Sample, probes: int) -> Float[Array, "directions b *shape"]:
    """Random signs for each example, or with no probes, one direction for each dimension."""
    if probes:
        signs = jax.vmap(lambda key: jax.random.rademacher(key, (probes, *y.shape[1:]), y.dtype))(keys)
        return jnp.swapaxes(signs, 0, 1)
    size = y[0].size
    units = jnp.eye(size, dtype=y.dtype).reshape(size, 1, *y.shape[1:])
    return jnp.broadcast_to(units, (size, *y.shape))
