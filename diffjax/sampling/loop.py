"""The sampling loop: the clock falls along a grid, and a step rule moves x between neighbouring levels.

`sample` is one compiled scan, `stepwise` a host loop over one compiled step; both run `sampling_step`, as
`cached.sample` and `blockwise.sample` do. `invert` climbs the grid instead.
"""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer, eval_context
from jaxtyping import Array, Float, PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import with_ranks
from diffjax.errors import UserError
from diffjax.order import Order, levels, ranks
from diffjax.protocols import Cond, Denoise, Hook, Keys, Level, Noise, NoiseAwareHook, Sample, Step
from diffjax.sampling.arguments import ClockStep, Grid, Inputs, Sampler, bind_inputs, validate_grid
from diffjax.steps import ddim, posterior
from diffjax.utils.closures import as_pytree, closure_jit
from diffjax.utils.memo import cache_hashable
from diffjax.utils.prng import KeyUse, fold
from diffjax.utils.shape_checks import require_like, require_shape

State = tuple[Sample, PyTree]  # x and the carry of the step rule
Ranks = Float[Array, "b ..."]


@validate_arguments
def sample(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    shape: tuple[int, ...],
    *,
    cond: Cond = None,
    steps: int = 50,
    grid: Grid | None = None,
    step: Step | None = None,
    start: Sample | None = None,
    hook: Hook | NoiseAwareHook | None = None,
) -> Sample:
    """One example per key, `[b, *shape]`, at the last level of the grid.

    `grid` holds strictly falling clock values, by default `steps` even steps from 1 to 0; the last may be repeated
    (`grids.pad_grid`), which changes nothing. `step` is ancestral sampling by default. `start` is the state at grid[0],
    by default drawn from the prior (then grid[0] must be 1). `hook` is called after each step, or is a measurement to
    condition on, such as `edit.inpaint(image, known)`. Example i depends on key i and on no other example. Raises
    UserError for a grid or a rule that does not fit the noise, the order or the denoiser.
    """
    sampler = Sampler(noise, order, step or posterior(), tuple(shape))
    grid = validate_grid(grid, steps, noise, order, denoise, sampler.step, start)
    inputs = bind_inputs(sampler, keys, denoise, cond, hook)
    return _scan(inputs, grid, step_coefficients(sampler.step, noise, grid), start, sampler=sampler)


@validate_arguments
def stepwise(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    shape: tuple[int, ...],
    *,
    cond: Cond = None,
    steps: int = 50,
    grid: Grid | None = None,
    step: Step | None = None,
    start: Sample | None = None,
    hook: Hook | NoiseAwareHook | None = None,
) -> Iterator[Sample]:
    """The states of `sample`, with its arguments, the start first: a host loop over one compiled step."""
    sampler = Sampler(noise, order, step or posterior(), tuple(shape))
    grid = validate_grid(grid, steps, noise, order, denoise, sampler.step, start)
    return _host_loop(sampler, bind_inputs(sampler, keys, denoise, cond, hook), grid, start)


@validate_arguments
def invert(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    x: Sample,
    *,
    cond: Cond = None,
    steps: int = 50,
    grid: Grid | None = None,
    step: Step | None = None,
) -> Sample:
    """The state at grid[0] from which a deterministic rule samples x at grid[-1] (DDIM inversion).

    The arguments are those of `sample`, and the falling grid is run from its end; `step` is ddim(eta=0) by default.
    Raises UserError for a stochastic rule.
    """
    sampler = Sampler(noise, order, step or ddim(), x.shape[1:])
    if sampler.step.stochastic:
        raise UserError("invert: a stochastic step rule cannot be run backwards; use ddim(eta=0), euler or heun")
    grid = validate_grid(grid, steps, noise, order, denoise, sampler.step, x)[::-1]
    plan = step_coefficients(sampler.step, noise, grid)
    return _scan(Inputs(keys, as_pytree(denoise), cond), grid, plan, x, sampler=sampler)


@closure_jit(static_argnames="sampler")
def _scan(inputs: Inputs, grid: Grid, plan: PyTree, start: Sample | None, *, sampler: Sampler) -> Sample:
    x, rank, carry = init_state(inputs.keys, start, sampler.noise, sampler.order, sampler.step, sampler.shape)

    def body(state: State, at: ClockStep) -> tuple[State, None]:
        return sampling_step(inputs, rank, at, state, sampler=sampler), None

    return jax.lax.scan(body, (x, carry), clock_steps(grid, plan))[0][0]


