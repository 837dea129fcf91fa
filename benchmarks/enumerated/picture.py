"""The pictures: small panes, each a few curves of total variation against evaluations, and how one step blurs."""

from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from enumerated.families import Found
from enumerated.guided import WEIGHTS, Guided
from enumerated.laws import by_chance
from enumerated.rows import Erring

BLUE, RED, GREEN, VIOLET, GREY = "#1f5fa8", "#c2410c", "#2f7d4f", "#7c4d9e", "#80868b"
ORANGE = "#b7791f"
COLOURS = (GREY, RED, VIOLET, GREEN, BLUE)
LEAST = 0.005  # the lower edge; what is exact lies on it


def panes_of(n: int) -> dict[str, tuple[str, ...]]:
    """By title, the curves of each pane; the last lies on top."""
    blocks = [f"diffusion in {count} blocks" for count in (n, 3, 2)]
    return {
        "tokens: which are shown together": ("raster", "masked diffusion", "spread out", "any order"),
        "tokens: who chooses": ("surest first", "confidence", "any order"),
        "tokens: width": ("raster", "masks in 3 blocks", "rolling masks", "masks in 2 blocks", "masked diffusion"),
        "numbers: step rule": ("any order", "diffusion, posterior", "diffusion, ddim", "diffusion, dpmpp_2m"),
        "numbers: width": (*blocks, "rolling diffusion", "diffusion, dpmpp_2m"),
    }


def draw(found: Found, path: Path) -> None:
    """Tokens above, numbers below."""
    matplotlib.use("Agg")
    figure, panes = plt.subplots(2, 3, figsize=(13, 7.6), layout="constrained")
    for pane, (title, names) in zip(panes.flat, panes_of(found.n).items(), strict=False):
        curves(pane, found, title, names)
    blur(panes.flat[-1], found)
    for pane in panes[:, 0]:
        pane.set_ylabel("total variation to the data")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def curves(pane: Axes, found: Found, title: str, names: tuple[str, ...]) -> None:
    """One pane; the grey part is what as many exact draws have by chance."""
    chance, most = by_chance(found.table, found.draws), max(found.counts)
    pane.set(xscale="log", yscale="log", ylim=(LEAST, 1), title=title, xlabel="evaluations of the denoiser")
    pane.set_xlim(0.9, most * 2.0)
    pane.set_xticks(found.counts, [str(count) for count in found.counts])
    pane.set_yticks(ticks := [0.01, 0.03, 0.1, 0.3, 1], [str(tick) for tick in ticks])
    pane.minorticks_off()
    pane.axhspan(LEAST, chance, color="0.93", zorder=0)
    pane.grid(alpha=0.25)
    for name, colour in zip(names, COLOURS[-len(names) :], strict=True):
        curve = found.curves[name]
        seen = {count: max(point.apart, LEAST) for count, point in curve.items()}
        errors = [point.error for point in curve.values()]
        style: Any = {"color": colour, "lw": 1.8, "marker": "o", "ms": 4, "clip_on": False}
        pane.errorbar(list(seen), list(seen.values()), yerr=errors, label=name, **style)
    pane.legend(fontsize=8, frameon=False)


def blur(pane: Axes, found: Found) -> None:
    """Where the numbers of the first position end, before they are rounded."""
    curve, edges = found.curves["diffusion, ddim"], np.linspace(-1.3, 1.3, 66)
    chosen = [count for count in (1, 2, 3, 6, 12) if count in curve]
    for row, count in enumerate(reversed(chosen)):
        x = np.asarray(curve[count].x)
        share = np.histogram(x[:, 0], edges)[0] / found.draws
        height = 0.85 * share / share.max()
        pane.fill_between(edges, row, row + np.append(height, height[-1]), step="post", color=BLUE, lw=0)
        pane.text(-0.1, row + 0.45, f"{count} evaluation{'s' if count > 1 else ''}", fontsize=9, ha="center")
        pane.axhline(row, color="0.8", lw=0.7)
    pane.set(title="numbers: where the first one ends", xlabel="x before it is rounded (ddim)")
    pane.set(ylim=(-0.05, len(chosen)), yticks=[], xticks=[-1, 0, 1])


def draw_explained(guided: Guided, erring: dict[str, dict[int, Erring]], path: Path) -> None:
    """Guidance by its weight, and errors by what is predicted."""
    matplotlib.use("Agg")
    figure, (sure, off, apart, rough) = plt.subplots(1, 4, figsize=(15.5, 3.9), layout="constrained")
    sure.plot(WEIGHTS, [guided.sure(guided.tilted[w]) for w in WEIGHTS], "--", color="0.2", label="the tilted law")
    for (name, laws), colour in zip(guided.laws.items(), (RED, VIOLET, GREEN, ORANGE, BLUE), strict=True):
        style: Any = {"color": colour, "marker": "o", "ms": 4, "lw": 1.6, "label": name}
        sure.plot(WEIGHTS, [guided.sure(laws[w]) for w in WEIGHTS], **style)
        errors = [guided.error(name, w) for w in WEIGHTS]
        off.errorbar(WEIGHTS, [guided.off(name, w) for w in WEIGHTS], yerr=errors, **style)
    sure.set(title="guidance: how sure of the class", xlabel="weight", ylabel="probability of the class")
    off.set(title="guidance: away from the tilted law", xlabel="weight", ylabel="total variation")
    for (name, curve), colour in zip(erring.items(), (GREY, RED, GREEN, BLUE), strict=True):
        style = {"color": colour, "marker": "o", "ms": 4, "lw": 1.6, "label": name}
        apart.errorbar(list(curve), [p.apart for p in curve.values()], yerr=[p.error for p in curve.values()], **style)
        rough.plot(list(curve), [p.rough for p in curve.values()], **style)
    apart.set(title="an error in the output: what is coarse", ylabel="total variation to the data")
    rough.set(title="an error in the output: what is fine", ylabel="distance to a token", ylim=(0.005, 2))
    for pane in (apart, rough):
        pane.set(xscale="log", yscale="log", xlabel="evaluations of the denoiser")
    for pane in (sure, off, apart, rough):
        pane.grid(alpha=0.25)
        pane.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
