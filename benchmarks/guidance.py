"""What each guidance samples, against the law it is named after: python benchmarks/guidance.py (two minutes, one core)

For docs/guidance.md and docs/pictures/guidance_*.png. Denoisers are exact, so every error is the guidance's own;
`dj.lab.guidance_report` takes any other guidance as well.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import guidance_pictures as pictures
import jax
import jax.numpy as jnp
import numpy as np
from report import PICTURES, Table, publish, table, timed_in_turns

import diffjax as dj
from diffjax import guidance as g
from diffjax import lab
from diffjax.lab.guidance_checks import draw, pattern_strengths
from diffjax.lab.guidance_data import null_label

FLOW = dj.Gaussian(dj.schedule.flow, dj.predict.velocity)
SCALES, STEPS, LONG = (1.0, 1.5, 2.0, 4.0), (10, 40), (10, 40, 160)
FINE = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0)
NUMBERS, SHOWN = 4, 3.0
SIGNS = ("mean", "deviation", "kept", "modes")
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
    """Measure, publish the tables, draw the pictures."""
    publish("guidance", [tilted(), every(), plus(), models(), cost()])


def cells(it: lab.GuidanceRow) -> list[str]:
    """The four signs of z."""
    return [
        f"{it.mean:+.2f}",
        f"{it.deviation:.2f}",
        f"{it.class_deviation:.2f}",
        f"{it.modes:.2f} of {it.modes_tilted:.2f}",
    ]


def tilted() -> Table:
    """cfg on the line, by an ODE and by an SDE, against scale and steps."""
    curves: dict[str, dict[int, list[float]]] = {}
    drawn: dict[str, dict[float, np.ndarray]] = {}
    rules = {"ddim": dj.steps.ddim(), "posterior": dj.steps.posterior()}
    columns = ("steps by", "w", *SIGNS, *(f"to tilted, {count} steps" for count in LONG))
    measured = table("The tilted law", columns, tilted_rows(rules, curves))
    for name, step in rules.items():
        drawn[name] = {w: line(g.cfg, w, step, LONG[-1], 1)[0] for w in (1.5, 2.0, 4.0)}
    pictures.densities(drawn, PICTURES / "guidance_tilted.png")
    pictures.curves(FINE, curves, PICTURES / "guidance_steps.png")
    return measured


def tilted_rows(rules: dict[str, dj.Step], curves: dict[str, dict[int, list[float]]]) -> Iterator[list[str]]:
    """A row for each rule and scale; `curves` gets the distance to the tilted law of each."""
    for name, step in rules.items():
        rows = lab.guidance_report(g.cfg, scales=FINE, steps=LONG, noise=FLOW, step=step).rows
        curves[name] = {n: [it.wasserstein for it in rows if it.steps == n] for n in LONG}
        for w in SCALES:
            far = {it.steps: it for it in rows if it.scale == w}
            yield [f"`{name}`", f"{w:g}", *cells(far[LONG[-1]]), *(f"{far[n].wasserstein:.3f}" for n in LONG)]


def line(make: Callable, w: float, step: Any, steps: int, dimensions: int) -> np.ndarray:
    """z and b of what is drawn."""
    exact = lab.class_denoiser(FLOW, lab.TWO_CLASSES, dimensions)
    guided = make(exact, w, jnp.asarray(null_label(lab.TWO_CLASSES), jnp.int32))
    rule: Any = step(w) if callable(step) else step or dj.steps.ddim()
    task = lab.GuidanceTask(dimensions=dimensions)
    return pattern_strengths(draw(task, FLOW, guided, rule, dj.grids.uniform(FLOW, steps)))


def every() -> Table:
    """Each guidance at each scale, on images of four numbers."""
    drawn = {"no guidance, w = 1": line(g.cfg, 1.0, None, STEPS[-1], NUMBERS)}
    found: dict[str, list[lab.GuidanceRow]] = {}
    columns = ("guidance", "w", *SIGNS, "to tilted", "to tilted, 10 steps", "to class", "aside")
    measured = table("Each guidance", columns, every_rows(found))
    for name, (make, step) in GUIDANCES.items():
        drawn[f"{name}, w = {SHOWN:g}"] = line(make, SHOWN, step, STEPS[-1], NUMBERS)
    drawn["plus_plus(0.2)"] = line(plus_plus(STEPS[-1]), 0.2, None, STEPS[-1], NUMBERS)
    pictures.trade(found, PICTURES / "guidance_trade.png")
    pictures.planes(drawn, SHOWN, PICTURES / "guidance_every.png")
    return measured


def every_rows(found: dict[str, list[lab.GuidanceRow]]) -> Iterator[list[str]]:
    """A row for each guidance and scale; `found` gets those of the most steps."""
    for name, (make, step) in GUIDANCES.items():
        task = lab.GuidanceTask(dimensions=NUMBERS)
        rows = lab.guidance_report(make, task, scales=SCALES, steps=STEPS, noise=FLOW, step=step).rows
        few, found[name] = ([it for it in rows if it.steps == steps] for steps in STEPS)
        for short, it in zip(few, found[name], strict=True):
            far = (it.wasserstein, short.wasserstein, it.to_class, it.aside)
            if it.scale > 1 or name == "cfg":
                yield [f"`{name}`", f"{it.scale:g}", *cells(it), *(f"{value:.2f}" for value in far)]


def plus_plus(steps: int) -> Callable:
    """CFG++ on the even grid of so many steps."""
    grid = dj.grids.uniform(FLOW, steps)
    return lambda denoise, strength, null: g.cfg(denoise, g.plus_plus(strength, FLOW, grid), null)


def plus() -> Table:
    """CFG++: to which scale of the tilted law each strength comes nearest, in more and more steps."""
    spread, rows = lab.TWO_CLASSES.distributions[0].moments()[1], []
    for strength in STRENGTHS:
        found = [line(plus_plus(steps), strength, None, steps, 1)[0] for steps in LONG]
        rows.append([strength, *(f"{nearest(z):g}" for z in found), *(f"{z.std() / spread:.2f}" for z in found)])
    columns = (*(f"nearest w, {steps} steps" for steps in LONG), *(f"kept, {n} steps" for n in LONG))
    return table("CFG++", ("strength", *columns), rows)


def nearest(z: np.ndarray) -> float:
    """The scale, in quarters, whose tilted law is nearest."""
    scales = np.arange(0, 8.25, 0.25)
    far = [
        np.mean(np.abs(np.sort(z) - lab.tilted_density(lab.TWO_CLASSES, 0, float(w)).quantiles(len(z)))) for w in scales
    ]
    return float(scales[int(np.argmin(far))])


def models() -> Table:
    """A model that errs, guided by its own null condition and by a weaker model."""
    task, rows = lab.GuidanceTask(model=lab.TWO_CLASSES.widen(1.4)), []
    weak = lab.class_denoiser(FLOW, lab.TWO_CLASSES.widen(2.0))
    makes = {"cfg": g.cfg, "autoguidance": lambda denoise, w, null: g.autoguidance(denoise, weak, w)}
    for name, make in makes.items():
        scales = (1.0, 1.5, 2.0, 3.0) if name == "autoguidance" else (1.0, 1.5, 2.0)
        for it in lab.guidance_report(make, task, scales=scales, steps=STEPS[-1:], noise=FLOW).rows:
            numbers = (f"{it.class_deviation:.2f}", f"{it.modes:.2f}", f"{it.to_class:.3f}")
            rows.append([f"`{name}`", f"{it.scale:g}", *numbers])
    return table("Models that err", ("guidance", "w", "kept", "modes", "to class"), rows)


def cost() -> Table:
    """A guided step over a plain step of twice the batch, by processor time, which other work leaves alone."""
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
    rounds = timed_in_turns(ways, ROUNDS, time.process_time)
    ratios = np.median(rounds[:, 1:] / rounds[:, :1], axis=0)
    rows = ((name, f"{ratio:.3f}", "" if "calls" in name else 1.05) for name, ratio in zip(guided, ratios, strict=True))
    return table("Cost", ("guided step", "time over that of a plain step of twice the batch, median", "limit"), rows)


def stepped(denoise: Any, x: jax.Array, t: jax.Array, cond: jax.Array) -> Callable[[], jax.Array]:
    """One compiled step of ddim, from t = 0.5 to 0.4."""
    step, keys = dj.steps.ddim(), dj.keys(0, len(x))

    @jax.jit
    def call(denoise: Any, x: jax.Array, cond: jax.Array) -> jax.Array:
        return step.update(keys, FLOW, lambda x, t: denoise(x, t, cond), x, t, t - 0.1, None)[0]

    return lambda: call(denoise, x, cond)


if __name__ == "__main__":
    main()
