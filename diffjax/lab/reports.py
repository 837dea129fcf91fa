"""The report of a step rule: all measurements of the laboratory, and the problems that they reveal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan

from diffjax import grids, predict, schedule
from diffjax.errors import UserError
from diffjax.lab.convergence import BUDGETS, COUNTS, INTERVAL, error_by_nfe, slope
from diffjax.lab.distribution_checks import MAX_BIAS, DistributionCheck, GridMaker, compare_distribution
from diffjax.lab.robustness import SCHEDULES, STEP_COUNTS, nonfinite_cases, overhead
from diffjax.noise import Gaussian
from diffjax.protocols import Schedule, Step

ORDER_TOLERANCE = 0.15  # of a measured order below the claimed one
MIN_ORDER = 0.5  # below it a rule does not converge
SMALL_ERROR = 0.01  # standard deviations: a rule of adaptive steps may be this accurate at every number of steps


@dataclass(frozen=True)
class ReportPlan:
    """What `report` measures.

    The order of accuracy over `counts` steps across the clock interval; the error at each NFE of `budgets` on `grid`,
    and, of a stochastic rule, the distribution of `draws`; finiteness at each of `step_counts` under all `schedules`;
    the overhead over `rounds` timings, 0 for none.
    """

    counts: Sequence[int] = COUNTS
    interval: tuple[float, float] = INTERVAL
    budgets: Sequence[int] = BUDGETS
    grid: GridMaker = grids.uniform
    draws: int = 20_000
    step_counts: Sequence[int] = STEP_COUNTS
    schedules: Mapping[str, Schedule] | None = None  # by default `lab.SCHEDULES`
    rounds: int = 5


@dataclass(frozen=True)
class Report:
    """The measurements of a step rule; `str` is a table.

    `order` is None for a stochastic rule and nan where all errors are rounding; `errors` are by NFE; `distribution` is
    of a stochastic rule; `nonfinite` are numbers of steps by schedule; `overhead` is None where it was not timed.
    """

    step: Step
    noise: Gaussian
    plan: ReportPlan
    order: float | None
    errors: dict[int, float]
    distribution: DistributionCheck | None
    nonfinite: dict[str, tuple[int, ...]]
    overhead: float | None

    @property
    def problems(self) -> tuple[str, ...]:
        """One sentence for each problem."""
        messages = [_order_problem(self.order, self.step.order, max(self.errors.values(), default=1.0))]
        if self.distribution is not None and not self.distribution.passed:
            messages.append("its draws have another distribution")
        messages += [f"not finite {case}" for case in self._nonfinite_cases()]
        return tuple(filter(None, messages))

    @property
    def passed(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    def __str__(self) -> str:
        where = f"{self.noise.schedule.__name__} and {self.noise.parameterization.name}"
        errors = ", ".join(f"{error:.2g} at {budget}" for budget, error in self.errors.items())
        rows = {
            self.step.name: f"evaluations a step: {self.step.evaluations}, under {where}",
            **self._order_rows(),
            "error": f"{errors} evaluations (hard mixture, t from 1 to 0)",
            "finite": self._finite_row(),
        }
        if self.overhead is not None:
            rows["overhead"] = f"{self.overhead:.3f} of bare denoiser calls"
        rows["problems"] = "; ".join(self.problems) or "none"
        width = max(map(len, rows))
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())

    def _order_rows(self) -> dict[str, str]:
        """The order of a deterministic rule, or the distribution of a stochastic one."""
        if self.order is not None:
            claim = "none" if self.step.order is None else self.step.order
            start, end = self.plan.interval
            steps = f"{', '.join(map(str, self.plan.counts))} steps, t from {start} to {end}"
            return {"order": f"{self.order:.2f}, claimed: {claim} ({steps})"}
        if self.distribution is None:
            return {}
        check = self.distribution
        limits = f"at most {MAX_BIAS} ({check.draws} draws, {check.steps} steps)"
        return {
            "mean": f"{check.mean:+.4f} standard deviations, {limits}",
            "deviation": f"{check.deviation:+.4f} of itself, {limits}",
            "Wasserstein": f"{check.wasserstein:.4f} standard deviations, at most {check.allowed:.4f} (99.9 % of exact "
            "draws)",
        }

    def _nonfinite_cases(self) -> list[str]:
        return [f"under {name} at N = {', '.join(map(str, ns))}" for name, ns in self.nonfinite.items() if ns]

    def _finite_row(self) -> str:
        cases = "; ".join(f"not {case}" for case in self._nonfinite_cases())
        counts = self.plan.step_counts
        return cases or f"{', '.join(self.nonfinite)} at {len(counts)} numbers of steps up to {max(counts, default=0)}"


def _order_problem(order: float | None, claimed: int | None, error: float) -> str:
    """An order below the claimed one or, where none is claimed, an error that neither falls nor is small."""
    if order is None:
        return ""
    if claimed is None:
        stays = order < MIN_ORDER and error > SMALL_ERROR
        return f"its error falls with order {order:.2f}: it does not converge" if stays else ""
    if isnan(order):
        return f"no order can be measured, and {claimed} is claimed"
    return "" if order >= claimed - ORDER_TOLERANCE else f"order {order:.2f}, and {claimed} is claimed"


def report(step: Step, noise: Gaussian | None = None, plan: ReportPlan | None = None) -> Report:
    """Measure a step rule under a noise, by default cosine and v, and list its problems. `print` it.

    Raises UserError where the rule does not serve the noise.
    """
    if not isinstance(step, Step):
        raise UserError(f"step: expected a step rule, such as dj.steps.ddim(), got {type(step).__name__}")
    noise = noise or Gaussian(schedule.cosine, predict.v)
    plan = plan or ReportPlan()
    _check_noise(step, noise)
    schedules = SCHEDULES if plan.schedules is None else plan.schedules
    finite = {"schedules": schedules, "parameterization": noise.parameterization, "grid": plan.grid}
    order = None if step.stochastic else slope(step, noise, counts=plan.counts, interval=plan.interval)
    sampled = compare_distribution(step, noise, draws=plan.draws, grid=plan.grid) if step.stochastic else None
    return Report(
        step,
        noise,
        plan,
        order,
        error_by_nfe(step, noise, budgets=plan.budgets, grid=plan.grid, draws=plan.draws),
        sampled,
        nonfinite_cases(step, plan.step_counts, **finite),
        overhead(step, noise, rounds=plan.rounds) if plan.rounds else None,
    )


def _check_noise(step: Step, noise: Gaussian) -> None:
    if not isinstance(noise, Gaussian):
        raise UserError(f"lab.report: noise must be dj.Gaussian(…), got {type(noise).__name__}")
    if not isinstance(noise, step.needs):
        raise UserError(f"lab.report: step must be a rule for Gaussian noise, and {step.name} is one for tokens")
