"""Forecasts of a model of signals against the exact conditional: python benchmarks/forecasts.py runs/signals (minutes)

Of `configs/signals.py`: the last quarter of test signals is inpainted given the rest, and scored beside the exact
Gaussian conditional, by the signals' known covariance. Publishes the table of docs/signals.md, and draws its picture.
"""

import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from report import PICTURES, publish, table

import diffjax as dj
from diffjax.data import open_dataset
from diffjax.data.autoregressive import NAME, process_covariance
from diffjax.evaluation.forecasts import crps_of_normal, crps_of_samples, interval_contains
from diffjax.parallel.dispatch import map_in_batches
from diffjax.reports import plot_forecasts

SIGNALS, FORECASTS, BATCH, STEPS = 500, 59, 5_900, 25  # signals, forecasts of each, drawn at once, and steps
HORIZON, SHARE = 8, 0.9


class Exact(NamedTuple):
    """The conditional of the future given the past: a mean for each signal, one covariance."""

    mean: np.ndarray
    cov: np.ndarray


def exact_conditional(past: np.ndarray) -> Exact:
    """Gaussian conditioning, in float64."""
    cov = process_covariance()
    known = past.shape[1]
    gain = np.linalg.solve(cov[:known, :known], cov[:known, known:]).T
    return Exact(past @ gain.T, cov[known:, known:] - gain @ cov[:known, known:])


def draw_forecasts(run: str, truth: np.ndarray) -> np.ndarray:
    """Forecasts of each signal, [m, n, length, 1], the past among them: by `edit.clamp` and Heun's rule."""
    denoise, noise, order, _ = dj.load(run)
    known = np.arange(truth.shape[1]) < truth.shape[1] - HORIZON

    def draw_batch(keys: Any, signals: Any) -> Any:
        seen = dj.edit.inpaint(signals, known, batched=True)
        options = {"method": dj.edit.clamp(), "step": dj.steps.heun(), "steps": STEPS}
        return dj.edit.solve(keys, noise, order, denoise, seen, **options)

    signals = jnp.tile(truth, (FORECASTS, 1, 1))
    samples = map_in_batches(draw_batch, jax.random.key(0), len(signals), BATCH, np.asarray(signals))
    assert np.array_equal(samples[:, known], np.asarray(signals)[:, known]), "the past is exact"
    return samples.reshape(FORECASTS, len(truth), *truth.shape[1:])


def scores(forecasts: np.ndarray, future: np.ndarray, exact: Exact) -> dict[str, dict[str, float]]:
    """CRPS and coverage of the model, of exact draws, and the exact CRPS, over all signals and places."""
    draws = np.random.default_rng(0).multivariate_normal(np.zeros(HORIZON), exact.cov, (FORECASTS, len(future)))
    closed = crps_of_normal(exact.mean, np.sqrt(np.diag(exact.cov))[None], future)
    rows = {"this model": forecasts, "draws of the exact conditional": draws + exact.mean}
    found = {
        name: {"crps": crps_of_samples(x, future).mean(), "coverage": interval_contains(x, future, SHARE).mean()}
        for name, x in rows.items()
    }
    return {**found, "the exact conditional": {"crps": closed.mean(), "coverage": SHARE}}


def main() -> None:
    """Measure, print and publish."""
    truth, _ = open_dataset(NAME).arrays("test", np.arange(SIGNALS))
    forecasts = draw_forecasts(sys.argv[1], truth)
    past, future = np.split(np.asarray(truth[..., 0], float), [-HORIZON], axis=1)
    exact = exact_conditional(past)
    found = scores(np.asarray(forecasts[:, :, -HORIZON:, 0], float), future, exact)
    of = found["the exact conditional"]["crps"]
    rows = [(n, f"{s['crps']:.4f}", f"{s['crps'] / of:.4f}", f"{s['coverage']:.3f}") for n, s in found.items()]
    title = f"Forecasts of {HORIZON} samples, {SIGNALS} test signals, {FORECASTS} forecasts of each in {STEPS} steps"
    heads = ("forecast", "CRPS", "over that of the exact conditional", f"coverage of the {SHARE:.0%} interval")
    publish("forecasts", [table(title, heads, rows)], found)
    plot_forecasts(PICTURES / "signals_forecasts.png", truth, np.swapaxes(forecasts, 0, 1))


if __name__ == "__main__":
    main()
