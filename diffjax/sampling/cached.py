"""Sampling token after token from a causal net with a key-value cache: what `sample` draws, from the same keys, sooner.

Each step computes the logits of one position from the token before it; keys and values of all earlier tokens are kept.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import NetDenoiser, bind_hook, is_causal, map_nets, require_sequential_order
from diffjax.errors import UserError
from diffjax.order import Order
from diffjax.protocols import Denoise, Hook, Keys, Noise, NoiseAwareHook, Sample, Step, TokenNoise
from diffjax.sampling.arguments import validate_grid
from diffjax.sampling.loop import init_state, sampling_step, step_coefficients
from diffjax.steps import posterior
from diffjax.utils.closures import closure_jit


@validate_arguments
def sample(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    shape: tuple[int, ...],
    *,
    cond: PyTree = None,
    steps: int | None = None,
    grid: Float[Array, " _"] | None = None,
    step: Step | None = None,
    hook: Hook | NoiseAwareHook | None = None,
) -> Sample:
    """As `dj.sample`, bit for bit but for the rounding of logits, for causal nets under an order of width 0.

    `steps` is by default, and must be, the number of positions: one is revealed at each. Raises UserError where the
    denoiser holds no causal net, or where a step of the grid reveals none or several.
    """
    step, n = step or posterior(), shape[0]
    if not is_causal(denoise):
        raise UserError(
            "decode: a key-value cache needs a causal net, and this denoiser holds none; build the net with "
            "causal=True, or use dj.sample"
        )
    require_sequential_order(order)
    grid = validate_grid(grid, n if steps is None else steps, noise, order, denoise, step, None)
    if not is_one_per_step(grid, n):
        raise UserError(
            f"decode: one of the {n} positions is revealed at each step, and this grid of {len(grid) - 1} steps does "
            f"not do so; give steps={n}, or use dj.sample"
        )
    if step.evaluations > 1:
        raise UserError(f"decode: {step.name} calls the denoiser {step.evaluations} times a step; use dj.sample")
    denoise, hook = bind_hook(hook, noise, order, denoise, (len(keys), *shape))
    rows = step_coefficients(step, noise, grid)
    return _scan(keys, grid, rows, denoise, cond, hook, noise=noise, order=order, step=step, shape=tuple(shape))


def is_one_per_step(grid: Float[Array, " _"], positions: int) -> bool:
    """Whether an order of width 0 reveals one position at each step of the grid: the stops lie between the ranks."""
    return bool(np.array_equal(np.round(np.asarray(grid) * positions), np.arange(positions, -1, -1)))


@closure_jit(static_argnames=("noise", "order", "step", "shape"))
def _scan(
    keys: Keys,
    grid: Array,
    rows: PyTree,
    denoise: Any,
    cond: PyTree,
    hook: Any,
    *,
    noise: Noise,
    order: Order,
    step: Step,
    shape: tuple[int, ...],
) -> Sample:
    x, rank, carry = init_state(keys, None, noise, order, step, shape)
    places = jnp.argsort(rank, axis=1)  # the position that each step reveals

    def body(state: tuple[Any, Any], stop: tuple[Array, Array, Array, PyTree]) -> tuple[tuple[Any, Any], None]:
        moving, caches = state
        nets: list[_Cached] = []

        def cached(part: NetDenoiser) -> _Cached:
            nets.append(_Cached(part, places, stop[0], caches[len(nets)]))
            return nets[-1]

        with_caches = map_nets(denoise, cached)
        moved = sampling_step(keys, rank, stop, moving, with_caches, cond, hook, noise=noise, order=order, step=step)
        return (moved, [net.caches for net in nets]), None

    stops = (jnp.arange(len(grid) - 1), grid[:-1], grid[1:], rows)
    return jax.lax.scan(body, ((x, carry), _init_caches(denoise, x, cond)), stops)[0][0][0]


@dataclass
class _Cached:
    """A causal net at one step: called once, it computes the logits of that step's position and extends its caches."""

    part: NetDenoiser
    places: Int[Array, "b n"]
    index: Int[Array, ""]
    caches: Any

    def __call__(self, x_t: Int[Array, "c n"], t: Any, cond: PyTree) -> Float[Array, "c n vocab"]:
        net, vocab, rows = self.part.net, _vocab(self.part), jnp.arange(len(x_t))
        places = jnp.repeat(self.places, len(x_t) // len(self.places), axis=0)  # guidance: copies side by side
        here, there = places[:, self.index - 1], places[:, self.index]
        token = jnp.where(self.index > 0, x_t[rows, here], vocab + 1)
        logits, self.caches = net.apply(
            self.part.variables, token, here, there, cond, self.caches, method="decode_step"
        )
        out = jnp.zeros((*x_t.shape, vocab)).at[rows, there].set(logits)
        return self.part.noise.read(out, x_t, t)


def _vocab(part: NetDenoiser) -> int:
    assert isinstance(part.noise, TokenNoise)
    return part.noise.vocab


def _init_caches(denoise: Any, x: Int[Array, "b n"], cond: PyTree) -> list[Any]:
    """The empty caches of every net, each for as many examples as it is given: guidance asks for two of each."""
    sizes: list[int] = []

    def counting(part: NetDenoiser) -> Any:
        place = len(sizes)
        sizes.append(0)

        def count(x_t: Array, t: Array, cond: PyTree) -> Array:
            sizes[place] = len(x_t)
            return jnp.zeros((*x_t.shape, _vocab(part)))

        return count

    nets: list[NetDenoiser] = []
    map_nets(denoise, lambda part: nets.append(part))
    jax.eval_shape(map_nets(denoise, counting), x, jnp.zeros((len(x), 1)), cond)
    return [part.net.apply(part.variables, size, method="init_cache") for part, size in zip(nets, sizes, strict=True)]
