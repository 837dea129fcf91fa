"""The error of a step rule against the exact solution of the probability-flow ODE, and its order of accuracy."""

from collections.abc import Sequence
from math import isfinite

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffjax import grids, oracles, order
from diffjax.lab.distribution_checks import (
    HARD,
    SMOOTH,
    GridMaker,
    Mixture1D,
    compare_distribution,
    exact_denoiser,
    last_state,
)
from diffjax.noise import Gaussian
from diffjax.protocols import Step
from diffjax.sampling.loop import stepwise
from diffjax.utils.prng import keys

COUNTS = (100, 200, 400)  # steps
INTERVAL = (0.8, 0.2)  # clock values
BUDGETS = (5, 10, 20, 50)  # NFE
POINTS = 1024  # quantiles: the few points that end in the wrong mode weigh most
ROUNDING = 1e-12  # smaller errors are rounding


def slope(
    step: Step,
    noise: Gaussian,
    distribution: Mixture1D = SMOOTH,
    *,
    counts: Sequence[int] = COUNTS,
    interval: tuple[float, float] = INTERVAL,
) -> float:
    """The measured order of accuracy: the slope of log error over log steps, on even grids across `interval`, float64.

    A least-squares fit to the errors above rounding; nan where fewer than two are left.
    """
    with jax.enable_x64(True):
        errors = [distance(step, noise, distribution, jnp.linspace(*interval, count + 1)) for count in counts]
    valid = [(count, e) for count, e in zip(counts, errors, strict=True) if isfinite(e) and e > ROUNDING]
    if len(valid) < 2:
        return float("nan")
    log_counts, log_errors = np.log(valid).T
    return -float(np.polyfit(log_counts, log_errors, 1)[0])


def distance(
    step: Step, noise: Gaussian, distribution: Mixture1D, grid: Float[Array, " _"], points: int = POINTS
) -> float:
    """The root mean square error of x at grid[-1], in float64, from even exact quantiles at grid[0]."""
    with jax.enable_x64(True), jax.debug_nans(False):
        quantile = oracles.quantile(noise, *distribution.arrays())
        p = ((jnp.arange(points) + 0.5) / points)[:, None]
        grid = jnp.asarray(np.asarray(grid, np.float64))
        start, exact = (quantile(p, jnp.broadcast_to(t, p.shape)) for t in (grid[0], grid[-1]))
        options = {"grid": grid, "step": step, "start": start}
        denoise = exact_denoiser(noise, distribution)
        x = last_state(stepwise(keys(0, points), noise, order.together, denoise, (1,), **options))
        return float(jnp.sqrt(jnp.mean((x - exact) ** 2)))


def error_by_nfe(
    step: Step,
    noise: Gaussian,
    distribution: Mixture1D = HARD,
    *,
    budgets: Sequence[int] = BUDGETS,
    grid: GridMaker = grids.uniform,
    draws: int = 20_000,
) -> dict[int, float]:
    """The error from t = 1 to 0 for each number of function evaluations, in standard deviations of the distribution.

    It is `distance` for a deterministic rule, and `DistributionCheck.wasserstein` of `draws` draws, which chance keeps
    above 0, for a stochastic one. A rule of n evaluations takes NFE/n steps, and at least one.
    """
    errors = {}
    for budget in budgets:
        steps = max(1, budget // max(1, step.evaluations))
        if step.stochastic:
            check = compare_distribution(step, noise, distribution, steps=steps, draws=draws, grid=grid)
            errors[budget] = check.wasserstein
        else:
            with jax.enable_x64(True):
                points = grid(noise, steps)
                errors[budget] = distance(step, noise, distribution, points) / distribution.moments()[1]
    return errors
