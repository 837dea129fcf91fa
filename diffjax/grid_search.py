"""The best grid for a net: its stops are chosen from many candidates by dynamic programming, then moved."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, Real

from diffjax.denoising import checked_denoiser
from diffjax.errors import UserError
from diffjax.protocols import Denoise, GaussianNoise, Keys, Noise, Step
from diffjax.steps import ddim, heun
from diffjax.utils.closures import closure_jit
from diffjax.utils.prng import keys

__all__ = ["Search", "optimise"]

Grid = Float[Array, " _"]
Values = Float[Array, "b *shape"]
Path = Float[Array, "stops b *shape"]
Costs = Real[np.ndarray, "stops stops"]
_FINE = 4  # steps of the reference from one candidate to the next
_CLEANEST = 11.0
_NOISIEST = -9.0  # log-SNRs between which candidates are also spread evenly


class StepContext(NamedTuple):
    """The arrays that stay the same in all steps."""

    denoise: Denoise
    cond: PyTree
    keys: Keys


@dataclass(frozen=True)
class NoiseRule:
    """A step rule and the noise that it serves, for which programs are compiled."""

    noise: GaussianNoise
    step: Step


@dataclass(frozen=True)
class Search:
    """The settings of a search.

    `candidates`: their number, from 1 to 0, or falling clock values, of which the ends are kept.
    `rounds`: at most so many rounds of descent; 0 is dynamic programming alone.
    `seed`: that of the noise.
    """

    candidates: int | Grid = 64
    rounds: int = 20
    seed: int = 0


_DEFAULT_SEARCH = Search()


def optimise(
    noise: Noise,
    denoise: Denoise,
    x: Values,
    steps: int,
    *,
    cond: PyTree = None,
    step: Step | None = None,
    search: Search = _DEFAULT_SEARCH,
) -> Grid:
    """The grid of `steps` steps, [steps + 1], on which a deterministic rule ends nearest to the exact ODE from data x.

    Dynamic programming finds the path through the candidates with the least sum of the rule's local errors (over terms
    of the variational bound in Watson et al. 2021, "Learning to efficiently sample from diffusion probabilistic
    models"; over local errors in Chen et al. 2024, "On the trajectory regularity of ODE-based diffusion sampling";
    Sabour et al. 2024, "Align your steps", descend on a bound of the whole). Coordinate descent then lowers the error
    at the end itself, since errors cancel or grow on the way, and a rule with memory has other errors than its first
    step.

    `x` is a batch of data, corrupted to the first candidate with keys of `search.seed`; `step` is ddim() by default.
    Raises UserError for a rule or noise that does not fit, and for candidates that no such grid can be chosen from.
    """
    rule = _checked_rule(noise, ddim() if step is None else step)
    candidates = search.candidates
    stops = jnp.asarray(_even_stops(rule.noise, candidates) if isinstance(candidates, int) else candidates, x.dtype)
    _check_stops(np.asarray(stops), steps)
    context = StepContext(checked_denoiser(noise, denoise), cond, keys(search.seed, len(x)))
    noisiest, _ = jax.vmap(noise.corrupt, (0, 0, None))(context.keys, x, stops[0])
    path = reference_path(rule.noise, context, noisiest, stops)

    def miss(path_indices: list[int]) -> float:
        end = _final_state(rule, context, path[0], stops[np.array(path_indices)])
        return float(jnp.sqrt(jnp.mean((end - path[-1]) ** 2)))

    first = shortest_path(jump_errors(rule, context, path, stops), steps)
    return stops[np.array(coordinate_descent(miss, first, len(stops), search.rounds))]


def shortest_path(cost: Costs, steps: int) -> list[int]:
    """The path of `steps` moves from the first stop to the last, i to j > i at cost[i, j], of least sum (Bellman)."""
    step_cost = np.where(np.triu(np.ones_like(cost, bool), 1), cost, np.inf)
    best = step_cost[0]
    before = []
    for _ in range(steps - 1):
        sums = best[:, None] + step_cost
        before.append(np.argmin(sums, axis=0))
        best = np.min(sums, axis=0)
    path = [len(cost) - 1]
    for previous in reversed(before):
        path.append(int(previous[path[-1]]))
    return [0, *reversed(path)]


def coordinate_descent(miss: Callable[[list[int]], float], path: list[int], count: int, rounds: int) -> list[int]:
    """The path after moves of one inner stop, or of all inner stops from one on, that lower the error `miss(path)`.

    A move is by a sixteenth of all stops at first, and by half as many after a round without improvement.
    """
    best = miss(path) if rounds else np.inf
    stride = max(count // 16, 1)
    end = len(path) - 1
    for _ in range(rounds):
        before = best
        for k, last, by in product(range(1, end), (False, True), (-stride, stride)):
            upto = end if last else k + 1
            candidate = [*path[:k], *(stop + by for stop in path[k:upto]), *path[upto:]]
            if all(a < b for a, b in pairwise(candidate)) and (error := miss(candidate)) < best:
                path = candidate
                best = error
        if best == before and stride == 1:
            break
        stride = stride if best < before else stride // 2
    return path


def reference_path(noise: GaussianNoise, context: StepContext, x: Values, stops: Grid) -> Path:
    """x at every stop, by many small steps of heun."""
    rule = NoiseRule(noise, heun())
    path = [x]
    for t, s in pairwise(stops):
        for u, v in pairwise(jnp.linspace(t, s, _FINE + 1)):
            x, _ = _take_step(context, x, u, v, None, (), rule=rule)
        path.append(x)
    return jnp.stack(path)


def jump_errors(rule: NoiseRule, context: StepContext, path: Path, stops: Grid) -> Costs:
    """The error of one step from stop i of the path to its stop j, root mean square on the circle; without memory.

    Divided by √(alpha² + sigma²), so that no scaling of x changes a cost. The sum of such costs bounds the root mean
    square of the sum of the errors.

    Errors carried on to the end by the exact flow cost far more evaluations. For ddim they were worse to add on
    mixtures, where the few examples that move from one mode to another outweigh all others, and better on a digits net.
    """
    rows = [_step_errors(context, path[i], t, path, stops, rule=rule) for i, t in enumerate(stops[:-1])]
    return np.asarray([*rows, np.full(len(stops), np.inf)], np.float64)


def _final_state(rule: NoiseRule, context: StepContext, x: Values, grid: Grid) -> Values:
    """Where the rule ends on this grid: a host loop, so that a net of convolutions is not in a compiled one."""
    carry = rule.step.init(x)
    rows = _plan_rows(grid, rule=rule)
    for k, (t, s) in enumerate(pairwise(grid)):
        row = jax.tree.map(lambda row, k=k: row[k], rows)
        x, carry = _take_step(context, x, t, s, carry, row, rule=rule)
    return x


@closure_jit(static_argnames="rule")
def _plan_rows(grid: Grid, *, rule: NoiseRule) -> tuple[PyTree, ...]:
    """The rule's coefficients for the grid, as the further arguments of `update`; none for a rule without a plan."""
    return () if rule.step.plan is None else (rule.step.plan(rule.noise, grid),)


