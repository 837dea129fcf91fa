"""What a guidance really samples, against the law that guidance is named after, p(x|c)^w p(x)^(1-w)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import Array, Float

from diffjax import grids, order, predict, schedule
from diffjax.errors import UserError
from diffjax.lab.distribution_checks import GridMaker, exact_quantiles, last_state
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

GuidanceMaker = Callable[[Any, float, Any], Any]  # (denoise, scale, null) -> denoise
CLOSE = 1e-3  # what rounding may move an example that guidance at 1 should leave where it is


@dataclass(frozen=True)
class GuidanceRow:
    """What was drawn at one scale in so many steps. All lengths are in deviations of the class, p(x|c).

    `mean` is the bias to the tilted law, `deviation` the deviation over that of the tilted law and `class_deviation`
    over that of
    the class. `modes` is how much of the class's modes is there, Σ_k min(share drawn, share of the class), and
    `modes_tilted` what the tilted law has of it. `wasserstein` is the mean distance of sorted draws to the quantiles of
    the tilted law, `to_class` to those of the class. `aside` is how far what no class speaks of is from its own law, in
    deviations of that (nan of single numbers): it should not change with the scale.
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
    """All rows, one for each scale and number of steps; `str` is the table, `problems` what is wrong.

    `neutral`: a scale of 1 leaves every draw where it is without guidance.
    """

    rows: tuple[GuidanceRow, ...]
    neutral: bool

    @property
    def problems(self) -> tuple[str, ...]:
        """One sentence for each thing that is wrong."""
        messages = [f"not finite at scale {row.scale:g} in {row.steps} steps" for row in self.rows if not row.finite]
        return tuple(messages + ([] if self.neutral else ["a scale of 1 is not neutral"]))

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def __str__(self) -> str:
        names = ("scale", "steps", "mean", "deviation", "kept", "modes", "of", "to tilted", "to class", "aside")
        lines = ["  ".join(f"{name:>9}" for name in names)]
        for row in self.rows:
            numbers = (
                row.deviation,
                row.class_deviation,
                row.modes,
                row.modes_tilted,
                row.wasserstein,
                row.to_class,
                row.aside,
            )
            cells = [f"{row.scale:9g}", f"{row.steps:9d}", f"{row.mean:+9.3f}", *(f"{value:9.3f}" for value in numbers)]
            lines.append("  ".join(cells))
        return "\n".join([*lines, f"wrong: {'; '.join(self.problems) or 'nothing'}"])


def guidance_report(
    make: GuidanceMaker,
    *,
    scales: Sequence[float] = (1.0, 1.5, 2.0, 4.0),
    steps: Sequence[int] = (10, 50),
    noise: Noise | None = None,
    step: Step | Callable[[float], Step] | None = None,
    classes: Classes = TWO_CLASSES,
    label: int = 0,
    model: Classes | None = None,
    dimensions: int = 1,
    draws: int = 2000,
    grid: GridMaker = grids.uniform,
    seed: int = 0,
) -> GuidanceReport:
    """Draw with `make(denoise, scale, null)`, any guidance, of the exact denoiser of a class; compare with the law.

    `step` is ddim by default, and may be a function of the scale (`momentum`). `dimensions` above 1 give a rule that
    looks at whole examples something to look at. `model` are other classes than the true ones, for a denoiser that
    errs. Deterministic rules start from even quantiles, so that chance has no part in one dimension.
    """
    noise, step = _gaussian(noise or Gaussian(schedule.cosine, predict.v)), step or ddim()
    _check(classes, label, scales, dimensions)
    exact = class_denoiser(noise, model or classes, dimensions)
    null = jnp.asarray(null_label(classes), jnp.int32)
    at = {"noise": noise, "label": label, "dimensions": dimensions, "draws": draws, "seed": seed}
    rows = []
    for count in steps:
        for scale in scales:
            x = draw(make(exact, scale, null), step, grid(noise, count), scale, **at)
            rows.append(_row(x, tilted_density(classes, label, scale), classes, label, scale, count))
    stops, one = grid(noise, steps[0]), (step(1.0) if callable(step) else step)
    plain = draw(exact, ddim() if callable(step) else one, stops, 1.0, **at)
    moved = np.abs(draw(make(exact, 1.0, null), step, stops, 1.0, **at) - plain)
    return GuidanceReport(tuple(rows), bool(np.all(moved < CLOSE)))


