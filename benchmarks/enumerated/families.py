"""The families, and what each makes of the data at a number of evaluations of the exact denoiser."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import diffjax as dj
from diffjax import grids, order, steps
from diffjax.sampling.loop import stepwise
from enumerated.laws import GAUSSIAN, MASKING, Law, Table, apart, counted, from_masks, states, uncertain


@dataclass(frozen=True)
class Family:
    """An order, a rule and a grid for each number of evaluations; of tokens, or of numbers that are rounded to them.

    `serves` says which numbers of evaluations it can spend. `listed`: its law is found by enumeration, not by draws.
    """

    name: str
    order: Callable[[int, int], dj.Order]  # of (positions, evaluations)
    grid: Callable[[int, int], Array]
    serves: Callable[[int, int], bool]
    step: dj.Step
    noise: dj.Noise = MASKING
    listed: bool = False

    @property
    def tokens(self) -> bool:
        """Whether it draws tokens, not numbers."""
        return self.noise is MASKING


class Point(NamedTuple):
    """What was found at one number of evaluations: total variation, its standard error, the law, and x if drawn."""

    apart: float
    error: float
    law: Law
    x: np.ndarray | None


class Found(NamedTuple):
    """All that was measured; `limits` are draws of tokens all at once and one at a time, by name and evaluations."""

    table: Table
    stay: tuple[float, float]
    counts: tuple[int, ...]
    draws: int
    curves: dict[str, dict[int, Point]]
    limits: dict[tuple[str, int], Point]

    @property
    def n(self) -> int:
        """Tokens."""
        return self.table.ndim


def spread(stride: int) -> dj.Order:
    """Positions as far from each other as may be at once: first each stride-th, then their neighbours."""

    def rank(key: Array, positions: tuple[int, ...]) -> Float[Array, "..."]:
        (n,) = positions
        i = np.arange(n)
        return jnp.asarray((i % stride * (n // stride) + i // stride + 0.5) / n)

    return dj.Order(0.0, rank)


def _always(made: dj.Order) -> Callable[[int, int], dj.Order]:
    return lambda n, evaluations: made


def _even(n: int, evaluations: int) -> Array:
    return grids.uniform(MASKING, evaluations)


def _at_a_time(n: int, evaluations: int) -> Array:
    return grids.at_a_time(MASKING, n, n // evaluations)


def _divides(n: int, evaluations: int) -> bool:
    return n % evaluations == 0


def _any(n: int, evaluations: int) -> bool:
    return True


def _in_blocks(name: str, count: int, step: dj.Step, noise: dj.Noise) -> Family:
    return Family(
        name,
        _always(order.blocks(count)),
        lambda n, evaluations: grids.repeat_per_block(_even(n, evaluations // count), count),
        lambda n, evaluations: evaluations % count == 0 and n >= count,
        step,
        noise,
        listed=noise is MASKING,
    )


def families(n: int) -> tuple[Family, ...]:
    """All of them, for so many positions, which two and three divide."""
    draw, solver = steps.posterior(), steps.dpmpp_2m()
    together, rolling = _always(order.together), _always(order.rolling(0.5))
    return (
        Family("raster", _always(order.raster), _at_a_time, _divides, draw, listed=True),
        Family("any order", _always(order.shuffled), _at_a_time, _divides, draw, listed=True),
        Family("spread out", lambda n, evaluations: spread(evaluations), _at_a_time, _divides, draw, listed=True),
        Family("masked diffusion", together, _even, _any, draw, listed=True),
        Family("remask", together, _even, _any, steps.remask()),
        Family("confidence", together, _even, _divides, steps.confidence()),
        Family("surest first", together, _even, _divides, steps.confidence(choice=0.0)),
        Family("rolling masks", rolling, _even, _any, draw, listed=True),
        _in_blocks("masks in 2 blocks", 2, draw, MASKING),
        _in_blocks("masks in 3 blocks", 3, draw, MASKING),
        Family("diffusion, posterior", together, _even, _any, draw, noise=GAUSSIAN),
        Family("diffusion, ddim", together, _even, _any, steps.ddim(), noise=GAUSSIAN),
        Family("diffusion, dpmpp_2m", together, _even, _any, solver, noise=GAUSSIAN),
        Family("rolling diffusion", rolling, _even, _any, solver, noise=GAUSSIAN),
        _in_blocks("diffusion in 2 blocks", 2, solver, GAUSSIAN),
        _in_blocks("diffusion in 3 blocks", 3, solver, GAUSSIAN),
        _in_blocks(f"diffusion in {n} blocks", n, solver, GAUSSIAN),
    )


def measured(family: Family, table: Table, counts: tuple[int, ...], draws: int) -> dict[int, Point]:
    """Its curve, by number of evaluations."""
    spent = [count for count in counts if family.serves(table.ndim, count)]
    return {count: (_listed if family.listed else drawn)(family, table, count, draws) for count in spent}


def _listed(family: Family, table: Table, evaluations: int, draws: int) -> Point:
    n = table.ndim
    with jax.enable_x64(True):
        denoise = exact(family, table)
    law = from_masks(n, denoise, family.order(n, evaluations), family.grid(n, evaluations))
    return Point(apart(law, table), 0.0, law, None)


def drawn(family: Family, table: Table, evaluations: int, draws: int) -> Point:
    """By draws of the library's sampler; numbers are rounded to the nearest token at the end."""
    x = draw(family, exact(family, table), table.ndim, evaluations, draws)
    law = rounded(family, x)
    return Point(apart(law, table), uncertain(law, table, draws), law, None if family.tokens else x)


def exact(family: Family, table: Table) -> dj.Denoise:
    """The denoiser of what is listed, of tokens or of numbers."""
    if family.tokens:
        return dj.oracles.joint(MASKING, table)
    assert isinstance(family.noise, dj.Gaussian)
    return dj.oracles.atoms(family.noise, 2.0 * states(table.ndim)[..., None] - 1, table.ravel())


def draw(
    family: Family, denoise: dj.Denoise, n: int, evaluations: int, draws: int, cond: Array | None = None
) -> np.ndarray:
    """Rows of n tokens or numbers."""
    asked = (family.noise, family.order(n, evaluations), denoise, (n,) if family.tokens else (n, 1))
    grid = family.grid(n, evaluations)
    states_of = stepwise(dj.keys(0, draws), *asked, cond=cond, grid=grid, step=family.step)  # one program for all grids
    return np.asarray(jax.device_get(deque(states_of, maxlen=1)[0])).reshape(draws, n)


def rounded(family: Family, x: np.ndarray) -> Law:
    """The shares of what was drawn."""
    return counted(x if family.tokens else (x > 0).astype(int))
