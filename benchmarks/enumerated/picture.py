"""The pictures: small panes, each a few curves of total variation against evaluations, and how one step blurs."""

from pathlib import Path
from typing import NamedTuple

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
LEAST = 0.005  # the lower edge; what is exact lies on it


class Line(NamedTuple):
    """A curve, its label, and where that stands: right of the point at so many evaluations, so many points off."""

    name: str
    label: str
    colour: str
    at: int
    off: tuple[int, int] = (6, 4)


def panes_of(n: int) -> dict[str, tuple[Line, ...]]:
    """By title; the last lies on top."""
    solver = "diffusion, dpmpp_2m"
    return {
        "tokens: which are shown together": (
            Line("raster", "raster: neighbours", RED, n // 2),
            Line("masked diffusion", "masked diffusion", VIOLET, n),
            Line("spread out", "spread out", GREEN, 2, (-52, -16)),
            Line("any order", "any order", BLUE, n // 2, (-52, -12)),
        ),
        "tokens: who chooses": (
            Line("surest first", "surest first", RED, n // 2, (0, 8)),
            Line("confidence", "confidence", VIOLET, n, (7, -2)),
            Line("any order", "any order", BLUE, 2, (-52, -14)),
        ),
        "tokens: width": (
            Line("raster", f"{n} blocks: raster", RED, n, (-96, 60)),
            Line("masks in 3 blocks", "3 blocks", VIOLET, 24, (6, 2)),
            Line("rolling masks", "rolling", GREY, 24, (6, -8)),
            Line("masks in 2 blocks", "2 blocks", GREEN, 24, (6, -3)),
            Line("masked diffusion", "1 block", BLUE, 24, (6, -5)),
        ),
        "numbers: step rule": (
            Line("any order", "any order of tokens", GREY, 2, (0, 6)),
            Line("diffusion, posterior", "posterior", RED, 2 * n, (3, 5)),
            Line("diffusion, ddim", "ddim", VIOLET, 2 * n, (3, 3)),
            Line(solver, "dpmpp_2m", BLUE, 4, (-62, -7)),
        ),
        "numbers: width": (
            Line(f"diffusion in {n} blocks", f"{n} blocks", RED, n),
            Line("diffusion in 3 blocks", "3 blocks", VIOLET, n),
            Line("diffusion in 2 blocks", "2 blocks", GREEN, 2),
            Line("rolling diffusion", "rolling", GREY, 2, (-40, 20)),
            Line(solver, "1 block", BLUE, n // 2, (-44, -10)),
        ),
    }


def draw(found: Found, path: Path) -> None:
    """Tokens above, numbers below."""
    matplotlib.use("Agg")
    figure, panes = plt.subplots(2, 3, figsize=(13, 7.6), layout="constrained")
    for pane, (title, lines) in zip(panes.flat, panes_of(found.n).items(), strict=False):
        curves(pane, found, title, lines)
    blur(panes.flat[-1], found)
    for pane in panes[:, 0]:
        pane.set_ylabel("total variation to the data")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def curves(pane: Axes, found: Found, title: str, lines: tuple[Line, ...]) -> None:
    """One pane."""
    chance, most = by_chance(found.table, found.draws), max(found.counts)
    pane.set(xscale="log", yscale="log", ylim=(LEAST, 1), title=title, xlabel="evaluations of the denoiser")
    pane.set_xlim(0.9, most * 2.0)
    pane.set_xticks(found.counts, [str(count) for count in found.counts])
    pane.set_yticks(ticks := [0.01, 0.03, 0.1, 0.3, 1], [str(tick) for tick in ticks])
    pane.minorticks_off()
    pane.axhspan(LEAST, chance, color="0.93", zorder=0)
    pane.grid(alpha=0.25)
    for line in lines:
        curve = found.curves[line.name]
        seen = {count: max(point.apart, LEAST) for count, point in curve.items()}
        errors = [point.error for point in curve.values()]
        style = {"color": line.colour, "lw": 1.8, "marker": "o", "ms": 4, "clip_on": False}
        pane.errorbar(list(seen), list(seen.values()), yerr=errors, **style)
        if line.at in seen:
            where = {"xytext": line.off, "textcoords": "offset points", "color": line.colour, "fontsize": 9}
            pane.annotate(line.label, (line.at, seen[line.at]), **where)
    if any(found.curves[line.name][max(found.curves[line.name])].apart < LEAST for line in lines):
        pane.annotate("exact", (found.n, LEAST), xytext=(7, 3), textcoords="offset points", fontsize=8)
    pane.text(
        most * 1.8, chance * 0.72, f"chance, {found.draws:,} draws", ha="right", va="top", fontsize=7.5, color="0.35"
    )


def blur(pane: Axes, found: Found) -> None:
    """Where the numbers of the first position end, before they are rounded."""
    curve, edges = found.curves["diffusion, ddim"], np.linspace(-1.3, 1.3, 66)
    chosen = [count for count in (1, 2, 3, 6, 12) if count in curve]
    for row, count in enumerate(reversed(chosen)):
        share = np.histogram(curve[count].x[:, 0], edges)[0] / found.draws
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
    colours = dict(zip(guided.laws, (RED, VIOLET, GREEN, ORANGE, BLUE), strict=True))
    sure.plot(WEIGHTS, [guided.sure(guided.tilted[w]) for w in WEIGHTS], "--", color="0.2", label="the tilted law")
    for name, laws in guided.laws.items():
        style = {"color": colours[name], "marker": "o", "ms": 4, "lw": 1.6, "label": name}
        sure.plot(WEIGHTS, [guided.sure(laws[w]) for w in WEIGHTS], **style)
        errors = [guided.error(name, w) for w in WEIGHTS]
        off.errorbar(WEIGHTS, [guided.off(name, w) for w in WEIGHTS], yerr=errors, **style)
    sure.set(title="guidance: how sure of the class", xlabel="weight", ylabel="probability of the class")
    sure.legend(fontsize=8, frameon=False)
    off.set(title="guidance: away from the tilted law", xlabel="weight", ylabel="total variation")
    for (name, curve), colour in zip(erring.items(), (GREY, RED, GREEN, BLUE), strict=True):
        style = {"color": colour, "marker": "o", "ms": 4, "lw": 1.6, "label": name}
        apart.errorbar(list(curve), [p.apart for p in curve.values()], yerr=[p.error for p in curve.values()], **style)
        rough.plot(list(curve), [p.rough for p in curve.values()], **style)
    apart.set(title="an error in the output: what is coarse", ylabel="total variation to the data", yscale="log")
    rough.set(title="an error in the output: what is fine", ylabel="distance to a token", yscale="log", ylim=(0.005, 2))
    apart.legend(fontsize=8, frameon=False)
    for pane in (apart, rough):
        pane.set(xscale="log", xlabel="evaluations of the denoiser")
        pane.set_xticks(counts := list(next(iter(erring.values()))), [str(count) for count in counts])
        pane.minorticks_off()
    apart.set_yticks(ticks := [0.02, 0.05, 0.1, 0.2, 0.5], [str(tick) for tick in ticks])
    for pane in (sure, off, apart, rough):
        pane.grid(alpha=0.25)
    figure.savefig(path, dpi=110)
    plt.close(figure)
