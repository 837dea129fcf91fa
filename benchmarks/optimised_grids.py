"""Optimised grids of 8 steps beside every fixed one: python benchmarks/optimised_grids.py RUN_FOLDER (minutes)

The root-mean-square distance to the end of 1,000 steps of heun, from the same noise, which the optimiser did not see.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import diffjax as dj
from diffjax.data import BatchConfig, batches, open_dataset
from diffjax.sampling.driver import sample_for

STEPS, FINE = 8, 1000
RULES = {"ddim": dj.steps.ddim(), "dpmpp_2m": dj.steps.dpmpp_2m()}


class Case(NamedTuple):
    """A denoiser, the data to optimise on, and the conditions of the examples to judge by."""

    noise: Any
    denoise: Any
    x: Any
    cond: Any
    count: int
    other: Any
    draw: Callable[..., Any]


def main(folder: str) -> None:
    """One row per case and rule."""
    heads = (
        "case",
        "rule",
        "uniform",
        "best fixed",
        "error",
        "dynamic programming",
        "with descent",
        "over the best fixed",
    )
    print(f"| {' | '.join(heads)}, 95 % | its grid |")
    print("|---" * 9 + "|")
    for name, case in {"mixture, 1-D": mixture(1), "mixture, 2-D": mixture(2), "digits": digits(folder)}.items():
        fine = ended(case, dj.grids.uniform(case.noise, FINE), dj.steps.heun())
        for rule, step in RULES.items():
            missed = {grid: misses(case, made, step, fine) for grid, made in fixed(case.noise).items()}
            best = min(missed, key=lambda grid: missed[grid].mean())
            found = [
                dj.grids.optimise(case.noise, case.denoise, case.x, STEPS, cond=case.cond, step=step, rounds=rounds)
                for rounds in (0, 20)
            ]
            own = [misses(case, grid, step, fine) for grid in found]
            stops = " ".join(f"{stop:.3f}" for stop in found[1])
            low, high = interval(own[1], missed[best])
            row = f"{root(missed['uniform'])} | {best} | {root(missed[best])} | {root(own[0])} | {root(own[1])}"
            print(f"| {name} | {rule} | {row} | {low:.3f} … {high:.3f} | {stops} |", flush=True)


def fixed(noise: Any) -> dict[str, Any]:
    """Fixed grids, each family with a spread of its parameters."""
    found = {"uniform": dj.grids.uniform(noise, STEPS), "quadratic": jnp.linspace(1.0, 0.0, STEPS + 1) ** 2}
    for low, high in ((0.002, 80.0), (0.01, 80.0), (0.02, 20.0), (0.05, 20.0), (0.1, 10.0)):
        for rho in (1.0, 3.0, 5.0, 7.0):
            found[f"karras({low:g}, {high:g}, {rho:g})"] = dj.grids.karras(noise, STEPS, low, high, rho)
    for low, high in ((-10.0, 10.0), (-8.0, 8.0), (-6.0, 6.0), (-5.0, 7.0), (-5.0, 5.0), (-4.0, 4.0)):
        found[f"log_snr({low:g}, {high:g})"] = dj.grids.log_snr(noise, STEPS, low, high)
    return found


def misses(case: Case, grid: Any, step: dj.Step, fine: Any) -> np.ndarray:
    """Each example's mean squared distance to its fine end."""
    square = np.asarray(ended(case, grid, step) - fine) ** 2
    return square.reshape(len(square), -1).mean(axis=1)


def root(square: np.ndarray) -> str:
    """Root-mean-square distance, as it is told."""
    return f"{square.mean() ** 0.5:.4f}"


def interval(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """95 % of the ratio of both distances, examples drawn again in pairs 2,000 times."""
    rows = np.random.default_rng(0).integers(len(ours), size=(2000, len(ours)))
    low, high = np.quantile(np.sqrt(ours[rows].mean(axis=1) / theirs[rows].mean(axis=1)), (0.025, 0.975))
    return float(low), float(high)


def ended(case: Case, grid: Any, step: dj.Step) -> Any:
    """Where the rule takes the noise of keys that the optimiser has not seen."""
    given = (dj.keys(1, case.count), case.noise, dj.order.together, case.denoise, case.x.shape[1:])
    return case.draw(*given, cond=case.other, grid=grid, step=step)


def mixture(dimensions: int) -> Case:
    """Modes of unlike widths: rules are thrown from one to another."""
    noise = dj.Gaussian(dj.schedule.cosine, dj.predict.v)
    weights, stds = np.array([0.2, 0.5, 0.3]), np.array([0.05, 0.2, 0.1])
    means = np.array([[-1.5, 0.8], [0.1, -0.4], [1.2, 1.0]])[:, :dimensions]
    denoise = dj.oracles.mixture(noise, weights, means, stds[:, None, None] ** 2 * np.eye(dimensions)[None])
    rng = np.random.default_rng(0)
    k = rng.choice(3, 1024, p=weights)
    x = means[k] + stds[k][:, None] * rng.normal(size=(1024, dimensions))
    return Case(noise, denoise, jnp.asarray(x, jnp.float32), None, 4000, None, dj.sample)


def digits(folder: str) -> Case:
    """The net of a run on 64 pictures of its training."""
    denoise, noise, _, info = dj.load(folder)
    stream = batches(open_dataset("digits"), "train", BatchConfig(64, 0, form=info.facts.encoding))
    some = next(iter(stream))
    x, cond = jnp.asarray(some["x"]), jnp.asarray(some["cond"])
    return Case(noise, denoise, x, cond, 512, jnp.arange(512) % info.facts.classes, sample_for(info.net))


if __name__ == "__main__":
    main(sys.argv[1])