def draw(
    denoise: Denoise,
    step: Step | Callable[[float], Step],
    grid: Float[Array, " _"],
    scale: float,
    *,
    noise: Gaussian,
    label: int,
    dimensions: int,
    draws: int,
    seed: int,
) -> Float[np.ndarray, "draws d"]:
    """Examples of the class, from even quantiles of the noise along its pattern, in float32."""
    rule = step(scale) if callable(step) else step
    with jax.enable_x64(False), jax.debug_nans(False):
        draw_keys, p = keys(seed, draws), jnp.asarray(patterns(dimensions)[:1], jnp.float32)
        eps = jax.vmap(lambda key: jax.random.normal(key, (dimensions,)))(draw_keys)
        even = ndtri((jnp.arange(draws) + 0.5) / draws)[:, None] / dimensions**0.5
        start = noise.schedule(jnp.ones(()))[1] * (eps + p * (even - (eps @ p.T) / dimensions))
        at = {"cond": jnp.full(draws, label, jnp.int32), "grid": grid, "step": rule, "start": start}
        return np.asarray(last_state(stepwise(draw_keys, noise, order.together, denoise, (dimensions,), **at)), float)


def pattern_strengths(x: Float[np.ndarray, "draws d"]) -> Float[np.ndarray, "two draws"]:
    """z and b of each example: how much of each pattern it has."""
    return patterns(x.shape[1]) @ x.T / x.shape[1]


def _row(x: np.ndarray, law: TiltedDensity, classes: Classes, label: int, scale: float, steps: int) -> GuidanceRow:
    class_law, (z, b) = classes.laws[label], np.sort(pattern_strengths(x))
    (mean, std), unit = law.moments(), class_law.moments()[1]
    with np.errstate(all="ignore"):  # of draws that are not finite
        far, off = (
            float(np.mean(np.abs(z - tilt.quantiles(len(z))))) for tilt in (law, tilted_density(classes, label, 1.0))
        )
        aside = float(np.mean(np.abs(b - exact_quantiles(ASIDE, len(b)))) / ASIDE.stds[0])
        biases = float((z.mean() - mean) / unit), float(z.std() / std), float(z.std() / unit)
    shares = coverage(class_law, z, np.full(len(z), 1 / len(z))), coverage(class_law, law.z, law.probabilities)
    finite = bool(np.all(np.isfinite(x)))
    return GuidanceRow(
        scale, steps, *biases, *shares, far / unit, off / unit, aside if x.shape[1] > 1 else float("nan"), finite
    )


def coverage(law: Any, z: np.ndarray, weights: np.ndarray) -> float:
    """Σ_k min(share of the draws that is nearest to mode k, share of the law), draws weighing `chances`."""
    shares = np.bincount(modes(law, z), weights=weights, minlength=len(law.weights))
    return float(np.minimum(shares, np.array(law.weights) / np.sum(law.weights)).sum())


def _gaussian(noise: Noise) -> Gaussian:
    if isinstance(noise, Gaussian):
        return noise
    raise UserError(f"lab.guidance_report: noise must be Gaussian, got {type(noise).__name__}")


def _check(classes: Classes, label: int, scales: Sequence[float], dimensions: int) -> None:
    if not 0 <= label < len(classes.laws):
        raise UserError(f"lab.guidance_report: label must be one of 0 … {len(classes.laws) - 1}, got {label}")
    if not scales or not np.all(np.isfinite(scales)):
        raise UserError(f"lab.guidance_report: expected one finite scale or more, got {tuple(scales)}")
    if dimensions not in (1, 2) and (dimensions < 1 or dimensions % 4):
        raise UserError(
            f"lab.guidance_report: dimensions must be 1, 2 or a multiple of 4, as the patterns are, got {dimensions}"
        )
