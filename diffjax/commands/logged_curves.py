"""The logged losses of a run, as curves."""

from pathlib import Path

import numpy as np

from diffjax.reports import Curves
from diffjax.training import metrics_file
from diffjax.training.validation import NAME

BAND = f"{NAME}/"


def training_curves(workdir: Path) -> dict[str, Curves]:
    """The training loss, and the validation loss by noise level, where the run has logged them."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in metrics_file.read(workdir / metrics_file.NAME):
        for name, value in row.values.items():
            lines.setdefault(name, []).append((row.step, value))
    series = {name: (steps, values) for name, line in lines.items() for steps, values in [np.array(line, float).T]}
    losses = {name: series[key] for name, key in (("training", "loss"), ("validation", NAME)) if key in series}
    bands = {f"level {name.removeprefix(BAND)}": series[name] for name in sorted(series) if name.startswith(BAND)}
    curves = {"loss": Curves("Loss over training", losses, "loss")} if losses else {}
    return curves | ({"bands": Curves("Validation loss by noise level", bands, "loss", scale="log")} if bands else {})
