"""Samples under guidance against the tilted distribution p(x|c)^w p(x)^(1-w) from which guidance is derived."""

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import Array, Float, Int

from diffjax import grids, order, predict, schedule
from diffjax.errors import UserError
from diffjax.grids import Grid
from diffjax.lab.distribution_checks import GridMaker, Mixture1D, exact_quantiles, last_state
from diffjax.lab.guidance_data import (
    ASIDE,
    TWO_CLASSES,
    Classes,
    TiltedDensity,
    class_denoiser,
    modes,
    null_label,
    patterns,
    tilted_density,
)
from diffjax.noise import Gaussian
from diffjax.protocols import Denoise, Noise, Step
from diffjax.sampling.loop import stepwise
from diffjax.steps import ddim
from diffjax.utils.prng import keys

GuidanceMaker = Callable[[Denoise, float, Int[Array, ""]], Denoise]  # (denoise, scale, null condition) -> denoise
MAX_MOVE = 1e-3  # of an example by guidance at scale 1, which should be rounding


@dataclass(frozen=True)
class GuidanceTask:
    """Examples of one class, by the exact denoiser of `model` classes: by default `classes` themselves.

    More than one of the `dimensions` serve a guidance that computes statistics of whole examples. Raises UserError.
    """

    classes: Classes = TWO_CLASSES
    label: int = 0
    model: Classes | None = None
    dimensions: int = 1
    draws: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        last = len(self.classes.distributions) - 1
        if not 0 <= self.label <= last:
            raise UserError(f"lab.GuidanceTask: label must be one of 0 … {last}, got {self.label}")
        if self.dimensions not in (1, 2) and (self.dimensions < 1 or self.dimensions % 4):
            raise UserError(
                f"lab.GuidanceTask: dimensions must be 1, 2 or a multiple of 4, as the patterns are, got "
                f"{self.dimensions}"
            )


@dataclass(frozen=True)
class GuidanceRow:
    """Measures of the samples at one scale and number of steps; lengths in standard deviations of the class, p(x|c).

    `mean`: bias from the tilted distribution's mean. `deviation`, `class_deviation`: standard deviation over that of
    the tilted distribution and of the class. `modes`: Σ_k min(share of the draws, share of the class) over the modes of
    the class; `modes_tilted`: the same of the tilted distribution. `wasserstein`, `to_class`: mean distance of the
    sorted draws to the quantiles of the tilted distribution and of the class. `aside`: the distance in the direction
    that is independent of the class, in its standard deviation (nan in one dimension); guidance should not change it.
    """

    scale: float
    steps: int
    mean: float
    deviation: float
    class_deviation: float
    modes: float
    modes_tilted: float
    wasserstein: float
    to_class: float
    aside: float
    finite: bool


