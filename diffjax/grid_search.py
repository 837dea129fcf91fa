"""The best grid for a net: its stops are chosen from many candidates by dynamic programming, then moved."""

from collections.abc import Callable
from itertools import pairwise, product
from typing import Any, NamedTuple

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

__all__ = ["optimise"]

Grid = Float[Array, " _"]
Values = Float[Array, "b *shape"]
Path = Float[Array, "stops b *shape"]
Costs = Real[np.ndarray, "stops stops"]
_FINE = 4  # steps of the reference from one candidate to the next
_CLEANEST = 11.0
_NOISIEST = -9.0  # log-SNRs between which candidates are also spread evenly


class StepContext(NamedTuple):
    """All the arrays that a step is given and that stay the same."""

    denoise: Any
    cond: PyTree
    keys: Keys


def optimise(
    noise: Noise,
    denoise: Denoise,
    x: Values,
    steps: int,
    *,
    cond: PyTree = None,
    step: Step | None = None,
    candidates: int | Grid = 64,
    rounds: int = 20,
    seed: int = 0,
) -> Grid:
    """The grid of so many steps, [steps + 1], on which a deterministic rule ends nearest to the exact ODE from data x.

    The least sum of the rule's local errors over all paths through the candidates, by dynamic programming (over terms
    of the variational bound in Watson et al. 2021, "Learning to efficiently sample from diffusion probabilistic
    models"; over local errors in Chen et al. 2024, "On the trajectory regularity of ODE-based diffusion sampling";
    Sabour et al. 2024, "Align your steps", descend on a bound of the whole). Then up to `rounds` rounds of descent on
    the error at the end itself: errors cancel or grow on their way, and a rule has memory, of which the sum knows
    nothing. rounds=0 is dynamic programming alone.

    `x` is a batch of data, destroyed to the first candidate with keys of `seed`; `step` is ddim() by default.
    `candidates` are that many stops between 1 and 0, or falling clock values of which the ends are kept.
    """
    step = step or ddim()
    _check_rule(noise, step)
    stops = jnp.asarray(_candidate_stops(noise, candidates) if isinstance(candidates, int) else candidates, x.dtype)
    _check_stops(np.asarray(stops), steps)
    context = StepContext(checked_denoiser(noise, denoise), cond, keys(seed, len(x)))
    path = reference_path(noise, context, jax.vmap(noise.corrupt, (0, 0, None))(context.keys, x, stops[0])[0], stops)

    def miss(path_indices: list[int]) -> float:
        return float(
            jnp.sqrt(
                jnp.mean((_final_state(noise, context, step, path[0], stops[np.array(path_indices)]) - path[-1]) ** 2)
            )
        )

    first = shortest_path(jump_errors(noise, context, step, path, stops), steps)
    return stops[np.array(coordinate_descent(miss, first, len(stops), rounds))]


