"""The one loop: the clock falls along a grid, a step rule moves x between neighbouring levels.

`sample` is one compiled scan, `stepwise` a host loop over one compiled step; both run the same body, and so does
`decode.sample`. `invert` climbs the grid instead.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer, eval_context
from jaxtyping import Array, Float, PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import bind_hook, with_ranks
from diffjax.errors import UserError
from diffjax.order import Order, levels, ranks
from diffjax.protocols import Denoise, Hook, Keys, Noise, NoiseAwareHook, Sample, Step
from diffjax.sampling.arguments import validate_grid
from diffjax.steps import ddim, posterior
from diffjax.utils.closures import as_pytree, closure_jit
from diffjax.utils.prng import KeyUse, fold
from diffjax.utils.shape_checks import require_like, require_shape

Grid = Float[Array, " stops"]


@validate_arguments
def sample(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    shape: tuple[int, ...],
    *,
    cond: PyTree = None,
    steps: int = 50,
    grid: Grid | None = None,
    step: Step | None = None,
    start: Sample | None = None,
    hook: Hook | NoiseAwareHook | None = None,
) -> Sample:
    """Draw one example per key: `[b, *shape]`, at the last level of the grid.

    `grid` holds clock values, strictly falling, and wins over `steps`, which spaces them evenly. The last may be
    repeated (`grids.pad_grid`): nothing happens there. `step` is the noise's own posterior by default. `start` is the
    state at grid[0], drawn from the prior when absent (then grid[0] must be 1). `hook` is called after each step, or
    is what was seen of the examples, such as `edit.inpaint(image, known)`. Example i depends on key i and on nothing
    else of the batch. Raises UserError on a grid or rule that cannot serve.
    """
    step = step or posterior()
    grid = validate_grid(grid, steps, noise, order, denoise, step, start)
    denoise, hook = bind_hook(hook, noise, order, denoise, (len(keys), *shape))
    settings = {"noise": noise, "order": order, "step": step, "shape": tuple(shape)}
    return _scan(keys, grid, step_coefficients(step, noise, grid), start, denoise, cond, hook, **settings)


@validate_arguments
def stepwise(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    shape: tuple[int, ...],
    *,
    cond: PyTree = None,
    steps: int = 50,
    grid: Grid | None = None,
    step: Step | None = None,
    start: Sample | None = None,
    hook: Hook | NoiseAwareHook | None = None,
) -> Iterator[Sample]:
    """The states of `sample`, one after the other, the start first: a host loop over one compiled step."""
    step = step or posterior()
    grid = validate_grid(grid, steps, noise, order, denoise, step, start)
    denoise, hook = bind_hook(hook, noise, order, denoise, (len(keys), *shape))
    return _host_loop(keys, grid, start, denoise, cond, hook, noise, order, step, tuple(shape))


@validate_arguments
def invert(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    x: Sample,
    *,
    cond: PyTree = None,
    steps: int = 50,
    grid: Grid | None = None,
    step: Step | None = None,
) -> Sample:
    """Run a deterministic rule from data to noise: the state at grid[0] whose sample is x, which is at grid[-1].

    The same arguments as `sample`, the same (falling) grid, read from its end; `step` is ddim(eta=0) by default.
    Raises UserError for a stochastic rule.
    """
    step = step or ddim()
    if step.stochastic:
        raise UserError("invert: a stochastic step rule cannot be run backwards; use ddim(eta=0), euler or heun")
    grid = validate_grid(grid, steps, noise, order, denoise, step, x)[::-1]
    settings = {"noise": noise, "order": order, "step": step, "shape": x.shape[1:]}
    return _scan(keys, grid, step_coefficients(step, noise, grid), x, as_pytree(denoise), cond, None, **settings)


@closure_jit(static_argnames=("noise", "order", "step", "shape"))
def _scan(
    keys: Keys,
    grid: Grid,
    rows: PyTree,
    start: Any,
    denoise: Any,
    cond: Any,
    hook: Any,
    *,
    noise: Any,
    order: Any,
    step: Any,
    shape: Any,
) -> Sample:
    x, rank, carry = init_state(keys, start, noise, order, step, shape)

    def body(state: tuple[Sample, Any], stop: tuple[Array, Array, Array, PyTree]) -> tuple[tuple[Sample, Any], None]:
        return sampling_step(keys, rank, stop, state, denoise, cond, hook, noise=noise, order=order, step=step), None

    return jax.lax.scan(body, (x, carry), (jnp.arange(len(grid) - 1), grid[:-1], grid[1:], rows))[0][0]


def _host_loop(
    keys: Keys,
    grid: Grid,
    start: Any,
    denoise: Any,
    cond: Any,
    hook: Any,
    noise: Any,
    order: Any,
    step: Any,
    shape: Any,
) -> Iterator[Sample]:
    x, rank, carry = _init_state(keys, start, noise=noise, order=order, step=step, shape=shape)
    yield x
    rows = step_coefficients(step, noise, grid)
    stops = (
        grid if isinstance(grid, Tracer) else np.asarray(grid)
    )  # to take one of these on the host dispatches nothing
    for k in range(len(stops) - 1):
        stop = (np.int32(k), stops[k], stops[k + 1], jax.tree.map(lambda row, k=k: row[k], rows))
        x, carry = _sampling_step(
            keys, rank, stop, (x, carry), denoise, cond, hook, noise=noise, order=order, step=step
        )
        yield x


def init_state(keys: Keys, start: Any, noise: Noise, order: Order, step: Step, shape: tuple[int, ...]) -> Any:
    """The state at the first stop, every position's rank and the rule's empty memory."""
    prior_keys = fold(keys, KeyUse.PRIOR)
    if start is None:
        noise.check_prior()
        x = jax.vmap(lambda key: noise.prior(key, shape))(prior_keys)
    else:
        x = require_shape("start", noise.data(start), (len(keys), *shape))
    rank = ranks(order, fold(keys, KeyUse.RANK), shape[: len(shape) - noise.channel_axes], noise.channel_axes)
    return x, rank, step.init(x)


def sampling_step(
    keys: Keys,
    rank: Array,
    stop: Any,
    state: Any,
    denoise: Any,
    cond: Any,
    hook: Any,
    *,
    noise: Any,
    order: Any,
    step: Any,
) -> Any:
    """One step of the rule and its hook, from u to the next stop v of the clock; each step has its own keys."""
    (k, u, v, row), (x, carry) = stop, state
    t, s = (levels(order, jnp.broadcast_to(clock, (len(x),)), rank) for clock in (u, v))
    preds: list[Any] = []
    denoise = with_ranks(denoise, order, rank)

    def denoise_at(x_t: Array, t: Array) -> Any:
        preds.append(_check_prediction(step, noise, denoise(x_t, t, cond), x_t))
        return preds[-1]

    plan_arguments = () if step.plan is None else (row,)
    x_s, carry = step.update(fold(fold(keys, KeyUse.STEP), k), noise, denoise_at, x, t, s, carry, *plan_arguments)
    x = require_like(f"step {step.name}", x_s, x)
    if hook is not None:
        x_hooked = require_like("hook", hook(fold(fold(keys, KeyUse.HOOK), k), x, preds[0], t, s), x)
        x = jnp.where(u == v, x, x_hooked)
    return x, carry


def _check_prediction(step: Step, noise: Noise, pred: Any, x_t: Array) -> Any:
    """What the denoiser said, once it is what the rule asks for. Raises UserError where it is not."""
    if step.prediction_type is None:
        return noise.prediction(pred, x_t)
    if not isinstance(pred, step.prediction_type):
        raise UserError(
            f"step: {step.name} needs a denoiser that returns a {step.prediction_type.__name__}, such as "
            f"guidance.pairs for momentum, got {type(pred).__name__}"
        )
    return pred


def step_coefficients(step: Step, noise: Noise, grid: Grid) -> PyTree:
    """The rule's plan of this grid: in float64 on the host, or, of a grid that is traced, within the program."""
    if step.plan is None or isinstance(grid, Tracer):
        return step.plan and step.plan(noise, grid)
    with eval_context(), jax.enable_x64(True):
        rows = step.plan(noise, jnp.asarray(np.asarray(grid, np.float64)))
        return jax.tree.map(lambda row: np.asarray(row, grid.dtype), rows)


_init_state = closure_jit(init_state, static_argnames=("noise", "order", "step", "shape"))
_sampling_step = closure_jit(sampling_step, static_argnames=("noise", "order", "step"))
