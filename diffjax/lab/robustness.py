"""Whether a rule stays finite wherever it is used, and what it costs beside the denoiser."""

import functools
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, PyTree

from diffjax import grids, order, predict, schedule
from diffjax.lab.distribution_checks import SMOOTH, GridMaker, Law, exact_denoiser, last_state
from diffjax.noise import Gaussian
from diffjax.predict import Parameterization
from diffjax.protocols import Schedule, Step
from diffjax.sampling.loop import sample, stepwise
from diffjax.utils.closures import as_pytree
from diffjax.utils.prng import keys

SCHEDULES: dict[str, Schedule] = {
    "cosine": schedule.cosine,
    "flow": schedule.flow,
    "linear_beta": schedule.linear_beta,
    "edm": schedule.edm,
    "discrete": schedule.discrete(tuple(np.linspace(1e-4, 0.02, 1000))),
    "zero_terminal": lambda t: schedule.zero_terminal(schedule.linear_beta)(t),  # which looks at the schedule's end
}
"""The schedules under which a rule has to stay finite; `discrete` is DDPM's chain of 1,000 steps."""

STEP_COUNTS = (1, 2, 3, 4, 5, 10, 20, 60)  # steps
EXAMPLES, WIDTH, NUMBERS = 64, 512, 64  # of the net whose calls are timed


def nonfinite_cases(
    step: Step,
    counts: Iterable[int] = STEP_COUNTS,
    *,
    schedules: Mapping[str, Schedule] = SCHEDULES,
    parameterization: Parameterization = predict.v,
    law: Law = SMOOTH,
    grid: GridMaker = grids.uniform,
) -> dict[str, tuple[int, ...]]:
    """For each schedule the numbers of steps from t = 1 to 0 at which x is not finite, in float32; none is right."""
    failures = {}
    with jax.enable_x64(False), jax.debug_nans(False):
        for name, curve in schedules.items():
            noise = Gaussian(curve, parameterization)
            denoise, draw_keys = exact_denoiser(noise, law), keys(0, 8)
            ends = {
                count: last_state(
                    stepwise(draw_keys, noise, order.together, denoise, (1,), grid=grid(noise, count), step=step)
                )
                for count in counts
            }
            failures[name] = tuple(count for count, x in ends.items() if not bool(jnp.all(jnp.isfinite(x))))
    return failures


def overhead(
    step: Step,
    noise: Gaussian,
    denoise: Any = None,
    shape: tuple[int, ...] = (NUMBERS,),
    *,
    cond: PyTree = None,
    batch: int = EXAMPLES,
    steps: int = 50,
    rounds: int = 5,
) -> float:
    """The time of so many steps over that of as many bare calls of the denoiser as they make, 1 where a rule is free.

    Both are one compiled loop, taken in turns; the median of the rounds' ratios. By default 64 examples of 64 numbers
    and three dense layers of 512 units: beside a smaller net a rule weighs more, and a busy machine tells nothing.
    """
    with jax.enable_x64(False), jax.debug_nans(False):
        denoise = as_pytree(_dense() if denoise is None else denoise)
        draw_keys, grid = keys(0, batch), grids.uniform(noise, steps)
        x = jax.vmap(lambda key: noise.prior(key, shape))(draw_keys)
        stops = jnp.repeat(grid[:-1], max(1, step.evaluations))
        turns: list[Callable] = [
            lambda: sample(draw_keys, noise, order.together, denoise, shape, cond=cond, grid=grid, step=step, start=x),
            lambda: _bare_calls(denoise, x, stops, cond),
        ]
        seconds = np.array([[_seconds(turn) for turn in turns] for _ in range(rounds + 1)])[1:]
    return float(np.median(seconds[:, 0] / seconds[:, 1]))


def _seconds(call: Callable) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


@jax.jit
def _bare_calls(denoise: Any, x: Array, stops: Array, cond: Any) -> Array:
    """The denoiser at every stop, each time of its own answer."""

    def body(x: Array, t: Array) -> tuple[Array, None]:
        return denoise(x, jnp.full((len(x),) + (1,) * (x.ndim - 1), t), cond), None

    return jax.lax.scan(body, x, stops)[0]


@functools.cache
def _dense() -> Partial:
    """Three layers with random weights."""

    def denoise(weights: list[Array], x_t: Array, t: Array, cond: None) -> Array:
        first, second, third = weights
        return jnp.tanh(jnp.tanh((x_t + t) @ first) @ second) @ third

    sizes = ((NUMBERS, WIDTH), (WIDTH, WIDTH), (WIDTH, NUMBERS))
    weight_keys = jax.random.split(jax.random.key(0), len(sizes))
    return Partial(denoise, [jax.random.normal(k, s) / s[0] ** 0.5 for k, s in zip(weight_keys, sizes, strict=True)])
