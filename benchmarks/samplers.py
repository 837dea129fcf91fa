"""Every step rule against exact answers: python benchmarks/samplers.py (about an hour on one core)

Order of accuracy, distribution, error at few evaluations and finiteness by rule, schedule and prediction, for
docs/samplers.md; draws docs/pictures/work_precision.png. The rules are those of `dj.steps` that serve Gaussian noise,
with their defaults and, where a maker takes an order, with each that it takes.
"""

import inspect
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter
from report import PICTURES, Table, publish, table

import diffjax as dj
from diffjax import lab

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
    """Measure, publish the tables, draw the picture."""
    rules = dict(rules_for_gaussian())
    deterministic = {name: step for name, step in rules.items() if not step.stochastic}
    stochastic = {name: step for name, step in rules.items() if step.stochastic}
    publish("samplers", [orders(deterministic), distributions(stochastic), errors(rules), finite(rules)])
    draw(deterministic, stochastic)


def rules_for_gaussian() -> Iterator[tuple[str, dj.Step]]:
    """The rules, by how they are made; those for tokens need what Gaussian noise does not have."""
    for name in dj.steps.__all__:
        maker = getattr(dj.steps, name)
        for arguments in choices(maker):
            try:
                step = maker(**arguments)
            except (dj.UserError, TypeError):  # an order that does not exist, or an argument without a default
                continue
            if isinstance(step, dj.Step) and isinstance(COSINE, step.needs):
                yield f"{name}({', '.join(f'{key}={value}' for key, value in arguments.items())})", step


def choices(maker: object) -> list[dict[str, int]]:
    """Arguments to try."""
    takes_order = callable(maker) and "order" in inspect.signature(maker).parameters
    return [{"order": order} for order in range(1, 6)] if takes_order else [{}]


def by_schedule(rules: dict[str, dj.Step]) -> Iterator[tuple[str, dj.Step, str, dj.Gaussian]]:
    """Each rule under each schedule."""
    for name, step in rules.items():
        for schedule in SCHEDULES:
            yield name, step, schedule, dj.Gaussian(getattr(dj.schedule, schedule), dj.predict.v)
        jax.clear_caches()  # a process can map only so many programs


def orders(rules: dict[str, dj.Step]) -> Table:
    """A row for each rule and schedule, a column for each prediction."""
    rows = (
        (
            f"`{name}`",
            schedule,
            step.evaluations,
            "none" if step.order is None else step.order,
            *(order(step, schedule, which) for which in ROWS),
        )
        for name, step, schedule, _ in by_schedule(rules)
    )
    return table("Order of accuracy", ("rule", "schedule", "evaluations a step", "claimed", *ROWS), rows)


def order(step: dj.Step, schedule: str, prediction: str) -> str:
    """As measured, in bold where it is less than what is claimed."""
    try:
        noise = dj.Gaussian(getattr(dj.schedule, schedule), getattr(dj.predict, prediction))
    except dj.UserError:  # says nothing of x0 at t = 1
        return ""
    slope = lab.slope(step, noise, counts=COUNTS, interval=BETWEEN[schedule])
    return bold(f"{slope:.2f}", step.order is not None and not slope >= step.order - 0.15)


def distributions(rules: dict[str, dj.Step]) -> Table:
    """Bias and distance of the draws of stochastic rules."""
    columns = ("deviation", "mean", "Wasserstein", "exact draws stay below")
    coarse = [f"deviation, {steps} steps" for steps in HALVED]
    rows = ([*distribution_row(name, step, schedule, noise)] for name, step, schedule, noise in by_schedule(rules))
    return table("Stochastic rules", ("rule", "schedule", *coarse, *columns), rows)


def distribution_row(name: str, step: dj.Step, schedule: str, noise: dj.Gaussian) -> Iterator[str]:
    """In bold what no exact draws are."""
    fine, *others = [lab.compare_distribution(step, noise, steps=steps) for steps in (200, *HALVED)]
    yield from (f"`{name}`", schedule, *(f"{other.deviation:+.4f}" for other in others))
    yield from (bold(f"{value:+.4f}", abs(value) > 0.02) for value in (fine.deviation, fine.mean))
    yield from (bold(f"{fine.wasserstein:.4f}", fine.wasserstein > fine.allowed), f"{fine.allowed:.4f}")


