"""Errors of a Gaussian model at each noise level and in each step of a sampler.

All results are per example, `[levels, b]` or `[steps, b]`, so that a mean over the batch comes with its standard error.
Levels are clock values in [0, 1], visited one after the other on the host: the network is compiled once. Each docstring
states the value for an exact denoiser.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import checked_denoiser
from diffjax.errors import UserError
from diffjax.loss.protocol import mean_per_example
from diffjax.noise import Gaussian
from diffjax.order import Order
from diffjax.protocols import Cond, Denoise, Keys, Level, Noise, Sample, Step
from diffjax.sampling.loop import stepwise
from diffjax.steps import heun
from diffjax.utils.closures import closure_jit
from diffjax.utils.prng import KeyUse, fold
from diffjax.utils.values import describe_value

__all__ = [
    "Examples",
    "MartingaleGap",
    "SamplerRun",
    "denoising_error",
    "local_error",
    "log_snr_grid",
    "martingale_gap",
    "predictions",
    "require_gaussian",
]

Levels = Float[Array, " k"]  # clock values, strictly falling
LevelErrors = Float[Array, "k b"]
Clock = Float[Array, ""]


class Examples(NamedTuple):
    """Examples of the data, with a key and a condition for each."""

    keys: Keys
    x: Sample
    cond: Cond

    def select(self, rows: slice) -> "Examples":
        """The examples in these rows."""
        return jax.tree.map(lambda leaf: leaf[rows], self)


@dataclass(frozen=True)
class SamplerRun:
    """The arguments of `dj.stepwise`. `shape` is that of one example, `grid` strictly falling clock values."""

    keys: Keys
    noise: Noise
    order: Order
    denoise: Denoise
    shape: tuple[int, ...]
    grid: Levels
    cond: Cond = None
    step: Step | None = None
    start: Sample | None = None

    def states(self) -> Iterator[Sample]:
        """x at each grid point."""
        options = {"cond": self.cond, "grid": self.grid, "step": self.step, "start": self.start}
        return stepwise(self.keys, self.noise, self.order, self.denoise, self.shape, **options)


def log_snr_grid(noise: Noise, count: int, low: float = -8.0, high: float = 8.0) -> Levels:
    """`count` clock values at even steps of log-SNR, from `low` or the schedule's lowest, if higher, to `high`.

    The noisiest level is first. Raises UserError for fewer than 2 levels, or low >= high.
    """
    if count < 2 or not low < high:
        raise UserError(f"log_snr_grid: expected at least 2 levels and low < high, got {count}, {low} and {high}")
    return noise.time(jnp.linspace(max(low, float(noise.log_snr(jnp.ones(())))), high, count))


@validate_arguments
def denoising_error(keys: Keys, noise: Noise, denoise: Denoise, x0: Sample, cond: Cond, t: Levels) -> LevelErrors:
    """|x0 - D(x_t, t)|² at each level, the mean over the values of an example; eps is the same at every level.

    Its mean for an exact denoiser is the posterior variance of x0 given x_t, the minimum over all denoisers, and twice
    the derivative of the mutual information of x0 and x_t by the SNR (Guo et al. 2005, eq. 7). Raises UserError for
    tokens.
    """
    _check(noise, t, 1)
    denoise = checked_denoiser(noise, denoise)
    return jnp.stack([_squared_error(keys, denoise, x0, cond, level, noise=noise) for level in t])


class MartingaleGap(NamedTuple):
    """Mean squares per value at k - 1 pairs of neighbouring levels: |D(x_s) - D(x_t)|², and its excess."""

    change: LevelErrors
    excess: LevelErrors


@validate_arguments
def martingale_gap(keys: Keys, noise: Noise, denoise: Denoise, x0: Sample, cond: Cond, t: Levels) -> MartingaleGap:
    """The change of D from each level t to the next, s, along a draw of the forward process, from x_1 to x_0.

    An exact denoiser is a martingale, E[D(x_s) | x_t] = D(x_t) (Daras et al. 2023, definition 3.1). So the mean of the
    change is the decrease of the denoising error, and the mean of the excess,

        |D(x_s) - D(x_t)|² - |x0 - D(x_t)|² + |x0 - D(x_s)|²,

    is 0. A positive excess is change of the prediction without a decrease of its error. Raises UserError for tokens.
    """
    _check(noise, t, 2)
    denoise = checked_denoiser(noise, denoise)
    x_t = _corrupt(keys, x0, t[0], noise=noise)
    before = _denoise(denoise, x_t, _broadcast_level(t[0], x0), cond)
    rows = []
    for k in range(len(t) - 1):
        x_t = _chain_step(fold(keys, KeyUse.CHAIN), x_t, x0, t[k], t[k + 1], jnp.asarray(k), noise=noise)
        after = _denoise(denoise, x_t, _broadcast_level(t[k + 1], x0), cond)
        excess = 2 * mean_per_example((after - x0) * (after - before))
        rows.append(MartingaleGap(mean_per_example((after - before) ** 2), excess))
        before = after
    return jax.tree.map(lambda *values: jnp.stack(values), *rows)


def predictions(run: SamplerRun) -> Float[Array, "steps b ..."]:
    """D(x_t, t) at the start of each step of a sampler.

    Its mean, variance and range should approach those of the data; where they depart from them, the sampler has left
    the inputs that the network was trained on. Raises UserError as `dj.stepwise` does.
    """
    denoise = checked_denoiser(run.noise, run.denoise)
    states = zip(run.grid[:-1], run.states(), strict=False)
    return jnp.stack([_denoise(denoise, x, _broadcast_level(t, x), run.cond) for t, x in states])


def local_error(run: SamplerRun, substeps: int = 16) -> Float[Array, "steps b"]:
    """The local error of each step of a sampler: root mean square over the values of x.

    The reference is `substeps` steps of Heun's method from the sampler's own state at the start of the step, so errors
    of earlier steps do not count. Raises UserError for a stochastic rule, whose result is not unique.
    """
    if run.step is None or run.step.stochastic:
        raise UserError("local_error: expected a deterministic step rule, such as ddim(), heun() or dpmpp_2m()")
    states = list(run.states())
    errors = []
    for k in range(len(run.grid) - 1):
        fine_grid = jnp.linspace(run.grid[k], run.grid[k + 1], substeps + 1)
        *_, reference = replace(run, grid=fine_grid, step=heun(), start=states[k]).states()
        errors.append(jnp.sqrt(mean_per_example((states[k + 1] - reference) ** 2)))
    return jnp.stack(errors)


@closure_jit(static_argnames="noise")
def _squared_error(
    keys: Keys, denoise: Denoise, x0: Sample, cond: Cond, t: Clock, *, noise: Noise
) -> Float[Array, " b"]:
    x_t = _corrupt(keys, x0, t, noise=noise)
    return mean_per_example((x0 - denoise(x_t, _broadcast_level(t, x0), cond)) ** 2)


@closure_jit(static_argnames="noise")
def _corrupt(keys: Keys, x0: Sample, t: Clock, *, noise: Noise) -> Sample:
    return jax.vmap(lambda key, x: noise.corrupt(key, x, jnp.broadcast_to(t, (1,) * x.ndim))[0])(
        fold(keys, KeyUse.FORWARD), x0
    )


@closure_jit(static_argnames="noise")
def _chain_step(keys: Keys, x_t: Sample, x0: Sample, t: Clock, s: Clock, k: Int[Array, ""], *, noise: Noise) -> Sample:
    """A draw of x_s given x_t and x0; k numbers the steps."""
    return jax.vmap(noise.posterior, (0, 0, 0, None, None))(fold(keys, k), x_t, x0, t, s)


@closure_jit
def _denoise(denoise: Denoise, x_t: Sample, t: Level, cond: Cond) -> Sample:
    return denoise(x_t, t, cond)


def _broadcast_level(t: Clock, x: Sample) -> Level:
    """One level for all positions, `[b, 1, …]`."""
    return jnp.broadcast_to(t, (len(x),) + (1,) * (x.ndim - 1))


def require_gaussian(noise: Noise) -> Gaussian:
    """The noise. Raises UserError for tokens."""
    if not isinstance(noise, Gaussian):
        raise UserError(
            f"diagnostics: expected Gaussian noise, got {type(noise).__name__}; for tokens use "
            "dj.likelihood.bits_vs_context"
        )
    return noise


def _check(noise: Noise, t: object, min_levels: int) -> None:
    """Raise UserError for tokens, and unless t is `[k]` with k of at least `min_levels`."""
    require_gaussian(noise)
    if not isinstance(t, jax.Array | np.ndarray) or t.ndim != 1:
        raise UserError(f"diagnostics: t must be an array of noise levels, [k], got {describe_value(t)}")
    if len(t) < min_levels:
        raise UserError(f"diagnostics: t must have at least {min_levels} levels, got {len(t)}")
