"""All that the laboratory measures of one rule, and what is wrong with it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan

from diffjax import grids, predict, schedule
from diffjax.arguments.checked import validate_arguments
from diffjax.errors import UserError
from diffjax.lab.convergence import BUDGETS, COUNTS, INTERVAL, error_by_nfe, slope
from diffjax.lab.distribution_checks import BIAS, DistributionCheck, GridMaker, compare_distribution
from diffjax.lab.robustness import SCHEDULES, STEP_COUNTS, nonfinite_cases, overhead
from diffjax.noise import Gaussian
from diffjax.protocols import Schedule, Step

CLOSE = 0.15  # of a measured order to the claimed one
FALLING = 0.5  # the least order that is one
SMALL = 0.01  # an error of a rule that chooses its own steps, in deviations


@dataclass(frozen=True)
class Report:
    """What was measured of a rule; `str` is the table, `problems` what it finds wrong, `passed` that it finds nothing.

    `order` is the slope over `counts` steps across `interval` (None if stochastic, nan where errors are rounding
    alone), `errors` belong to budgets of evaluations, `distribution` to a stochastic rule, `nonfinite` to schedules:
    numbers of steps out of `step_counts`. `overhead` is None where it was not timed.
    """

    step: Step
    noise: Gaussian
    counts: tuple[int, ...]
    interval: tuple[float, float]
    step_counts: tuple[int, ...]
    order: float | None
    errors: dict[int, float]
    distribution: DistributionCheck | None
    nonfinite: dict[str, tuple[int, ...]]
    overhead: float | None

    @property
    def problems(self) -> tuple[str, ...]:
        """One sentence for each thing that is wrong."""
        messages = [_order_problem(self.order, self.step.order, max(self.errors.values(), default=1.0))]
        messages.append("" if self.distribution is None or self.distribution.passed else "its draws are not of the law")
        messages += [
            f"not finite under {name} at N = {', '.join(map(str, counts))}"
            for name, counts in self.nonfinite.items()
            if counts
        ]
        return tuple(filter(None, messages))

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def __str__(self) -> str:
        where = f"{self.noise.schedule.__name__} and {self.noise.parameterization.name}"
        rows = {self.step.name: f"evaluations a step: {self.step.evaluations}, under {where}"}
        if self.order is not None:
            claim = "none" if self.step.order is None else self.step.order
            details = f"{', '.join(map(str, self.counts))} steps, t from {self.interval[0]} to {self.interval[1]}"
            rows["order"] = f"{self.order:.2f}, claimed: {claim} ({details})"
        if self.distribution is not None:
            rows |= _distribution_rows(self.distribution)
        errors = ", ".join(f"{error:.2g} at {budget}" for budget, error in self.errors.items())
        rows["error"] = f"{errors} evaluations (hard mixture, t from 1 to 0)"
        fails = {name: counts for name, counts in self.nonfinite.items() if counts}
        details = "; ".join(f"not under {name} at N = {', '.join(map(str, counts))}" for name, counts in fails.items())
        most_steps = max(self.step_counts, default=0)
        tried = f"{', '.join(self.nonfinite)} at {len(self.step_counts)} numbers of steps up to {most_steps}"
        rows["finite"] = details or tried
        if self.overhead is not None:
            rows["overhead"] = f"{self.overhead:.3f} of bare denoiser calls"
        rows["wrong"] = "; ".join(self.problems) or "nothing"
        width = max(map(len, rows))
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def _order_problem(order: float | None, claimed: int | None, error: float) -> str:
    """What is wrong with an order: to be lower than claimed; it is higher where terms of a lower order are small.

    Where none is claimed the error must fall, or be small from the start (adaptive).
    """
    if order is None:
        return ""
    if claimed is None:
        stays = order < FALLING and error > SMALL
        return f"its error falls with order {order:.2f}: it does not converge" if stays else ""
    if isnan(order):
        return f"no order can be measured, and {claimed} is claimed"
    return "" if order >= claimed - CLOSE else f"order {order:.2f}, and {claimed} is claimed"


def _distribution_rows(check: DistributionCheck) -> dict[str, str]:
    limits = f"at most {BIAS} ({check.draws} draws, {check.steps} steps)"
    return {
        "mean": f"{check.mean:+.4f} deviations, {limits}",
        "deviation": f"{check.deviation:+.4f} of itself, {limits}",
        "Wasserstein": f"{check.wasserstein:.4f} deviations, at most {check.allowed:.4f} (99.9 % of exact draws)",
    }


@validate_arguments
def report(
    step: Step,
    noise: Gaussian | None = None,
    *,
    counts: Sequence[int] = COUNTS,
    interval: tuple[float, float] = INTERVAL,
    budgets: Sequence[int] = BUDGETS,
    grid: GridMaker = grids.uniform,
    draws: int = 20_000,
    finite: Iterable[int] = STEP_COUNTS,
    schedules: Mapping[str, Schedule] = SCHEDULES,
    rounds: int = 5,
) -> Report:
    """Measure a rule, and say what is wrong with it. `print` it.

    Its order under the noise's schedule and row (by default cosine and v), over `counts` steps across `interval` of the
    clock, in float64; if stochastic, the law of so many `draws`. Its error on a hard mixture when the denoiser may be
    called as often as `budgets` say, on `grid`. Whether it stays finite at each number of steps in `finite`, under all
    `schedules`. Its cost, `rounds` times taken (0: not at all). Raises UserError where it cannot serve.
    """
    if step is None:
        raise UserError("step: expected a step rule, such as dj.steps.ddim(), got None")
    noise = noise or Gaussian(schedule.cosine, predict.v)
    _check(step, noise)
    sure, step_counts = not step.stochastic, tuple(finite)
    order = slope(step, noise, counts=counts, interval=interval) if sure else None
    errors = error_by_nfe(step, noise, budgets=budgets, grid=grid, draws=draws)
    distribution = None if sure else compare_distribution(step, noise, draws=draws, grid=grid)
    failed = nonfinite_cases(step, step_counts, schedules=schedules, parameterization=noise.parameterization, grid=grid)
    cost = overhead(step, noise, rounds=rounds) if rounds else None
    return Report(step, noise, tuple(counts), interval, step_counts, order, errors, distribution, failed, cost)


def _check(step: Step, noise: Gaussian) -> None:
    if not isinstance(noise, Gaussian) or not isinstance(noise, step.needs):
        needs = f"{step.name} needs a {step.needs.__name__}"
        raise UserError(f"lab.report: noise must be Gaussian, got {type(noise).__name__}; {needs}")
