"""The pictures of docs/guidance.md."""

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from diffjax import lab
from diffjax.lab.guidance_checks import coverage
from diffjax.lab.guidance_data import ASIDE, log_density

matplotlib.use("Agg")
COLOURS = {"ddim": "C0", "posterior": "C1"}
Z = np.linspace(-2.4, 2.2, 600)


def densities(drawn: dict[str, dict[float, np.ndarray]], path: Path) -> None:
    """What cfg samples on the line, over the law it is named after, one pane a scale."""
    scales = list(next(iter(drawn.values())))
    figure, panes = plt.subplots(1, len(scales), figsize=(4.6 * len(scales), 3.6), sharex=True, layout="constrained")
    for pane, w in zip(panes, scales, strict=True):
        _laws(pane, w)
        for name, found in drawn.items():
            style = {"bins": 70, "range": (Z[0], Z[-1]), "density": True, "histtype": "step", "lw": 1.5}
            pane.hist(found[w], color=COLOURS[name], label=f"drawn by {name}", **style)
        pane.set(title=f"w = {w:g}", xlabel="z", yticks=[])
    panes[0].legend(fontsize=8, loc="upper right")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _laws(pane: Axes, w: float) -> None:
    law = lab.tilted_density(lab.TWO_CLASSES, 0, w)
    pane.fill_between(law.z, law.density, color="0.8", label="tilted law: p(x|c)^w p(x)^(1-w)")
    pane.plot(Z, np.exp(log_density(lab.TWO_CLASSES.distributions[0], Z)), color="black", lw=0.9, label="class: p(x|c)")
    pane.plot(Z, np.exp(log_density(lab.TWO_CLASSES.marginal(), Z)), color="black", lw=0.9, ls=":", label="all: p(x)")
    pane.set_xlim(Z[0], Z[-1])


def curves(scales: tuple[float, ...], found: dict[str, dict[int, list[float]]], path: Path) -> None:
    """The distance to the tilted law, against the scale, one line for each number of steps."""
    figure, pane = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for name, lines in found.items():
        for (steps, far), dashes in zip(lines.items(), (":", "--", "-"), strict=True):
            pane.plot(scales, far, color=COLOURS[name], ls=dashes, marker="o", ms=3, label=f"{name}, {steps} steps")
    pane.set(xlabel="w", ylabel="Wasserstein distance to the tilted law,\nin deviations of the class", ylim=(0, None))
    pane.grid(alpha=0.3)
    pane.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def trade(found: dict[str, list[lab.GuidanceRow]], path: Path) -> None:
    """How much of the modes is kept, against the distance to the class: what variety an effect costs."""
    figure, pane = plt.subplots(figsize=(7.2, 4.6), layout="constrained")
    own, scales = lab.TWO_CLASSES.distributions[0].moments()[1], np.linspace(1, 8, 29)
    laws = [lab.tilted_density(lab.TWO_CLASSES, 0, float(w)) for w in scales]
    far = [np.mean(np.abs(law.quantiles(2000) - laws[0].quantiles(2000))) / own for law in laws]
    shares = [coverage(lab.TWO_CLASSES.distributions[0], law.z, law.probabilities) for law in laws]
    pane.plot(far, shares, color="0.75", lw=6, zorder=0, label="tilted laws")
    for at, (name, rows) in enumerate(found.items()):
        style = {"marker": "osD^v<>P"[at % 8], "ms": 5, "lw": 1, "color": f"C{at}", "alpha": 0.8}
        pane.plot([row.to_class for row in rows], [row.modes for row in rows], label=name, **style)
    pane.set(xlabel="distance to the class, in its deviations (w = 1, 1.5, 2, 4)", ylabel="modes kept")
    pane.grid(alpha=0.3)
    pane.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def planes(drawn: dict[str, np.ndarray], w: float, path: Path) -> None:
    """z, which the class says, and b, of which it says nothing, of what each guidance draws; below, the law of z."""
    columns = 5
    rows = -(-len(drawn) // columns)
    size = (3.0 * columns, 3.1 * rows)
    figure, panes = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True, layout="constrained")
    law, floor, height = lab.tilted_density(lab.TWO_CLASSES, 0, w), -0.9, 0.55
    for pane in panes.ravel()[len(drawn) :]:
        pane.axis("off")
    for pane, (name, (z, b)) in zip(panes.ravel(), drawn.items(), strict=False):
        pane.fill_between(law.z, floor, floor + height * law.density, color="0.8", label=f"tilted law, w = {w:g}")
        counts, edges = np.histogram(z, bins=60, range=(-2.6, 2.0), density=True)
        pane.stairs(floor + height * counts, edges, baseline=None, color="C0", lw=1, label="z drawn")
        means = lab.TWO_CLASSES.distributions[0].means
        pane.scatter(z, b, s=2, alpha=0.35, color="C0", linewidths=0)
        pane.plot(means, [ASIDE.means[0]] * len(means), "k+", ms=9, label="modes of the class")
        pane.set_title(name, fontsize=9)
        pane.set(xlim=(-2.6, 2.0), ylim=(floor, 2.2), yticks=[0, 1, 2])
    for pane in panes[-1]:
        pane.set_xlabel("z: what the class says")
    for pane in panes[:, 0]:
        pane.set_ylabel("b: of which it says nothing")
    panes[0, 0].legend(fontsize=7, loc="upper right")
    figure.savefig(path, dpi=110)
    plt.close(figure)