def bold(text: str, wrong: bool) -> str:
    """Of what is not as it should be."""
    return f"**{text}**" if wrong else text


def errors(rules: dict[str, dj.Step]) -> Table:
    """A row for each rule and schedule, a column for each budget."""
    rows = (
        (f"`{name}`", schedule, *(f"{error:.3g}" for error in lab.error_by_nfe(step, noise, budgets=BUDGETS).values()))
        for name, step, schedule, noise in by_schedule(rules)
    )
    return table("Few evaluations", ("rule", "schedule", *(f"{budget} evaluations" for budget in BUDGETS)), rows)


def finite(rules: dict[str, dj.Step]) -> Table:
    """A row for each rule: where it is not finite."""
    rows = ((f"`{name}`", *finite_cells(step)) for name, step in rules.items())
    return table("Finite", ("rule", *lab.SCHEDULES), rows)


def finite_cells(step: dj.Step) -> Iterator[str]:
    """By schedule, the numbers of steps at which x is not finite."""
    fails = lab.nonfinite_cases(step, EVERY)
    jax.clear_caches()
    yield from ("not at " + ", ".join(map(str, fails[each])) if fails[each] else SWEEP for each in lab.SCHEDULES)


def draw(deterministic: dict[str, dj.Step], stochastic: dict[str, dj.Step]) -> None:
    """Error against evaluations, one line a rule: without memory, with memory, stochastic."""
    matplotlib.use("Agg")
    figure, panes = plt.subplots(1, 3, figsize=(16, 5.5), layout="constrained")
    bare = {name: step for name, step in deterministic.items() if step.init(jnp.zeros(1)) is None}
    panes[1].sharey(panes[0])
    lines(panes[0], bare, "no memory: distance to the quantile map")
    lines(panes[1], {name: step for name, step in deterministic.items() if name not in bare}, "with memory: the same")
    lines(panes[2], stochastic, "stochastic: Wasserstein distance of 20,000 draws")
    panes[0].set_ylabel("error, in deviations of the data")
    panes[2].axhline(lab.critical_distance(lab.HARD, 20_000), color="black", lw=0.8, ls="--")
    figure.savefig(PICTURES / "work_precision.png", dpi=110)


def lines(pane: Axes, rules: dict[str, dj.Step], title: str) -> None:
    """One for each rule: its colour is the maker's, its marker says which of the maker's rules it is."""
    makers = list(dict.fromkeys(name.split("(")[0] for name in rules))
    for name, step in rules.items():
        each, maker = max(1, step.evaluations), name.split("(")[0]
        budgets = [budget for budget in FINE if budget >= each]
        found = lab.error_by_nfe(step, COSINE, budgets=budgets)
        jax.clear_caches()
        which = [other for other in rules if other.startswith(f"{maker}(")].index(name)
        style: Any = {"marker": "osD^"[which], "ls": (":", "--", "-.", "-")[which] if len(rules) > len(makers) else "-"}
        spent = [budget // each * each for budget in budgets]
        pane.plot(spent, list(found.values()), color=f"C{makers.index(maker)}", ms=5, lw=1.3, label=name, **style)
    pane.set(xscale="log", yscale="log", title=title, xlabel="evaluations of the denoiser")
    pane.set_xticks(ticks := [4, 8, 16, 32, 64, 128], [str(tick) for tick in ticks])
    pane.xaxis.set_minor_locator(NullLocator())
    pane.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    pane.yaxis.set_major_formatter(StrMethodFormatter("{x:.3g}"))
    pane.yaxis.set_minor_formatter(NullFormatter())
    pane.grid(alpha=0.3)
    pane.legend(fontsize=8)


if __name__ == "__main__":
    main()
