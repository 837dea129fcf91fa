"""Tests that a step rule stays finite, and its computing time relative to that of the denoiser."""

import functools
import time
from collections.abc import Callable, Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from diffjax import grids, order, predict, schedule
from diffjax.lab.distribution_checks import SMOOTH, GridMaker, Mixture1D, exact_denoiser, last_state
from diffjax.noise import Gaussian
from diffjax.predict import Parameterization
from diffjax.protocols import Cond, Denoise, Level, Sample, Schedule, Step
from diffjax.sampling.loop import sample, stepwise
from diffjax.utils.closures import as_pytree
from diffjax.utils.prng import keys

SCHEDULES: dict[str, Schedule] = {
    "cosine": schedule.cosine,
    "flow": schedule.flow,
    "linear_beta": schedule.linear_beta,
    "edm": schedule.edm,
    "discrete": schedule.discrete(tuple(np.linspace(1e-4, 0.02, 1000))),  # DDPM's chain
    "zero_terminal": lambda t: schedule.zero_terminal(schedule.linear_beta)(t),  # made late, as it starts a backend
}
"""The schedules under which a rule is checked."""

STEP_COUNTS = (1, 2, 3, 4, 5, 10, 20, 60)
BATCH = 64  # of the net whose calls are timed
WIDTH = 512
NUMBERS = 64  # per example


def nonfinite_cases(
    step: Step,
    counts: Iterable[int] = STEP_COUNTS,
    *,
    schedules: Mapping[str, Schedule] = SCHEDULES,
    parameterization: Parameterization = predict.v,
    distribution: Mixture1D = SMOOTH,
    grid: GridMaker = grids.uniform,
) -> dict[str, tuple[int, ...]]:
    """For each schedule the numbers of steps from t = 1 to 0 after which x is not finite, in float32."""
    failures = {}
    with jax.enable_x64(False), jax.debug_nans(False):
        for name, curve in schedules.items():
            noise = Gaussian(curve, parameterization)
            arguments = (keys(0, 8), noise, order.together, exact_denoiser(noise, distribution), (1,))
            ends = {count: last_state(stepwise(*arguments, grid=grid(noise, count), step=step)) for count in counts}
            failures[name] = tuple(count for count, x in ends.items() if not bool(jnp.all(jnp.isfinite(x))))
    return failures


def overhead(
    step: Step,
    noise: Gaussian,
    denoise: Denoise | None = None,
    shape: tuple[int, ...] = (NUMBERS,),
    *,
    batch: int = BATCH,
    steps: int = 50,
    rounds: int = 5,
) -> float:
    """The time of sampling over that of its denoiser calls alone; 1 for a rule without cost.

    Both are one compiled loop, run in turns; the median of the ratios. By default the denoiser has three dense layers
    of 512 units, for 64 examples of 64 numbers; beside a smaller net the rule weighs more.
    """
    with jax.enable_x64(False), jax.debug_nans(False):
        timed_denoise: Denoise = as_pytree(_dense() if denoise is None else denoise)
        draw_keys = keys(0, batch)
        grid = grids.uniform(noise, steps)
        x = jax.vmap(lambda key: noise.prior(key, shape))(draw_keys)
        times = jnp.repeat(grid[:-1], max(1, step.evaluations))
        options = {"grid": grid, "step": step, "start": x}
        calls: tuple[Callable[[], Sample], ...] = (
            lambda: sample(draw_keys, noise, order.together, timed_denoise, shape, **options),
            lambda: _bare_calls(timed_denoise, x, times),
        )
        seconds = np.array([[_seconds(call) for call in calls] for _ in range(rounds + 1)])[1:]  # the first compiles
    return float(np.median(seconds[:, 0] / seconds[:, 1]))


def _seconds(call: Callable[[], Sample]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


@jax.jit
def _bare_calls(denoise: Denoise, x: Sample, times: Float[Array, " n"]) -> Sample:
    """The denoiser at every time, each time of its last prediction."""

    def body(x: Sample, t: Float[Array, ""]) -> tuple[Sample, None]:
        return denoise(x, jnp.full((len(x),) + (1,) * (x.ndim - 1), t), None), None

    return jax.lax.scan(body, x, times)[0]


@functools.cache
def _dense() -> Partial:
    """Three dense layers with random weights."""

    def denoise(weights: list[Array], x_t: Sample, t: Level, cond: Cond) -> Sample:
        first, second, third = weights
        return jnp.tanh(jnp.tanh((x_t + t) @ first) @ second) @ third

    sizes = ((NUMBERS, WIDTH), (WIDTH, WIDTH), (WIDTH, NUMBERS))
    weight_keys = jax.random.split(jax.random.key(0), len(sizes))
    return Partial(denoise, [jax.random.normal(k, s) / s[0] ** 0.5 for k, s in zip(weight_keys, sizes, strict=True)])
