"""What guidance does to each family, with exact denoisers of one class and of all data."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array

import diffjax as dj
from diffjax import guidance
from enumerated.families import Family, draw, exact, families, rounded
from enumerated.laws import MASKING, Law, Table, chain, from_masks, uncertain

STAYS = ((0.8, 0.9), (0.9, 0.6))  # of the class that is asked for, and of the other, which is as likely
WEIGHTS = (1.0, 1.5, 2.0, 3.0, 5.0)
NAMES = ("raster", "any order", "masked diffusion", "diffusion, posterior", "diffusion, dpmpp_2m")
EVALUATIONS = 24  # of those that may choose


class Guided(NamedTuple):
    """Laws by weight: of each family, and the one that guidance is named after."""

    asked: Table
    every: Table
    tilted: dict[float, Law]
    laws: dict[str, dict[float, Law]]
    draws: int

    def sure(self, law: Law) -> float:
        """The mean probability of the class, given what is drawn."""
        return float(law @ (self.asked / (2 * self.every)).ravel())

    def off(self, name: str, weight: float) -> float:
        """The total variation to the tilted law."""
        return float(np.abs(self.laws[name][weight] - self.tilted[weight]).sum() / 2)

    def error(self, name: str, weight: float) -> float:
        """Its standard error; 0 where the law is listed."""
        if not name.startswith("diffusion"):
            return 0.0
        return uncertain(self.laws[name][weight], self.tilted[weight].reshape(self.asked.shape), self.draws)


def guided(n: int, draws: int, names: tuple[str, ...] = NAMES) -> Guided:
    """Each family at each weight."""
    asked, other = (chain(n, stay) for stay in STAYS)
    every = (asked + other) / 2
    powers = {w: asked.ravel() ** w * every.ravel() ** (1 - w) for w in WEIGHTS}
    tilted = {w: law / law.sum() for w, law in powers.items()}
    known = {family.name: family for family in families(n)}
    laws = {name: {w: _law(known[name], asked, every, w, draws) for w in WEIGHTS} for name in names}
    return Guided(asked, every, tilted, laws, draws)


def _law(family: Family, asked: Table, every: Table, weight: float, draws: int) -> Law:
    n = asked.ndim
    evaluations = EVALUATIONS if family.order(n, 1).width == 1 else n
    with jax.enable_x64(family.listed):
        pair = exact(family, every), exact(family, asked)
    denoise = guidance.cfg(Partial(_either, *pair), weight, null=jnp.int32(0))
    if family.listed:
        return from_masks(n, denoise, family.order(n, evaluations), family.grid(n, evaluations), jnp.int32(1))
    return rounded(family, draw(family, denoise, n, evaluations, draws, jnp.ones(draws, jnp.int32)))


def _either(every: dj.Denoise, asked: dj.Denoise, x_t: Array, t: Array, cond: Array) -> Array:
    """One denoiser of two: condition 0 asks for nothing, 1 for the class. What is visible needs no prediction."""
    both = [denoise(x_t, t, None) for denoise in (every, asked)]
    if jnp.issubdtype(x_t.dtype, jnp.integer):
        both = [jnp.where((x_t == MASKING.vocab)[..., None], logits, 0) for logits in both]
    return jnp.where(cond.reshape(-1, *(1,) * (both[0].ndim - 1)) == 1, both[1], both[0])