@dataclass(frozen=True)
class GuidanceReport:
    """A row for each scale and number of steps; `str` is a table.

    `neutral`: at scale 1 every draw is as without guidance.
    """

    rows: tuple[GuidanceRow, ...]
    neutral: bool

    @property
    def problems(self) -> tuple[str, ...]:
        """One sentence for each problem."""
        messages = [f"not finite at scale {row.scale:g} in {row.steps} steps" for row in self.rows if not row.finite]
        return tuple(messages + ([] if self.neutral else ["a scale of 1 is not neutral"]))

    @property
    def passed(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    def __str__(self) -> str:
        lines = ["".join(f"{field.name:>17}" for field in fields(GuidanceRow)[:-1])]
        for row in self.rows:
            scale, steps, *numbers, _ = astuple(row)
            lines.append(f"{scale:17g}{steps:17d}" + "".join(f"{number:17.3f}" for number in numbers))
        return "\n".join([*lines, f"problems: {'; '.join(self.problems) or 'none'}"])


def guidance_report(
    make: GuidanceMaker,
    task: GuidanceTask | None = None,
    *,
    scales: Sequence[float] = (1.0, 1.5, 2.0, 4.0),
    steps: Sequence[int] = (10, 50),
    noise: Noise | None = None,
    step: Step | Callable[[float], Step] | None = None,
    grid: GridMaker = grids.uniform,
) -> GuidanceReport:
    """Sample by `make(denoise, scale, null)` of a class's exact denoiser, and compare with p(x|c)^w p(x)^(1-w).

    `noise` is by default cosine and v; `step` is ddim, and may be a function of the scale (`momentum`). A deterministic
    rule starts from even quantiles, in one dimension without chance. Raises UserError.
    """
    task = task or GuidanceTask()
    noise = _as_gaussian(noise or Gaussian(schedule.cosine, predict.v))
    if not scales or not np.all(np.isfinite(scales)):
        raise UserError(f"lab.guidance_report: expected one finite scale or more, got {tuple(scales)}")
    exact = class_denoiser(noise, task.model or task.classes, task.dimensions)
    null = jnp.asarray(null_label(task.classes), jnp.int32)

    def sample_at(scale: float, count: int) -> Float[np.ndarray, "draws d"]:
        rule = step(scale) if callable(step) else step
        return draw(task, noise, make(exact, scale, null), rule or ddim(), grid(noise, count))

    rows = tuple(_row(task, sample_at(scale, count), scale, count) for count in steps for scale in scales)
    plain_rule = step if isinstance(step, Step) else ddim()
    plain = draw(task, noise, exact, plain_rule, grid(noise, steps[0]))
    return GuidanceReport(rows, bool(np.all(np.abs(sample_at(1.0, steps[0]) - plain) < MAX_MOVE)))


def draw(task: GuidanceTask, noise: Gaussian, denoise: Denoise, step: Step, grid: Grid) -> Float[np.ndarray, "draws d"]:
    """Examples of the class, from even quantiles of the noise along its pattern, in float32."""
    d = task.dimensions
    with jax.enable_x64(False), jax.debug_nans(False):
        draw_keys = keys(task.seed, task.draws)
        p = jnp.asarray(patterns(d)[:1], jnp.float32)
        eps = jax.vmap(lambda key: jax.random.normal(key, (d,)))(draw_keys)
        even = ndtri((jnp.arange(task.draws) + 0.5) / task.draws)[:, None] / d**0.5
        start = noise.schedule(jnp.ones(()))[1] * (eps + p * (even - (eps @ p.T) / d))
        options = {"cond": jnp.full(task.draws, task.label, jnp.int32), "grid": grid, "step": step, "start": start}
        return np.asarray(last_state(stepwise(draw_keys, noise, order.together, denoise, (d,), **options)), float)


def pattern_strengths(x: Float[np.ndarray, "draws d"]) -> Float[np.ndarray, "two draws"]:
    """z and b of each example."""
    return patterns(x.shape[1]) @ x.T / x.shape[1]


def _row(task: GuidanceTask, x: Float[np.ndarray, "draws d"], scale: float, steps: int) -> GuidanceRow:
    z, b = np.sort(pattern_strengths(x))
    of_class = task.classes.distributions[task.label]
    tilted = tilted_density(task.classes, task.label, scale)
    mean, std = tilted.moments()
    unit = of_class.moments()[1]
    with np.errstate(all="ignore"):  # draws may be infinite
        aside = float(np.mean(np.abs(b - exact_quantiles(ASIDE, len(b)))) / ASIDE.stds[0])
        return GuidanceRow(
            scale,
            steps,
            mean=float((z.mean() - mean) / unit),
            deviation=float(z.std() / std),
            class_deviation=float(z.std() / unit),
            modes=coverage(of_class, z, np.full(len(z), 1 / len(z))),
            modes_tilted=coverage(of_class, tilted.z, tilted.probabilities),
            wasserstein=_distance(z, tilted) / unit,
            to_class=_distance(z, tilted_density(task.classes, task.label, 1.0)) / unit,
            aside=aside if task.dimensions > 1 else float("nan"),
            finite=bool(np.all(np.isfinite(x))),
        )


def _distance(z: Float[np.ndarray, " draws"], density: TiltedDensity) -> float:
    """The mean distance of sorted draws to the quantiles."""
    return float(np.mean(np.abs(z - density.quantiles(len(z)))))


def coverage(distribution: Mixture1D, z: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"]) -> float:
    """Σ_k min(weight of the draws nearest to mode k, weight of the mode)."""
    shares = np.bincount(modes(distribution, z), weights=weights, minlength=len(distribution.weights))
    return float(np.minimum(shares, np.array(distribution.weights) / np.sum(distribution.weights)).sum())


def _as_gaussian(noise: Noise) -> Gaussian:
    if isinstance(noise, Gaussian):
        return noise
    raise UserError(f"lab.guidance_report: noise must be Gaussian, got {type(noise).__name__}")
