"""Pictures of signals: one small plot for each, a line for each channel."""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from diffjax.utils.files import write_atomically

COLUMNS = 4
MAX_SIGNALS = 16
MAX_LINES = 30  # of one fan

Signals = Float[np.ndarray, "n length channels"]


def plot_signals(path: str | Path, signals: Signals) -> None:
    """Writes the first `MAX_SIGNALS` signals as PNG, all on one scale."""
    selection = signals[:MAX_SIGNALS]
    rows = -(-len(selection) // COLUMNS)
    figure = Figure(figsize=(2.4 * COLUMNS, 1.3 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, signal in zip(panels, selection, strict=False):
        axes.plot(signal, linewidth=1)
    for axes in panels[len(selection) :]:
        axes.set_axis_off()
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=150))


def plot_forecasts(path: str | Path, truth: Signals, forecasts: Float[np.ndarray, "n m length channels"]) -> None:
    """Writes the first four signals as PNG, each over up to `MAX_LINES` of its m forecasts: of its first channel."""
    count = min(len(truth), COLUMNS)
    figure = Figure(figsize=(3.2 * count, 2.2), layout="constrained")
    panels = figure.subplots(1, count, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, signal, fan in zip(panels, truth, forecasts, strict=False):
        axes.plot(fan[:MAX_LINES, :, 0].T, linewidth=0.6, color="C1", alpha=0.35)
        axes.plot(signal[:, 0], linewidth=1.4, color="C0")
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=150))
