"""How far a rule ends from the exact solution of the probability-flow ODE, and how fast that falls with its steps."""

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
    Law,
    compare_distribution,
    exact_denoiser,
    last_state,
)
from diffjax.noise import Gaussian
from diffjax.protocols import Step
from diffjax.sampling.loop import stepwise
from diffjax.utils.prng import keys

COUNTS = (100, 200, 400)  # steps
INTERVAL = (0.8, 0.2)  # clock values: from where the noise still knows the data, so that a start matters
BUDGETS = (5, 10, 20, 50)  # evaluations
POINTS = 1024  # quantiles: of points, the few that end in the wrong mode weigh most
ROUNDING = 1e-12  # errors below say nothing of an order


def slope(
    step: Step,
    noise: Gaussian,
    law: Law = SMOOTH,
    *,
    counts: Sequence[int] = COUNTS,
    interval: tuple[float, float] = INTERVAL,
) -> float:
    """The measured order: how the logarithm of the error falls with that of the steps, on even clock values, float64.

    A straight line through the errors at all counts, but for those that rounding spoils; nan where no two are left.
    """
    with jax.enable_x64(True):
        errors = [distance(step, noise, law, jnp.linspace(*interval, count + 1)) for count in counts]
    valid = [(count, e) for count, e in zip(counts, errors, strict=True) if isfinite(e) and e > ROUNDING]
    if len(valid) < 2:
        return float("nan")
    log_counts, log_errors = np.log(valid).T
    return -float(np.polyfit(log_counts, log_errors, 1)[0])


def distance(step: Step, noise: Gaussian, law: Law, grid: Float[Array, " _"], points: int = POINTS) -> float:
    """Root mean square, over even quantiles, of the rule's x at grid[-1] less the quantile map's; in float64.

    The rule starts from the exact quantiles at grid[0], whatever the prior is there.
    """
    with jax.enable_x64(True), jax.debug_nans(False):
        quantile = oracles.quantile(noise, *(np.array(values) for values in law))
        p = ((jnp.arange(points) + 0.5) / points)[:, None]
        grid = jnp.asarray(np.asarray(grid, np.float64))
        start, exact = (quantile(p, jnp.broadcast_to(t, p.shape)) for t in (grid[0], grid[-1]))
        at, denoise = {"grid": grid, "step": step, "start": start}, exact_denoiser(noise, law)
        x = last_state(stepwise(keys(0, points), noise, order.together, denoise, (1,), **at))
        return float(jnp.sqrt(jnp.mean((x - exact) ** 2)))


def error_by_nfe(
    step: Step,
    noise: Gaussian,
    law: Law = HARD,
    *,
    budgets: Sequence[int] = BUDGETS,
    grid: GridMaker = grids.uniform,
    draws: int = 20_000,
) -> dict[int, float]:
    """The error from t = 1 to 0 where the denoiser may be called so often, in deviations of the law.

    Of a deterministic rule that is `distance`; of a stochastic one, whose draws have no exact ends, the distance of
    so many sorted draws to the exact quantiles (`compare_distribution`), which chance alone does not let fall to 0.
    A rule of two
    evaluations a step takes half as many steps, and at least one.
    """
    errors = {}
    for budget in budgets:
        steps = max(1, budget // max(1, step.evaluations))
        if step.stochastic:
            errors[budget] = compare_distribution(step, noise, law, steps=steps, draws=draws, grid=grid).wasserstein
        else:
            with jax.enable_x64(True):
                errors[budget] = distance(step, noise, law, grid(noise, steps)) / law.moments()[1]
    return errors
