"""The way from one picture to another, or from one start and condition to others, as pictures at equal distances."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree, Shaped, UInt8

from diffjax import edit
from diffjax.commands import image_sampler
from diffjax.commands.image_sampler import Painter
from diffjax.edit import Between
from diffjax.errors import UserError
from diffjax.parallel.dispatch import batched
from diffjax.protocols import Keys
from diffjax.sampling.driver import sample_for
from diffjax.sampling.loop import begin, invert
from diffjax.steps import midpoint
from diffjax.utils.prng import keys

STEPS = 50  # where none were asked for


@dataclass(frozen=True)
class Way:
    """Between two pictures, as the model has them, or without any from the start of one seed to that of another."""

    ends: Shaped[Array, "2 ..."] | None = None
    seed_to: int | None = None
    inputs: Mapping[str, UInt8[np.ndarray, "h w c"]] = field(default_factory=dict)
    told: tuple[str, ...] = ()


def painter_for(way: Way, painter: Painter, asked: Mapping[str, Any]) -> Painter:
    """The painter, by a rule and a grid that come back from noise where it is to go there and no others were asked for.

    `asked` are the sampler, grid and steps that were.
    """
    if way.ends is None:
        return painter
    step = painter.step if "sampler" in asked else midpoint()
    grid = painter.grid if "grid" in asked else edit.reversible(painter.noise, asked.get("steps", STEPS))
    return replace(painter, step=step, grid=grid)


def about(way: Way, painter: Painter) -> dict[str, Any]:
    """What is stored with the samples of a way between pictures: by which rule it went."""
    return {} if way.ends is None else {"sampler": painter.step.name, "steps": len(painter.grid) - 1}


def check(way: Way, painter: Painter, count: int, cond: PyTree, far: PyTree) -> None:
    """Raise UserError where model or rule do not serve; traces all, and runs nothing."""
    if count < 2:
        raise UserError(f"--num {count}: a way has two ends; give 2 or more")
    one, other = (jax.tree.map(lambda leaf: jnp.asarray(leaf[:1]), each) for each in (cond, far))
    if way.ends is not None:
        jax.eval_shape(partial(_inverted, painter), keys(0, 1), way.ends[:1], one)
    start = jax.eval_shape(partial(_begun, painter), keys(0, 1))
    jax.eval_shape(partial(_drawn, painter), keys(0, 1), start, start, Between(one, other, jnp.zeros(1)))


def images(
    way: Way, painter: Painter, root: Key[Array, ""], count: int, batch: int, cond: PyTree, far: PyTree
) -> UInt8[np.ndarray, "n h w c"]:
    """Pictures at `count` equal distances, the ends among them; conditions have one entry for each."""
    first, second = _starts(way, painter, root, batch, cond, far)
    same, shares = _copies(keys(root, 1), count), np.linspace(0, 1, count, dtype=np.float32)
    data = (same, _copies(first[None], count), _copies(second[None], count), Between(cond, far, shares))

    def drawn(_: Keys, *data: Any) -> UInt8[np.ndarray, "b h w c"]:
        return image_sampler.as_bytes(_drawn(painter, *data), painter.facts)

    return batched(drawn, root, count, batch, *data)


def stations(way: Way, drawn: UInt8[np.ndarray, "n h w c"]) -> tuple[UInt8[np.ndarray, "k 1 h w c"], list[str]]:
    """The pictures of a way with those it was asked for at both ends, and what to call each."""
    names = [f"{share:.2f}" for share in np.linspace(0, 1, len(drawn))]
    if not way.inputs:
        return drawn[:, None], names
    (first, a), (last, b) = way.inputs.items()
    return np.stack([a, *drawn, b])[:, None], [first, *names, last]


def _starts(way: Way, painter: Painter, root: Key[Array, ""], batch: int, cond: PyTree, far: PyTree) -> Any:
    """The states at the noisiest stop from which the two ends are drawn."""
    if way.ends is None:
        to = root if way.seed_to is None else jax.random.key(way.seed_to)
        return [np.asarray(_begun(painter, keys(each, 1))[0]) for each in (root, to)]
    both = jax.tree.map(lambda one, other: np.stack([one[0], other[0]]), cond, far)
    return batched(partial(_inverted, painter), root, 2, batch, np.asarray(way.ends), both)


def _begun(p: Painter, keys: Keys) -> Any:
    shape = p.facts.encoding.shape(p.facts.shape)
    return begin(keys, None, p.noise, p.order, p.step, shape)[0]


def _inverted(p: Painter, keys: Keys, x: Any, cond: PyTree) -> Any:
    return invert(keys, p.noise, p.order, p.denoise, x, cond=cond, grid=p.grid, step=p.step)


def _drawn(p: Painter, keys: Keys, first: Any, second: Any, cond: Between) -> Any:
    conditional = bool(jax.tree.leaves(cond.first))
    denoise, told = (edit.mixed(p.denoise), {"cond": cond}) if conditional else (p.denoise, {})
    how = {**told, "grid": p.grid, "step": p.step, "start": edit.slerp(first, second, cond.share)}
    return sample_for(p.net)(keys, p.noise, p.order, denoise, first.shape[1:], **how)


def _copies(one: Any, count: int) -> Any:
    """One entry as so many."""
    return one[np.zeros(count, int)]
