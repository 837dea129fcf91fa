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

from diffjax.arguments.checked import checked_arguments
from diffjax.denoising import hooked, in_order
from diffjax.errors import UserError
from diffjax.order import Order, levels, ranks
from diffjax.protocols import Denoise, Hook, Hooks, Keys, Noise, State, Step
from diffjax.sampling.arguments import checked_grid
from diffjax.steps import ddim, posterior
from diffjax.utils.closures import compiled, portable
from diffjax.utils.prng import KeyUse, fold
from diffjax.utils.shape_checks import require_like, require_shape

Grid = Float[Array, " stops"]


@checked_arguments
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
    start: State | None = None,
    hook: Hook | Hooks | None = None,
) -> State:
    """Draw one example per key: `[b, *shape]`, at the last level of the grid.

    `grid` holds clock values, strictly falling, and wins over `steps`, which spaces them evenly. The last may be
    repeated (`grids.padded`): nothing happens there. `step` is the noise's own posterior by default. `start` is the
    state at grid[0], drawn from the prior when absent (then grid[0] must be 1). `hook` is called after each step, or
    is what was seen of the examples, such as `edit.inpaint(image, known)`. Example i depends on key i and on nothing
    else of the batch. Raises UserError on a grid or rule that cannot serve.
    """
    step = step or posterior()
    grid = checked_grid(grid, steps, noise, order, denoise, step, start)
    denoise, hook = hooked(hook, noise, order, denoise, (len(keys), *shape))
    given = {"noise": noise, "order": order, "step": step, "shape": tuple(shape)}
    return _scan(keys, grid, rows_of(step, noise, grid), start, denoise, cond, hook, **given)


@checked_arguments
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
    start: State | None = None,
    hook: Hook | Hooks | None = None,
) -> Iterator[State]:
    """The states of `sample`, one after the other, the start first: a host loop over one compiled step."""
    step = step or posterior()
    grid = checked_grid(grid, steps, noise, order, denoise, step, start)
    denoise, hook = hooked(hook, noise, order, denoise, (len(keys), *shape))
    return _host_loop(keys, grid, start, denoise, cond, hook, noise, order, step, tuple(shape))


@checked_arguments
def invert(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    x: State,
    *,
    cond: PyTree = None,
    steps: int = 50,
    grid: Grid | None = None,
    step: Step | None = None,
) -> State:
    """Run a deterministic rule from data to noise: the state at grid[0] whose sample is x, which is at grid[-1].

    The same arguments as `sample`, the same (falling) grid, read from its end; `step` is ddim(eta=0) by default.
    Raises UserError for a stochastic rule.
    """
    step = step or ddim()
    if step.stochastic:
        raise UserError("invert: a stochastic step rule cannot be run backwards; use ddim(eta=0), euler or heun")
    grid = checked_grid(grid, steps, noise, order, denoise, step, x)[::-1]
    given = {"noise": noise, "order": order, "step": step, "shape": x.shape[1:]}
    return _scan(keys, grid, rows_of(step, noise, grid), x, portable(denoise), cond, None, **given)


@compiled(static_argnames=("noise", "order", "step", "shape"))
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
) -> State:
    x, rank, carry = begin(keys, start, noise, order, step, shape)

    def body(state: tuple[State, Any], stop: tuple[Array, Array, Array, PyTree]) -> tuple[tuple[State, Any], None]:
        return advance(keys, rank, stop, state, denoise, cond, hook, noise=noise, order=order, step=step), None

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
) -> Iterator[State]:
    x, rank, carry = _begin(keys, start, noise=noise, order=order, step=step, shape=shape)
    yield x
    rows = rows_of(step, noise, grid)
    stops = (
        grid if isinstance(grid, Tracer) else np.asarray(grid)
    )  # to take one of these on the host dispatches nothing
    for k in range(len(stops) - 1):
        stop = (np.int32(k), stops[k], stops[k + 1], jax.tree.map(lambda row, k=k: row[k], rows))
        x, carry = _advance(keys, rank, stop, (x, carry), denoise, cond, hook, noise=noise, order=order, step=step)
        yield x


def begin(keys: Keys, start: Any, noise: Noise, order: Order, step: Step, shape: tuple[int, ...]) -> Any:
    """The state at the first stop, every position's rank and the rule's empty memory."""
    prior_keys = fold(keys, KeyUse.PRIOR)
    if start is None:
        noise.check_prior()
        x = jax.vmap(lambda key: noise.prior(key, shape))(prior_keys)
    else:
        x = require_shape("start", noise.data(start), (len(keys), *shape))
    rank = ranks(order, fold(keys, KeyUse.RANK), shape[: len(shape) - noise.channel_axes], noise.channel_axes)
    return x, rank, step.init(x)


def advance(
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
    denoise = in_order(denoise, order, rank)

    def known(x_t: Array, t: Array) -> Any:
        preds.append(_answer(step, noise, denoise(x_t, t, cond), x_t))
        return preds[-1]

    planned = () if step.plan is None else (row,)
    moved, carry = step.update(fold(fold(keys, KeyUse.STEP), k), noise, known, x, t, s, carry, *planned)
    x = require_like(f"step {step.name}", moved, x)
    if hook is not None:
        hooked = require_like("hook", hook(fold(fold(keys, KeyUse.HOOK), k), x, preds[0], t, s), x)
        x = jnp.where(u == v, x, hooked)
    return x, carry


def _answer(step: Step, noise: Noise, pred: Any, x_t: Array) -> Any:
    """What the denoiser said, once it is what the rule asks for. Raises UserError where it is not."""
    if step.answer is None:
        return noise.prediction(pred, x_t)
    if not isinstance(pred, step.answer):
        raise UserError(
            f"step: {step.name} needs a denoiser that returns a {step.answer.__name__}, such as guidance.pairs for "
            f"momentum, got {type(pred).__name__}"
        )
    return pred


def rows_of(step: Step, noise: Noise, grid: Grid) -> PyTree:
    """The rule's plan of this grid: in float64 on the host, or, of a grid that is traced, within the program."""
    if step.plan is None or isinstance(grid, Tracer):
        return step.plan and step.plan(noise, grid)
    with eval_context(), jax.enable_x64(True):
        rows = step.plan(noise, jnp.asarray(np.asarray(grid, np.float64)))
        return jax.tree.map(lambda row: np.asarray(row, grid.dtype), rows)


_begin = compiled(begin, static_argnames=("noise", "order", "step", "shape"))
_advance = compiled(advance, static_argnames=("noise", "order", "step"))
