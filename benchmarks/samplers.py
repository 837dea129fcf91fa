"""Every step rule against exact answers: python benchmarks/samplers.py (about an hour on one core)

Writes docs/samplers.md (order claimed and measured, finiteness and error of every rule, schedule and prediction) and
docs/pictures/work_precision.png. Rules are those of `dj.steps` that serve Gaussian noise, made with their defaults and,
where a maker takes an order, with each that it takes.
"""

import inspect
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter
from tables import head, row

import diffjax as dj
from diffjax import lab

ROOT = Path(__file__).parents[1]
SCHEDULES = ("cosine", "flow", "linear_beta", "edm")
BETWEEN = {"cosine": (0.8, 0.2), "flow": (0.8, 0.2), "linear_beta": (0.35, 0.05), "edm": (0.5, 0.2)}  # clock values
ROWS = ("x0", "eps", "v", "velocity", "score", "edm")
COUNTS = (100, 200, 400)
BUDGETS = (5, 10, 20, 50)
HALVED = (25, 50, 100)
FINE = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
COSINE = dj.Gaussian(dj.schedule.cosine, dj.predict.v)
EVERY = range(1, 61)
SWEEP = f"{EVERY[0]} … {EVERY[-1]}"


def main() -> None:
    """Measure, write the page, draw the picture."""
    rules = dict(found())
    sure = {name: step for name, step in rules.items() if not step.stochastic}
    chance = {name: step for name, step in rules.items() if step.stochastic}
    page = [HEAD, *orders(sure), LAWS, *laws(chance), ERRORS, *errors(rules), FINITE, *finite(rules), PICTURE]
    (ROOT / "docs" / "samplers.md").write_text("\n".join(page))
    draw(sure, chance)


def found() -> Iterator[tuple[str, dj.Step]]:
    """The rules, by how they are made; those for tokens ask for what Gaussian noise does not have."""
    for name in dj.steps.__all__:
        maker = getattr(dj.steps, name)
        for given in choices(maker):
            try:
                step = maker(**given)
            except (dj.UserError, TypeError):  # an order that is not there, or something that has no default
                continue
            if isinstance(step, dj.Step) and isinstance(COSINE, step.needs):
                yield f"{name}({', '.join(f'{key}={value}' for key, value in given.items())})", step


def choices(maker: object) -> list[dict[str, int]]:
    """Arguments to try."""
    takes_order = callable(maker) and "order" in inspect.signature(maker).parameters
    return [{"order": order} for order in range(1, 6)] if takes_order else [{}]


def orders(rules: dict[str, dj.Step]) -> Iterator[str]:
    """A row for each rule and schedule, a column for each prediction."""
    yield from head("rule", "schedule", "evaluations a step", "claimed", *ROWS)
    for name, step in rules.items():
        for schedule in SCHEDULES:
            measured = [order(step, schedule, which) for which in ROWS]
            claimed = "none" if step.order is None else step.order
            yield row(f"`{name}`", schedule, step.evaluations, claimed, *measured)
        jax.clear_caches()  # a process can map only so many programs


def order(step: dj.Step, schedule: str, prediction: str) -> str:
    """As measured, in bold where it is less than what is claimed."""
    try:
        noise = dj.Gaussian(getattr(dj.schedule, schedule), getattr(dj.predict, prediction))
    except dj.UserError:  # says nothing of x0 at t = 1
        return ""
    slope = lab.slope(step, noise, counts=COUNTS, interval=BETWEEN[schedule])
    return bold(f"{slope:.2f}", step.order is not None and not slope >= step.order - 0.15)


def laws(rules: dict[str, dj.Step]) -> Iterator[str]:
    """A row for each rule and schedule."""
    coarse = [f"deviation, {steps} steps" for steps in HALVED]
    yield from head("rule", "schedule", *coarse, "deviation", "mean", "Wasserstein", "exact draws stay below")
    for name, step in rules.items():
        for schedule in SCHEDULES:
            noise = dj.Gaussian(getattr(dj.schedule, schedule), dj.predict.v)
            it, *others = [lab.compare_distribution(step, noise, steps=steps) for steps in (200, *HALVED)]
            biases = [f"{other.deviation:+.4f}" for other in others]
            numbers = [bold(f"{value:+.4f}", abs(value) > 0.02) for value in (it.deviation, it.mean)]
            far = bold(f"{it.wasserstein:.4f}", it.wasserstein > it.allowed)
            yield row(f"`{name}`", schedule, *biases, *numbers, far, f"{it.allowed:.4f}")
        jax.clear_caches()


def bold(told: str, wrong: bool) -> str:
    """Of what is not as it should be."""
    return f"**{told}**" if wrong else told


def errors(rules: dict[str, dj.Step]) -> Iterator[str]:
    """A row for each rule and schedule, a column for each budget."""
    yield from head("rule", "schedule", *(f"{budget} evaluations" for budget in BUDGETS))
    for name, step in rules.items():
        for schedule in SCHEDULES:
            noise = dj.Gaussian(getattr(dj.schedule, schedule), dj.predict.v)
            told = lab.error_by_nfe(step, noise, budgets=BUDGETS)
            yield row(f"`{name}`", schedule, *(f"{told[budget]:.3g}" for budget in BUDGETS))
        jax.clear_caches()


