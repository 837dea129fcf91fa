"""What each method of editing draws, against the exact law: python benchmarks/posteriors.py (half an hour, one core)

Publishes the tables of docs/posteriors.md, problem after problem (what is there already is not measured again), and
draws docs/pictures/posteriors_modes.png. Denoisers are exact, so every error is the method's own; `dj.lab.posteriors`
takes any other method as well.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from report import PICTURES, Table, figures_of, publish, table

import diffjax as dj
from diffjax import edit, lab

NOISE = dj.Gaussian(dj.schedule.cosine, dj.predict.v)
STEPS, DRAWS, OBSERVATIONS, PARTICLES = 200, 1000, 4, 1024
FILTERS = {2: 64, 4: 64, 16: 16}
TWISTED = f"twisted({PARTICLES})"
WAYS = {
    "clamp": edit.clamp(),
    TWISTED: edit.twisted(PARTICLES),
    "repaint": edit.repaint(10, 10),
    "pigdm": edit.pigdm(),
    "ddrm": edit.ddrm(),
    "ddnm": edit.ddnm(),
    "dps(0.1)": edit.dps(0.1),
    "dps(1)": edit.dps(1.0),
    "replacement": edit.replacement(),
}
PRIORS = {"normal": lab.correlated_gaussian, "three modes": lab.three_modes}
NUMBERS = (2, 4, 16)
SIGNS = ("mean", "cov.", "sliced", "90 %")
SHAPES = {2: (2, 1), 4: (2, 2, 1), 16: (4, 4, 1)}


def half(x: Any) -> edit.Observation:
    """The first half of the numbers is known."""
    count = x[0].size
    return edit.inpaint(x, (np.arange(count) < count // 2).reshape(x.shape[1:]), batched=True)


def means(x: Any) -> edit.Observation:
    """The means of blocks of two a side are known."""
    places = range(1, x.ndim - 1)
    cut = x.reshape(len(x), *(n for i in places for n in (x.shape[i] // 2, 2)), 1)
    return edit.downsampled(cut.mean(axis=tuple(2 * i for i in places)), 2, batched=True)


SEEN: dict[str, Callable] = {"mask": half, "block means": means}


def problems() -> list[tuple[str, str, int]]:
    """Prior, observation and how many numbers, in the order of the tables."""
    return [(prior, seen, count) for prior in PRIORS for seen in SEEN for count in NUMBERS]


def measured(prior: str, seen: str, count: int, ways: dict[str, Any]) -> lab.Posteriors:
    """These methods, on one problem."""
    task = lab.PosteriorTask(PRIORS[prior](count), SEEN[seen], SHAPES[count], OBSERVATIONS, DRAWS)
    return lab.posteriors(ways, task, noise=NOISE, steps=STEPS)


def found(prior: str, seen: str, count: int) -> dict[str, Any]:
    """All figures of one problem but those of particles."""
    ways = {name: way for name, way in WAYS.items() if name != TWISTED and (way.bases or seen == "mask")}
    it = measured(prior, seen, count, ways)
    rows = {name: list(fit) for name, fit in it.rows.items()}
    return {"rows": rows, "chance": list(it.chance), "allowed": list(it.allowed)}


def filtered(prior: str, seen: str, count: int) -> dict[str, Any]:
    """Of each observation as many draws as of other methods, from all particles of a few filters; how many matter."""
    numbers: list[Any] = []
    first = (np.arange(OBSERVATIONS)[:, None] * DRAWS + np.arange(FILTERS[count])).ravel()
    at = np.arange(OBSERVATIONS * DRAWS)
    rows = at // DRAWS * FILTERS[count] + at % FILTERS[count]

    def twisted(keys: Any, noise: Any, order: Any, denoise: Any, every: edit.Observation, *, grid: Any) -> Any:
        few = replace(every, values=every.values[first], std=every.std[first])
        it = edit.particles(keys[first], noise, order, denoise, few, grid=grid, count=PARTICLES)
        numbers.append(np.asarray(it.effective_sample_size))
        return it.x[rows, jax.vmap(jax.random.categorical)(keys, it.log_weights[rows])]

    fit = measured(prior, seen, count, {TWISTED: twisted}).rows[TWISTED]
    effective = [float(numbers[0].mean()), float(numbers[0].min(axis=1).mean())]
    return {"twisted": list(fit), "effective": effective, "filters": FILTERS[count]}


def main() -> None:
    """Measure what is missing, publish the tables, draw the picture."""
    figures = figures_of("posteriors") or {}
    for problem in problems():
        name = ", ".join(map(str, problem))
        if name not in figures or figures[name].get("filters") != FILTERS[problem[-1]]:
            figures[name] = {**(figures.get(name) or found(*problem)), **filtered(*problem)}
            publish("posteriors", tables(figures), figures)
    publish("posteriors", tables(figures), figures)
    pictured()


def tables(figures: dict[str, Any]) -> list[Table]:
    """All tables, a function of the figures."""
    return [*(fits(figures, prior, seen) for prior in PRIORS for seen in SEEN), filters(figures)]


def fit_of(figures: dict[str, Any], name: str) -> lab.Fit | None:
    """Of a method on one problem, if it serves it."""
    found = figures["twisted"] if name == TWISTED else figures["rows"].get(name)
    return found and lab.Fit(*found)


def fits(figures: dict[str, Any], prior: str, seen: str) -> Table:
    """A row for each method, the numbers side by side; in bold what no exact draws are beyond."""
    names = (f"{prior}, {seen}, {count}" for count in NUMBERS)
    every = {name: figures[name] for name in names if name in figures}
    rows = []
    for name in WAYS:
        pairs = [(fit_of(each, name), lab.Fit(*each["allowed"])) for each in every.values()]
        cells = [(not fit.beyond(allowed), value) for fit, allowed in pairs if fit for value in fit]
        if cells:
            rows.append((f"`{name}`", *(f"**{value:.2f}**" if exact else f"{value:.2f}" for exact, value in cells)))
    rows.append(("exact draws", *(f"{value:.2f}" for each in every.values() for value in each["chance"])))
    limits = ((i, value) for each in every.values() for i, value in enumerate(each["allowed"]))
    rows.append(("99.9 % of exact", *(f"{'± ' * (i == 3)}{value:.2f}" for i, value in limits)))
    columns = (f"{what}, {name.split(', ')[-1]}" for name in every for what in SIGNS)
    return table(f"{prior.capitalize()}, {seen}", ("method", *columns), rows)


def filters(figures: dict[str, Any]) -> Table:
    """How many of the particles are effective."""
    rows = [(name, *(f"{count:.0f}" for count in each["effective"]), each["filters"]) for name, each in figures.items()]
    columns = ("problem", f"effective of {PARTICLES}, mean over steps", "least", "filters for each observation")
    return table("Particles", columns, rows)


def pictured(draws: int = 300) -> None:
    """Two unknown numbers of four, drawn by each method, beside exact draws."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    law, known = lab.three_modes(4), np.arange(4) < 2
    seen = edit.inpaint(jnp.array([1.0, 1.0, 0.0, 0.0]), known)
    some, exact = dj.keys(0, draws), dj.oracles.posterior(*law, np.eye(4)[:2], np.ones(2), np.zeros((2, 2)))
    panels = {"exact draws": np.asarray(dj.oracles.draws(some, *exact))}
    for name, method in WAYS.items():
        given = (NOISE, dj.order.together, dj.oracles.mixture(NOISE, *law), seen)
        if name == TWISTED:
            it = edit.particles(some[:16], *given, steps=STEPS, count=PARTICLES)
            rows = np.arange(draws) % 16
            which = jax.vmap(jax.random.categorical)(some, it.log_weights[rows])
            panels[name] = np.asarray(it.x[rows, which])
        else:
            panels[name] = np.asarray(edit.solve(some, *given, method=method, steps=STEPS))
    figure, axes = pyplot.subplots(2, 5, figsize=(11, 4.8), sharex=True, sharey=True, layout="constrained")
    for axis, (name, x) in zip(axes.flat, panels.items(), strict=True):
        axis.scatter(x[:, 2], x[:, 3], s=4, alpha=0.5, color="black" if name == "exact draws" else "tab:blue")
        axis.set(title=name, xlim=(-2.2, 2.2), ylim=(-2.2, 2.2), aspect="equal")
    figure.savefig(PICTURES / "posteriors_modes.png", dpi=110)


if __name__ == "__main__":
    main()
