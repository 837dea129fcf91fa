"""What a Gaussian model does at each noise level: how much it misses, whether its answers agree, where sampling errs.

Every function keeps the examples apart, `[levels, b]`, so that means come with their errors, and takes the levels one
after the other on the host: the net is compiled once, whatever they are. What an exact denoiser gives is in each
docstring; tests hold them to it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, Shaped

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import checked_denoiser
from diffjax.diagnostics.linear_denoiser import Linear, best_linear
from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.order import Order
from diffjax.protocols import Denoise, Keys, Noise, Sample, Step
from diffjax.sampling.loop import stepwise
from diffjax.steps import heun
from diffjax.utils.closures import closure_jit
from diffjax.utils.kinds import describe_value
from diffjax.utils.prng import KeyUse, fold

__all__ = ["denoising_error", "linear_error", "local_error", "log_snr_grid", "martingale_gap", "predictions"]

Levels = Float[Array, " k"]  # clock values, strictly falling
LevelErrors = Float[Array, "k b"]


def log_snr_grid(noise: Noise, count: int, low: float = -8.0, high: float = 8.0) -> Levels:
    """Clock values evenly in the log-SNR from `low` (noisiest first), or what the schedule ends at, to `high`."""
    if count < 2 or not low < high:
        raise UserError(f"log_snr_grid: expected at least 2 levels and low < high, got {count}, {low} and {high}")
    return noise.time(jnp.linspace(max(low, float(noise.log_snr(jnp.ones(())))), high, count))


@validate_arguments
def denoising_error(keys: Keys, noise: Noise, denoise: Denoise, x0: Sample, cond: PyTree, t: Levels) -> LevelErrors:
    """|x0 - D(x_t, t)|², the mean over an example's numbers; the same eps at every level.

    Of an exact denoiser this is the posterior variance of x0, the least that any can have (and by Guo et al. 2005,
    eq. 7, twice the slope of the information in x_t against the SNR). Raises UserError for tokens.
    """
    _check(noise, t, 1)
    denoise = checked_denoiser(noise, denoise)
    return jnp.stack([_errors(keys, denoise, x0, cond, at, noise=noise) for at in t])


def linear_error(noise: Gaussian, x: Sample | Shaped[np.ndarray, "n *shape"], t: Levels) -> Linear:
    """The error of the best linear denoiser of data with the mean and covariance of x, `[n, *shape]`, per number.

    What a model must be below, where it has learnt anything but that; see `linear_denoiser.best_linear`.
    """
    _check(noise, t, 1)
    m = noise.coefficients(t)
    return best_linear(np.asarray(x).reshape(len(x), -1), np.asarray(m.alpha), np.asarray(m.sigma))


class MartingaleGap(NamedTuple):
    """How answers at neighbouring levels agree, `[k - 1, b]`, per number: |D(x_s) - D(x_t)|², and the excess of it."""

    change: LevelErrors
    excess: LevelErrors


@validate_arguments
def martingale_gap(keys: Keys, noise: Noise, denoise: Denoise, x0: Sample, cond: PyTree, t: Levels) -> MartingaleGap:
    """How D changes from each level t to the next, s, along the true chain x_1 → x_0 of an example.

    An exact denoiser is a martingale there, E[D(x_s) | x_t] = D(x_t), so that the mean change is what the error falls
    by, and the excess, |D(x_s) - D(x_t)|² - |x0 - D(x_t)|² + |x0 - D(x_s)|², is 0 in the mean (Daras et al. 2023,
    definition 3.1). Where it is positive, answers move by more than they get better. Raises UserError for tokens.
    """
    _check(noise, t, 2)
    denoise = checked_denoiser(noise, denoise)
    x_t = _corrupt(keys, x0, t[0], noise=noise)
    before = _denoise(denoise, x_t, _broadcast_level(t[0], x0), cond)
    rows = []
    for k in range(len(t) - 1):
        x_t = _chain_step(fold(keys, KeyUse.CHAIN), x_t, x0, t[k], t[k + 1], jnp.asarray(k), noise=noise)
        after = _denoise(denoise, x_t, _broadcast_level(t[k + 1], x0), cond)
        rows.append((_mean((after - before) ** 2), 2 * _mean((after - x0) * (after - before))))
        before = after
    change, excess = zip(*rows, strict=True)
    return MartingaleGap(jnp.stack(change), jnp.stack(excess))


@validate_arguments
def predictions(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    shape: tuple[int, ...],
    grid: Levels,
    *,
    cond: PyTree = None,
    step: Step | None = None,
) -> Float[Array, "steps b ..."]:
    """D(x_t, t) at all but the last stop of a sampler's way from noise to data: what it believes to be drawing.

    Where levels of its numbers (mean, spread, share outside of the data's range) drift away from the data's on the way,
    that is where the sampler leaves what the net was trained on.
    """
    denoise = checked_denoiser(noise, denoise)
    states = stepwise(keys, noise, order, denoise, shape, cond=cond, grid=grid, step=step)
    stops = zip(grid[:-1], states, strict=False)
    return jnp.stack([_denoise(denoise, x, _broadcast_level(at, x), cond) for at, x in stops])


@validate_arguments
def local_error(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    shape: tuple[int, ...],
    grid: Levels,
    *,
    cond: PyTree = None,
    step: Step | None = None,
    substeps: int = 16,
) -> Float[Array, "steps b"]:
    """Root mean square, per number of x, between each step of a sampler and the same stretch in `substeps` of Heun.

    Both start from the state that the sampler is in, so that the errors of earlier steps do not count. Raises UserError
    for a stochastic rule, which has no one right answer.
    """
    if step is None or step.stochastic:
        raise UserError(
            "diagnose.local_error: expected a deterministic step rule, such as ddim(), heun() or dpmpp_2m()"
        )
    denoise = checked_denoiser(noise, denoise)
    states = list(stepwise(keys, noise, order, denoise, shape, cond=cond, grid=grid, step=step))
    errors = []
    for k in range(len(grid) - 1):
        fine = jnp.linspace(grid[k], grid[k + 1], substeps + 1)
        *_, right = stepwise(keys, noise, order, denoise, shape, cond=cond, grid=fine, step=heun(), start=states[k])
        errors.append(jnp.sqrt(_mean((states[k + 1] - right) ** 2)))
    return jnp.stack(errors)


@closure_jit(static_argnames="noise")
def _errors(keys: Keys, denoise: Any, x0: Any, cond: Any, t: Array, *, noise: Noise) -> Float[Array, " b"]:
    at = _broadcast_level(t, x0)
    return _mean((x0 - denoise(_corrupt(keys, x0, t, noise=noise), at, cond)) ** 2)


@closure_jit(static_argnames="noise")
def _corrupt(keys: Keys, x0: Any, t: Array, *, noise: Noise) -> Any:
    return jax.vmap(lambda key, x: noise.corrupt(key, x, jnp.broadcast_to(t, (1,) * x.ndim))[0])(
        fold(keys, KeyUse.FORWARD), x0
    )


@closure_jit(static_argnames="noise")
def _chain_step(keys: Keys, x_t: Any, x0: Any, t: Array, s: Array, k: Array, *, noise: Noise) -> Any:
    """x_s of the chain that has x_t, given x0."""
    return jax.vmap(noise.posterior, (0, 0, 0, None, None))(fold(keys, k), x_t, x0, t, s)


@closure_jit
def _denoise(denoise: Any, x_t: Any, t: Array, cond: Any) -> Any:
    return denoise(x_t, t, cond)


def _broadcast_level(t: Array, x0: Any) -> Array:
    """The level, for every example, as denoisers are told it."""
    return jnp.broadcast_to(t, (len(x0),) + (1,) * (x0.ndim - 1))


def _mean(values: Array) -> Float[Array, " b"]:
    return jnp.mean(values.reshape(len(values), -1), axis=1)


def _check(noise: Any, t: Levels, min_levels: int) -> None:
    if not isinstance(noise, Gaussian):
        raise UserError("diagnose: expected Gaussian noise; of tokens, `bits.context` says what a hidden one costs")
    if not isinstance(t, jax.Array | np.ndarray) or t.ndim != 1:
        raise UserError(f"diagnose: t must be an array of noise levels, [k], got {describe_value(t)}")
    if len(t) < min_levels:
        raise UserError(f"diagnose: t must have at least {min_levels} levels, got {len(t)}")
