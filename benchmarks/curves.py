"""Every curve by noise level of an exact denoiser, beside its closed form: python benchmarks/curves.py

Four minutes. The data are normal, of 64 independent numbers with variances from 0.01 to 1; the departure is the
largest over all levels, of the largest value of the closed form. What must be 0, the excess, is given of the error.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

sys.path.insert(0, str(Path(__file__).parent.parent))

from diffjax import loss, order, predict, schedule
from diffjax.diagnostics import by_noise_level, loss_shares
from diffjax.noise import Gaussian
from diffjax.sampling.loop import stepwise
from diffjax.steps import heun
from diffjax.times import Times
from diffjax.utils.prng import keys

NOISE = Gaussian(schedule.cosine, predict.v)
SPREAD = jnp.asarray(np.geomspace(0.01, 1, 64), jnp.float32)  # variances
COUNT, PARTS = 4_096, 96  # examples at once, and how many such parts
DRAWN, STEPS = 131_072, 200
Row = Float[np.ndarray, " _"]


def exact(x_t: Array, t: Array, cond: None) -> Array:
    """E[x0 | x_t] = alpha v / (alpha² v + sigma²) x_t of N(0, v)."""
    m = NOISE.coefficients(t)
    return m.alpha * SPREAD[None] / (m.alpha**2 * SPREAD[None] + m.sigma**2) * x_t


def main() -> None:
    """A curve a line: the largest departure, and whether it is within 1e-3."""
    t = by_noise_level.log_snr_grid(NOISE, 17)
    least = of_levels(t, lambda alpha, sigma, v: v * sigma**2 / (alpha**2 * v + sigma**2))
    error, change, excess = (np.mean(each, axis=0) for each in zip(*map(measured, range(PARTS)), strict=True))
    found = {
        "error of x0": apart(error, least),
        "best linear denoiser": apart(by_noise_level.linear_error(NOISE, data(5_000, 2**18), t).error, least),
        "change from level to level": apart(change, least[:-1] - least[1:]),
        "its excess over the fall of the error": float(np.max(np.abs(excess) / least[:-1])),
        "spread of the belief, by step": belief(),
        "local error of Heun, by step": local(),
        "loss, by bin of training": shares()[0],
        "gradient towards the whole one, by bin": shares()[1],
    }
    print("| curve | largest departure from its closed form | |")
    print("|---|---|---|")
    for name, departure in found.items():
        print(f"| {name} | {departure:.1e} | {'kept' if departure <= 1e-3 else 'not kept'} |")


def measured(part: int) -> tuple[Row, ...]:
    """Means over a part of the examples."""
    root = keys(part, COUNT)
    x0 = data(part, COUNT)
    t = by_noise_level.log_snr_grid(NOISE, 17)
    moved = by_noise_level.martingale_gap(root, NOISE, exact, x0, None, t)
    missed = by_noise_level.denoising_error(root, NOISE, exact, x0, None, t)
    return tuple(
        np.asarray(each, np.float64)
        for each in (
            jnp.mean(missed, axis=1),
            jnp.mean(moved.change, axis=1),
            jnp.mean(moved.excess, axis=1),
        )
    )


def data(seed: int, count: int) -> Float[Array, "n 64"]:
    """Draws of the law."""
    return jnp.sqrt(SPREAD)[None] * jax.vmap(lambda key: jax.random.normal(key, (64,)))(keys(seed, count))


def belief() -> float:
    """The root mean square of D(x_t) on the sampler's way: alpha v / √(alpha² v + sigma²)."""
    grid = jnp.linspace(1.0, 0.0, STEPS + 1)
    total = np.zeros(STEPS)
    for part in range(DRAWN // COUNT):
        root = keys(1000 + part, COUNT)
        found = by_noise_level.predictions(root, NOISE, order.together, exact, (64,), grid, step=heun())
        total += np.mean(np.asarray(found, np.float64) ** 2, axis=(1, 2))
    right = of_levels(grid[:-1], lambda alpha, sigma, v: (alpha * v) ** 2 / (alpha**2 * v + sigma**2))
    return apart(np.sqrt(total / (DRAWN // COUNT)), np.sqrt(right))


def local() -> float:
    """Root mean square of what one step is off by: the sampler's factor less √(spread_s / spread_t), of each number."""
    grid = jnp.linspace(1.0, 0.0, 9)
    total = np.zeros(8)
    for part in range(DRAWN // COUNT):
        root = keys(3000 + part, COUNT)
        off = by_noise_level.local_error(root, NOISE, order.together, exact, (64,), grid, step=heun(), substeps=64)
        total += np.mean(np.asarray(off, np.float64) ** 2, axis=1)
    states = jnp.ones((1, 64))
    factors = [step_of(states, grid[k], grid[k + 1]) for k in range(8)]
    spread, right = np.ones(64), []
    for k, factor in enumerate(factors):
        at, to = (marginal(grid[k]), marginal(grid[k + 1]))
        right.append(np.sqrt(np.mean((factor - np.sqrt(to / at)) ** 2 * spread)))
        spread = spread * factor**2
    return apart(np.sqrt(total / (DRAWN // COUNT)), np.array(right))


def step_of(x: Array, t: Array, s: Array) -> Row:
    """What one step of Heun makes of ones; it is linear in x."""
    *_, after = stepwise(keys(0, 1), NOISE, order.together, exact, (64,), grid=jnp.stack([t, s]), step=heun(), start=x)
    return np.asarray(after[0], np.float64)


def marginal(t: Array) -> Row:
    """The variance of x_t."""
    m = NOISE.coefficients(t)
    return np.asarray(m.alpha**2 * SPREAD + m.sigma**2, np.float64)


def shares() -> tuple[float, float]:
    """Of the net `scale · x_t` for v: loss and gradient of each bin are means of polynomials in alpha and sigma."""
    scale = 0.3

    def loss_of(times: Times) -> loss.Loss:
        return loss.regression(NOISE, order.together, times=times)

    def apply(scale: PyTree) -> loss.Apply:
        return lambda x_t, level, cond, keys: scale * x_t

    sums, bins = np.zeros((2, 8)), 8
    for part in range(PARTS):
        root = keys(2000 + part, COUNT)
        x0 = data(2000 + part, COUNT)
        x0 = x0 * jnp.sqrt(SPREAD / jnp.mean(x0**2, axis=0))[None]  # of exactly these variances: less chance
        found = loss_shares.gradients(root, NOISE, loss_of, apply, jnp.asarray(scale), x0, None, bins)
        sums += np.array([[share.loss for share in found], [share.gradient * share.cosine for share in found]])
    t = (np.arange(bins * 10_000) + 0.5) / (bins * 10_000)
    alpha, sigma, v = np.cos(np.pi * t / 2), np.sin(np.pi * t / 2), float(SPREAD.mean())
    # v = alpha eps - sigma x0 and x_t = alpha x0 + sigma eps, of which scale · x_t is the guess
    missed = (scale * alpha + sigma) ** 2 * v + (scale * sigma - alpha) ** 2
    slope = 2 * ((scale * alpha + sigma) * alpha * v + (scale * sigma - alpha) * sigma)
    right = [each.reshape(bins, -1).mean(axis=1)[::-1] for each in (missed, slope)]
    return apart(sums[0] / PARTS, right[0]), apart(sums[1] / PARTS, right[1] * np.sign(right[1].mean()))


def of_levels(t: Array, form: Callable[[Row, Row, Row], Row]) -> Row:
    """The mean over the numbers of an example, at each level."""
    m, v = NOISE.coefficients(t[:, None]), np.asarray(SPREAD, np.float64)[None]
    return form(np.asarray(m.alpha, np.float64), np.asarray(m.sigma, np.float64), v).mean(axis=1)


def apart(found: Row, right: Row) -> float:
    """The largest departure, of the largest value."""
    return float(np.max(np.abs(found - right)) / np.max(np.abs(right)))


if __name__ == "__main__":
    main()