def finite(rules: dict[str, dj.Step]) -> Iterator[str]:
    """A row for each rule: where it is not finite."""
    yield from head("rule", *lab.SCHEDULES)
    for name, step in rules.items():
        fails = lab.nonfinite_cases(step, EVERY)
        told = ["not at " + ", ".join(map(str, fails[each])) if fails[each] else SWEEP for each in lab.SCHEDULES]
        yield row(f"`{name}`", *told)
        jax.clear_caches()


def draw(sure: dict[str, dj.Step], chance: dict[str, dj.Step]) -> None:
    """Error against evaluations, one line a rule: those that remember nothing, those that do, and stochastic ones."""
    matplotlib.use("Agg")
    figure, panes = plt.subplots(1, 3, figsize=(16, 5.5), layout="constrained")
    bare = {name: step for name, step in sure.items() if step.init(jnp.zeros(1)) is None}
    panes[1].sharey(panes[0])
    lines(panes[0], bare, "no memory: distance to the quantile map")
    lines(panes[1], {name: step for name, step in sure.items() if name not in bare}, "with memory: the same")
    lines(panes[2], chance, "stochastic: Wasserstein distance of 20,000 draws")
    panes[0].set_ylabel("error, in deviations of the data")
    panes[2].axhline(lab.critical_distance(lab.HARD, 20_000), color="black", lw=0.8, ls="--")
    figure.savefig(ROOT / "docs" / "pictures" / "work_precision.png", dpi=110)


def lines(pane: Axes, rules: dict[str, dj.Step], title: str) -> None:
    """One for each rule: its colour is the maker's, its marker says which of the maker's rules it is."""
    makers = list(dict.fromkeys(name.split("(")[0] for name in rules))
    for name, step in rules.items():
        each, maker = max(1, step.evaluations), name.split("(")[0]
        budgets = [budget for budget in FINE if budget >= each]
        told = lab.error_by_nfe(step, COSINE, budgets=budgets)
        jax.clear_caches()
        which = [other for other in rules if other.startswith(f"{maker}(")].index(name)
        style = {"marker": "osD^"[which], "ls": (":", "--", "-.", "-")[which] if len(rules) > len(makers) else "-"}
        spent = [budget // each * each for budget in budgets]
        pane.plot(spent, list(told.values()), color=f"C{makers.index(maker)}", ms=5, lw=1.3, label=name, **style)
    pane.set(xscale="log", yscale="log", title=title, xlabel="evaluations of the denoiser")
    pane.set_xticks(ticks := [4, 8, 16, 32, 64, 128], [str(tick) for tick in ticks])
    pane.xaxis.set_minor_locator(NullLocator())
    pane.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    pane.yaxis.set_major_formatter(StrMethodFormatter("{x:.3g}"))
    pane.yaxis.set_minor_formatter(NullFormatter())
    pane.grid(alpha=0.3)
    pane.legend(fontsize=8)


BETWEEN_TOLD = ", ".join(f"{name} from t = {first} to {last}" for name, (first, last) in BETWEEN.items())
HEAD = f"""# Step rules against exact answers

Written by `python benchmarks/samplers.py`; every number is measured by `dj.lab`, which takes any rule
(docs/extending.md). The data is a mixture of three Gaussians on a line, where the solution of the probability-flow ODE
is known: it keeps quantiles. The denoiser is exact, and takes the way of a net: it is read off the output that the
prediction asks for.

## Order of accuracy

The slope of log error over log steps, {", ".join(map(str, COUNTS))} even steps of the clock, in float64, on three modes
that overlap, from where the noise still knows the data, so that a start matters: {BETWEEN_TOLD}.
Bold: more than 0.15 below what is claimed. Where the terms of lowest order are small, as those of bh2 are, more is
measured: `unipc(order=3)` has 3.1 under cosine at 400, 800 and 1,600 steps. Empty: the prediction says nothing of x0
where alpha = 0, and is refused under that schedule.
"""
LAWS = """
## Stochastic rules

20,000 draws at 200 even steps from t = 1 to 0, prediction v: bias of mean and deviation, and mean distance of the
sorted draws to the exact quantiles, all in standard deviations; 99.9 % of 1,000 sets of as many exact draws stay below
the last column. Bold: a bias above 0.02, or a distance above that. Of as many draws chance alone leaves biases of about
0.007 and 0.005. Beside it the bias of the deviation at fewer steps: of a rule of first order it halves with the step.
"""
ERRORS = """
## Few evaluations

Three narrow modes of uneven weight and width, even steps from t = 1 to 0, prediction v; in standard deviations. Of
deterministic rules the root mean square distance to the quantile map, of stochastic ones the mean distance of 20,000
sorted draws to the exact quantiles, which are not to be compared with each other.
"""
FINITE = f"""
## Finite

Numbers of steps from t = 1 to 0 out of {SWEEP} at which x is finite, in float32, where alpha and sigma end at 0.
"""
PICTURE = """
## Work and precision

![error against evaluations](pictures/work_precision.png)

The three narrow modes, cosine, prediction v, even steps. Below the dashed line are 99.9 % of sets of exact draws.
"""

if __name__ == "__main__":
    main()