def _host_loop(sampler: Sampler, inputs: Inputs, grid: Grid, start: Sample | None) -> Iterator[Sample]:
    settings = {"noise": sampler.noise, "order": sampler.order, "step": sampler.step, "shape": sampler.shape}
    x, rank, carry = _jitted_init_state(inputs.keys, start, **settings)
    yield x
    stops = clock_steps(grid, step_coefficients(sampler.step, sampler.noise, grid))
    if not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(stops)):
        stops = jax.tree.map(np.asarray, stops)  # indexing on the host dispatches nothing
    for k in range(len(grid) - 1):
        at = jax.tree.map(lambda leaf, k=k: leaf[k], stops)
        x, carry = _jitted_step(inputs, rank, at, (x, carry), sampler=sampler)
        yield x


def clock_steps(grid: Grid, plan: PyTree) -> ClockStep:
    """All steps of a grid, stacked for a scan."""
    return ClockStep(jnp.arange(len(grid) - 1), grid[:-1], grid[1:], plan)


def init_state(
    keys: Keys, start: Sample | None, noise: Noise, order: Order, step: Step, shape: tuple[int, ...]
) -> tuple[Sample, Ranks, PyTree]:
    """The state at the first clock value (from the prior if `start` is None), all ranks, and the rule's first carry."""
    if start is None:
        noise.check_prior()
        x = jax.vmap(lambda key: noise.prior(key, shape))(fold(keys, KeyUse.PRIOR))
    else:
        x = require_shape("start", noise.data(start), (len(keys), *shape))
    rank = ranks(order, fold(keys, KeyUse.RANK), shape[: len(shape) - noise.channel_axes], noise.channel_axes)
    return x, rank, step.init(x)


def sampling_step(inputs: Inputs, rank: Ranks, at: ClockStep, state: State, *, sampler: Sampler) -> State:
    """One step of the rule and then of the hook, with keys of its own, between the order's levels."""
    t = levels_at(sampler, at.u, rank)
    s = levels_at(sampler, at.v, rank)
    ranked = inputs._replace(denoise=with_ranks(inputs.denoise, sampler.order, rank))
    return step_between(ranked, t, s, at, state, sampler=sampler)


def step_between(inputs: Inputs, t: Level, s: Level, at: ClockStep, state: State, *, sampler: Sampler) -> State:
    """`sampling_step` from level t of each position to s."""
    noise = sampler.noise
    step = sampler.step
    x, carry = state
    predictions: list[PyTree] = []  # of this step; its hook is called with the first

    def denoise_at(x_t: Sample, t: Level) -> PyTree:
        predictions.append(_check_prediction(step, noise, inputs.denoise(x_t, t, inputs.cond), x_t))
        return predictions[-1]

    row = () if step.plan is None else (at.row,)
    step_keys = fold(fold(inputs.keys, KeyUse.STEP), at.number)
    x_s, carry = step.update(step_keys, noise, denoise_at, x, t, s, carry, *row)
    x_s = require_like(f"step {step.name}", x_s, x)
    if inputs.hook is None:
        return x_s, carry
    hook_keys = fold(fold(inputs.keys, KeyUse.HOOK), at.number)
    hooked = require_like("hook", inputs.hook(hook_keys, x_s, predictions[0], t, s), x_s)
    return jnp.where(at.u == at.v, x_s, hooked), carry


def levels_at(sampler: Sampler, clock: Float[Array, ""], rank: Ranks) -> Level:
    """The level of every position at one clock value."""
    return levels(sampler.order, jnp.broadcast_to(clock, (len(rank),)), rank)


def _check_prediction(step: Step, noise: Noise, pred: PyTree, x_t: Sample) -> PyTree:
    """The prediction. Raises UserError where its type is not the one that the rule needs."""
    if step.prediction_type is None:
        return noise.prediction(pred, x_t)
    if not isinstance(pred, step.prediction_type):
        raise UserError(
            f"step: {step.name} needs a denoiser that returns a {step.prediction_type.__name__}, such as "
            f"guidance.pairs for momentum, got {type(pred).__name__}"
        )
    return pred


def step_coefficients(step: Step, noise: Noise, grid: Grid) -> PyTree:
    """The rule's plan of the grid: in float64 on the host or, for a traced grid, within the program."""
    if step.plan is None or isinstance(grid, Tracer):
        return step.plan and step.plan(noise, grid)
    return _host_plan(step.plan, noise, tuple(np.asarray(grid, np.float64).tolist()), grid.dtype)


@cache_hashable(32)
def _host_plan(plan: Callable[..., PyTree], noise: Noise, stops: tuple[float, ...], dtype: np.dtype) -> PyTree:
    """Kept, since it may take longer than the steps of a small net."""
    with eval_context(), jax.enable_x64(True):
        return jax.tree.map(lambda row: np.asarray(row, dtype), plan(noise, jnp.asarray(stops)))


_jitted_init_state = closure_jit(init_state, static_argnames=("noise", "order", "step", "shape"))
_jitted_step = closure_jit(sampling_step, static_argnames="sampler")
