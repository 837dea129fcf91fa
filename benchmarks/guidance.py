"""What each guidance samples, against the law it is named after: python benchmarks/guidance.py (two minutes, one core)

Writes docs/guidance.md and docs/pictures/guidance_*.png. Denoisers are exact, so that nothing is learned and all that
is wrong is the guidance's own; `dj.lab.guidance_report` takes any other as well.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import guidance_pictures as pictures
import jax
import jax.numpy as jnp
import numpy as np
from guidance_words import DIGITS, END, EVERY, HEAD, MODELS, PLUS, SIGNS, TILTED
from tables import head, row

import diffjax as dj
from diffjax import guidance as g
from diffjax import lab
from diffjax.lab.guidance_checks import draw, pattern_strengths

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
FLOW = dj.Gaussian(dj.schedule.flow, dj.predict.velocity)
SCALES, STEPS, LONG = (1.0, 1.5, 2.0, 4.0), (10, 40), (10, 40, 160)
FINE = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0)
NUMBERS, SHOWN, AT = 4, 3.0, {"noise": FLOW, "label": 0, "draws": 2000, "seed": 0}
STRENGTHS = (0.05, 0.2, 0.6)
BATCH, ROUNDS = 16, 75


def by(rule: Any) -> Callable:
    """A guidance by its rule."""
    return lambda denoise, w, null: g.cfg(denoise, w, null, rule=rule)


def remembering(w: float) -> dj.Step:
    """ddim with a memory of what was led towards."""
    return g.momentum(dj.steps.ddim(), w, -0.5, g.apg())


# Each as it is written, how it is made, and its step
GUIDANCES = {
    "cfg": (g.cfg, None),
    "interval(w, 0.2, 0.7)": (lambda denoise, w, null: g.cfg(denoise, g.interval(w, 0.2, 0.7), null), None),
    "rescaled(0.7)": (by(g.rescaled(0.7)), None),
    "thresholded(99.5, 2.5)": (by(g.thresholded(99.5, 2.5)), None),
    "apg()": (by(g.apg()), None),
    "apg(norm=1.0)": (by(g.apg(norm=1.0)), None),
    "apg(), momentum -0.5": (lambda denoise, w, null: g.pairs(denoise, null), remembering),
    "zero_star(noise)": (by(g.zero_star(FLOW)), None),
}


def main() -> None:
    """Measure, write the page, draw the pictures. What the page has on digits stays."""
    path = ROOT / "docs" / "guidance.md"
    _, here, digits = path.read_text().partition(DIGITS) if path.exists() else ("", "", "")
    page = [HEAD, *tilted(), TILTED, *every(), EVERY, *plus(), PLUS, *models(), MODELS, *cost(), END]
    path.write_text("\n".join(page) + DIGITS + (digits if here else "\n"))


def told(it: lab.GuidanceRow) -> list[str]:
    """What there is to say of z."""
    return [
        f"{it.mean:+.2f}",
        f"{it.deviation:.2f}",
        f"{it.class_deviation:.2f}",
        f"{it.modes:.2f} of {it.modes_tilted:.2f}",
    ]


def tilted() -> Iterator[str]:
    """cfg on the line, by an ODE and by an SDE, against scale and steps."""
    yield from head("steps by", "w", *SIGNS, *(f"to tilted, {count} steps" for count in LONG))
    curves, drawn = {}, {}
    for name, step in (("ddim", dj.steps.ddim()), ("posterior", dj.steps.posterior())):
        rows = lab.guidance_report(g.cfg, scales=FINE, steps=LONG, noise=FLOW, step=step).rows
        for w in SCALES:
            far = {it.steps: it for it in rows if it.scale == w}
            yield row(f"`{name}`", f"{w:g}", *told(far[LONG[-1]]), *(f"{far[n].wasserstein:.3f}" for n in LONG))
        curves[name] = {n: [it.wasserstein for it in rows if it.steps == n] for n in LONG}
        drawn[name] = {w: line(g.cfg, w, step, LONG[-1], 1)[0] for w in (1.5, 2.0, 4.0)}
    pictures.densities(drawn, PICTURES / "guidance_tilted.png")
    pictures.curves(FINE, curves, PICTURES / "guidance_steps.png")


def line(make: Callable, w: float, step: Any, steps: int, dimensions: int) -> np.ndarray:
    """z and b of what is drawn."""
    known, null = (
        lab.class_denoiser(FLOW, lab.TWO_CLASSES, dimensions),
        jnp.asarray(len(lab.TWO_CLASSES.laws), jnp.int32),
    )
    grid = dj.grids.uniform(FLOW, steps)
    return pattern_strengths(draw(make(known, w, null), step or dj.steps.ddim(), grid, w, dimensions=dimensions, **AT))


def every() -> Iterator[str]:
    """Each guidance at each scale, on pictures of four numbers."""
    yield from head("guidance", "w", *SIGNS, "to tilted", "to tilted, 10 steps", "to class", "aside")
    drawn, found = {"no guidance, w = 1": line(g.cfg, 1.0, None, STEPS[-1], NUMBERS)}, {}
    for name, (make, step) in GUIDANCES.items():
        rows = lab.guidance_report(make, scales=SCALES, steps=STEPS, noise=FLOW, step=step, dimensions=NUMBERS).rows
        few, many = ([it for it in rows if it.steps == steps] for steps in STEPS)
        for short, it in zip(few, many, strict=True):
            far = (it.wasserstein, short.wasserstein, it.to_class, it.aside)
            if it.scale > 1 or name == "cfg":
                yield row(f"`{name}`", f"{it.scale:g}", *told(it), *(f"{value:.2f}" for value in far))
        found[name], drawn[f"{name}, w = {SHOWN:g}"] = many, line(make, SHOWN, step, STEPS[-1], NUMBERS)
    drawn["plus_plus(0.2)"] = line(plus_plus(STEPS[-1]), 0.2, None, STEPS[-1], NUMBERS)
    pictures.trade(found, PICTURES / "guidance_trade.png")
    pictures.planes(drawn, SHOWN, PICTURES / "guidance_every.png")


def plus_plus(steps: int) -> Callable:
    """CFG++ on the even grid of so many steps."""
    grid = dj.grids.uniform(FLOW, steps)
    return lambda denoise, strength, null: g.cfg(denoise, g.plus_plus(strength, FLOW, grid), null)


def plus() -> Iterator[str]:
    """CFG++: to which scale of the tilted law each strength comes nearest, in more and more steps."""
    yield from head("strength", *(f"nearest w, {steps} steps" for steps in LONG), *(f"kept, {n} steps" for n in LONG))
    for strength in STRENGTHS:
        found = [line(plus_plus(steps), strength, None, steps, 1)[0] for steps in LONG]
        spread = lab.TWO_CLASSES.laws[0].moments()[1]
        kept = [f"{z.std() / spread:.2f}" for z in found]
        yield row(strength, *(f"{nearest(z):g}" for z in found), *kept)


def nearest(z: np.ndarray) -> float:
    """The scale, in quarters, whose tilted law is nearest."""
    scales = np.arange(0, 8.25, 0.25)
    far = [
        np.mean(np.abs(np.sort(z) - lab.tilted_density(lab.TWO_CLASSES, 0, float(w)).quantiles(len(z)))) for w in scales
    ]
    return float(scales[int(np.argmin(far))])


def models() -> Iterator[str]:
    """A model that errs, guided by its own null condition and by a weaker model."""
    yield from head("guidance", "w", "kept", "modes", "to class")
    model = lab.TWO_CLASSES.widen(1.4)
    weak = lab.class_denoiser(FLOW, lab.TWO_CLASSES.widen(2.0))
    makes = {"cfg": g.cfg, "autoguidance": lambda denoise, w, null: g.autoguidance(denoise, weak, w)}
    for name, make in makes.items():
        scales = (1.0, 1.5, 2.0, 3.0) if name == "autoguidance" else (1.0, 1.5, 2.0)
        for it in lab.guidance_report(make, scales=scales, steps=STEPS[-1:], noise=FLOW, model=model).rows:
            yield row(
                f"`{name}`", f"{it.scale:g}", f"{it.class_deviation:.2f}", f"{it.modes:.2f}", f"{it.to_class:.3f}"
            )


def cost() -> Iterator[str]:
    """A guided step over a plain step of twice the batch, in turns."""
    yield from head("guided step", "time over that of a plain step of twice the batch, median", "limit")
    net = dj.nets.DiT(patch=1, width=96, depth=3, classes=4)
    x, t = jax.random.normal(jax.random.key(0), (2 * BATCH, 8, 8, 1)), jnp.full((2 * BATCH, 1, 1, 1), 0.5)
    cond = jnp.arange(2 * BATCH) % 4
    denoise = dj.denoiser(FLOW, net, jax.jit(net.init)(jax.random.key(1), x, t, cond))
    plain = stepped(denoise, x, t, cond)
    guided = {
        "`cfg`": g.cfg(denoise, 2.0, net.null_cond),
        "`cfg`, `apg()`": g.cfg(denoise, 2.0, net.null_cond, rule=g.apg()),
        "`interval`, inside": g.cfg(denoise, g.interval(2.0, 0.2, 0.7), net.null_cond),
        "`interval`, outside": g.cfg(denoise, g.interval(2.0, 0.6, 0.7), net.null_cond),
        "`cfg`, `calls=2`": g.cfg(denoise, 2.0, net.null_cond, calls=2),
    }
    ways = [plain, *(stepped(each, x[:BATCH], t[:BATCH], cond[:BATCH]) for each in guided.values())]
    rounds = np.array([in_turn(ways, turn) for turn in range(ROUNDS + 2)])[2:]
    for name, ratio in zip(guided, np.median(rounds[:, 1:] / rounds[:, :1], axis=0), strict=True):
        yield row(name, f"{ratio:.3f}", "" if "calls" in name else 1.05)


def stepped(denoise: Any, x: jax.Array, t: jax.Array, cond: jax.Array) -> Callable[[], jax.Array]:
    """One compiled step of ddim, from t = 0.5 to 0.4."""
    step, keys = dj.steps.ddim(), dj.keys(0, len(x))

    @jax.jit
    def call(denoise: Any, x: jax.Array, cond: jax.Array) -> jax.Array:
        return step.update(keys, FLOW, lambda x, t: denoise(x, t, cond), x, t, t - 0.1, None)[0]

    return lambda: call(denoise, x, cond)


def in_turn(ways: list[Callable[[], jax.Array]], turn: int) -> list[float]:
    """The processor's seconds of each, which other work leaves alone; each round begins with another."""
    found = {}
    for i in ((i + turn) % len(ways) for i in range(len(ways))):
        begun = time.process_time()
        jax.block_until_ready(ways[i]())
        found[i] = time.process_time() - begun
    return [found[i] for i in range(len(ways))]


if __name__ == "__main__":
    main()