@closure_jit(static_argnames="rule")
def _take_step(
    context: StepContext, x: Values, t: Array, s: Array, carry: PyTree, row: tuple[PyTree, ...], *, rule: NoiseRule
) -> tuple[Values, PyTree]:
    """One step of the rule from clock value t to s."""

    def denoise(x: Values, t: Array) -> PyTree:
        return context.denoise(x, t, context.cond)

    level, next_level = (jnp.full((len(x),) + (1,) * (x.ndim - 1), clock) for clock in (t, s))
    return rule.step.update(context.keys, rule.noise, denoise, x, level, next_level, carry, *row)


@closure_jit(static_argnames="rule")
def _step_errors(context: StepContext, x: Values, t: Array, path: Path, stops: Grid, *, rule: NoiseRule) -> Array:
    """The cost of the step from t to every stop: one program for all t, which computes shared values once."""

    def step_error(s: Array, target: Values) -> Array:
        rows = _plan_rows(jnp.stack([t, s]), rule=rule)
        row = jax.tree.map(lambda row: row[0], rows)
        x_s, _ = _take_step(context, x, t, s, rule.step.init(x), row, rule=rule)
        m = rule.noise.coefficients(s)
        return jnp.sqrt(jnp.mean((x_s - target) ** 2) / (m.alpha**2 + m.sigma**2))

    return jnp.where(stops < t, jax.vmap(step_error)(jnp.minimum(stops, t), path), jnp.inf)


def _even_stops(noise: GaussianNoise, count: int) -> Grid:
    """Stops from 1 to 0: half of them evenly in the angle of the circle, half evenly in the log-SNR."""
    if count < 2:
        raise UserError(f"candidates: expected at least 2, got {count}")
    noisiest = noise.coefficients(jnp.ones(()))
    angle = jnp.arctan2(noisiest.sigma, noisiest.alpha) * jnp.linspace(1.0, 0.0, count // 2 + 1)[1:-1]
    low = jnp.maximum(_NOISIEST, noise.log_snr(jnp.ones(())))
    even = jnp.linspace(low, _CLEANEST, count - count // 2)[1:]
    inner = noise.time(jnp.concatenate([2 * jnp.log(jnp.cos(angle) / jnp.sin(angle)), even]))
    return jnp.unique(jnp.concatenate([inner, jnp.array([0.0, 1.0])]))[::-1]


def _checked_rule(noise: Noise, step: Step) -> NoiseRule:
    """The rule with its noise. Raises UserError for a stochastic rule, which has no exact end, and for other noise."""
    if step.stochastic:
        raise UserError(f"step: {step.name} is stochastic, and only a deterministic rule has an error to make small")
    if not isinstance(noise, GaussianNoise) or not isinstance(noise, step.needs):
        raise UserError(
            f"noise: optimise needs Gaussian noise, got {type(noise).__name__} and {step.name}; use Gaussian"
        )
    return NoiseRule(noise, step)


def _check_stops(stops: np.ndarray, steps: int) -> None:
    """Raise UserError where no grid of so many steps can be chosen from these stops."""
    if stops.ndim != 1 or len(stops) < 2 or not np.all(np.diff(stops) < 0) or stops[0] > 1 or stops[-1] < 0:
        raise UserError("candidates: expected clock values in [0, 1], strictly falling, noisiest first")
    if not 1 <= steps < len(stops):
        raise UserError(f"steps: expected 1 to {len(stops) - 1}, one fewer than there are candidates, got {steps}")