def shortest_path(cost: Costs, steps: int) -> list[int]:
    """The `steps` moves from the first stop to the last, i to j > i at cost[i, j] each, of least sum (Bellman)."""
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
    """The path with an inner stop, or all inner stops from one on, moved as long as it misses by less.

    The moves start at a sixteenth of all stops and are halved where none helps.
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


def reference_path(noise: Any, context: StepContext, x: Values, stops: Grid) -> Path:
    """x at every stop, by many small steps of heun."""
    path = [x]
    rule = heun()
    for t, s in pairwise(stops):
        between = jnp.linspace(t, s, _FINE + 1)
        for u, v in pairwise(between):
            x, _ = _take_step(context, x, u, v, None, (), noise=noise, step=rule)
        path.append(x)
    return jnp.stack(path)


def jump_errors(noise: Any, context: StepContext, step: Step, path: Path, stops: Grid) -> Costs:
    """By how much a step from stop i of the path misses its stop j, root mean square on the circle; memory is empty.

    Divided by √(alpha² + sigma²), so that no scaling of x changes a cost. The sum of such costs bounds the root mean
    square of the sum of the errors.

    Errors carried on to the end by the exact flow cost far more evaluations. For ddim they were worse to add on
    mixtures, where the few examples thrown from one mode to another outweigh all others, and better on a digits net.
    """
    rows = [_step_errors(context, path[i], t, path, stops, noise=noise, step=step) for i, t in enumerate(stops[:-1])]
    return np.asarray([*rows, np.full(len(stops), np.inf)], np.float64)


def _final_state(noise: Any, context: StepContext, step: Step, x: Values, grid: Grid) -> Values:
    """Where the rule ends on this grid: a host loop, so that a net of convolutions is not in a compiled one."""
    carry = step.init(x)
    rows = _step_coefficients(grid, noise=noise, step=step)
    for k, (t, s) in enumerate(pairwise(grid)):
        row = jax.tree.map(lambda row, k=k: row[k], rows)
        x, carry = _take_step(context, x, t, s, carry, row, noise=noise, step=step)
    return x


@closure_jit(static_argnames=("noise", "step"))
def _step_coefficients(grid: Grid, *, noise: Any, step: Any) -> tuple:
    """What the rule plans of the grid, as the arguments that `update` takes more."""
    return () if step.plan is None else (step.plan(noise, grid),)


@closure_jit(static_argnames=("noise", "step"))
def _take_step(
    context: StepContext, x: Values, t: Array, s: Array, carry: Any, row: tuple, *, noise: Any, step: Any
) -> tuple[Values, Any]:
    """One step of the rule."""
    level, ahead = (jnp.full((len(x),) + (1,) * (x.ndim - 1), clock) for clock in (t, s))
    return step.update(
        context.keys, noise, lambda x, t: context.denoise(x, t, context.cond), x, level, ahead, carry, *row
    )


@closure_jit(static_argnames=("noise", "step"))
def _step_errors(context: StepContext, x: Values, t: Array, path: Path, stops: Grid, *, noise: Any, step: Any) -> Array:
    """The cost of the step from t to every stop: one program for all t, in which what all share is computed once."""

    def step_error(s: Array, target: Values) -> Array:
        rows = _step_coefficients(jnp.stack([t, s]), noise=noise, step=step)
        row = jax.tree.map(lambda row: row[0], rows)
        x_s, _ = _take_step(context, x, t, s, step.init(x), row, noise=noise, step=step)
        m = noise.coefficients(s)
        return jnp.sqrt(jnp.mean((x_s - target) ** 2) / (m.alpha**2 + m.sigma**2))

    return jnp.where(stops < t, jax.vmap(step_error)(jnp.minimum(stops, t), path), jnp.inf)


def _candidate_stops(noise: Any, count: int) -> Grid:
    """Stops from 1 to 0: half of them evenly in the angle of the circle, half evenly in the log-SNR."""
    if count < 2:
        raise UserError(f"candidates: expected at least 2, got {count}")
    angle = jnp.pi / 2 * noise.level(jnp.ones(())) * jnp.linspace(1.0, 0.0, count // 2 + 1)[1:-1]
    low = jnp.maximum(_NOISIEST, noise.log_snr(jnp.ones(())))
    even = jnp.linspace(low, _CLEANEST, count - count // 2)[1:]
    inner = noise.time(jnp.concatenate([2 * jnp.log(jnp.cos(angle) / jnp.sin(angle)), even]))
    return jnp.unique(jnp.concatenate([inner, jnp.array([0.0, 1.0])]))[::-1]


def _check_rule(noise: Any, step: Step) -> None:
    """Raise UserError where there is no exact end to come near to."""
    if step.stochastic:
        raise UserError(f"step: {step.name} is stochastic, and only a deterministic rule has an error to make small")
    if not isinstance(noise, GaussianNoise) or not isinstance(noise, step.needs):
        raise UserError(
            f"noise: optimise needs Gaussian noise, got {type(noise).__name__} and {step.name}; use Gaussian"
        )


def _check_stops(stops: np.ndarray, steps: int) -> None:
    """Raise UserError where no grid of so many steps can be chosen from these stops."""
    if stops.ndim != 1 or len(stops) < 2 or not np.all(np.diff(stops) < 0) or stops[0] > 1 or stops[-1] < 0:
        raise UserError("candidates: expected clock values in [0, 1], strictly falling, noisiest first")
    if not 1 <= steps < len(stops):
        raise UserError(f"steps: expected 1 to {len(stops) - 1}, one fewer than there are candidates, got {steps}")
