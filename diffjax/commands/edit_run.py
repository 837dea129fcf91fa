"""From an edit that is ready to pictures: checked as a whole before anything is compiled, then drawn in batches."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Key, PyTree, Shaped, UInt8

from diffjax import edit
from diffjax.commands import image_sampler
from diffjax.commands.image_sampler import Painter
from diffjax.data.pixel_representation import HIDDEN
from diffjax.denoising import needs_rank
from diffjax.edit import Method, Observation
from diffjax.parallel.dispatch import batched
from diffjax.protocols import Keys
from diffjax.reports.edit_figures import heat
from diffjax.sampling.driver import sample_for
from diffjax.utils.prng import keys

Picture = UInt8[np.ndarray, "_ _ _"]


@dataclass(frozen=True)
class Edit:
    """How a batch is drawn, `call(painter, keys, cond)`, and what is shown and kept of the inputs.

    `inputs` are pictures 0 … 255 by their names, the first of them the one that is edited; where `painted` is given,
    it may change there alone. `told` are lines for people, `about` what is stored with the samples.
    """

    call: Callable[[Painter, Keys, PyTree], Any]
    inputs: Mapping[str, Picture]
    painted: Bool[np.ndarray, "h w"] | None = None
    told: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


def check(made: Edit, painter: Painter, cond: PyTree) -> None:
    """Raise UserError where model, rule or method do not serve the edit; traces it, and runs nothing."""
    one = jax.tree.map(lambda leaf: jnp.asarray(leaf[:1]), cond)
    jax.eval_shape(partial(made.call, painter), keys(0, 1), one)


def images(
    made: Edit, painter: Painter, root: Key[Array, ""], count: int, batch: int, cond: PyTree
) -> UInt8[np.ndarray, "n h w c"]:
    """Draw examples 0 … count - 1; where nothing was to be painted they are the input, to the byte."""

    def drawn(keys: Keys, cond: PyTree) -> UInt8[np.ndarray, "b h w c"]:
        return image_sampler.as_bytes(made.call(painter, keys, cond), painter.facts)

    found = batched(drawn, root, count, batch, cond)
    if made.painted is None:
        return found
    return np.where(made.painted[..., None], found, next(iter(made.inputs.values())))


def solved(seen: Observation, method: Method, own_rule: bool, painter: Painter, keys: Keys, cond: PyTree) -> Any:
    """One batch of `edit.solve`; numbers by the method's own rule where none was asked for.

    A causal net that knows every order is led through what is known first.
    """
    p = painter
    order = edit.known_first(p.order, seen) if needs_rank(p.net) and p.order.exchangeable else p.order
    step = p.step if own_rule or p.facts.encoding.discrete else None
    given = (keys, p.noise, order, p.denoise, seen)
    return edit.solve(*given, method=method, cond=cond, grid=p.grid, step=step)


def restored(x0: Shaped[Array, "..."], strength: float, hook: Any, painter: Painter, keys: Keys, cond: PyTree) -> Any:
    """One batch of `edit.vary`, of one picture x0, in the way that suits the net."""
    p, u = painter, edit.clock_at(painter.noise, strength)
    start = edit.destroyed(keys, p.noise, p.order, jnp.broadcast_to(x0, (len(keys), *x0.shape)), u)
    how = {"cond": cond, "grid": edit.cut(p.grid, u), "step": p.step, "start": start, "hook": hook}
    return sample_for(p.net)(keys, p.noise, p.order, p.denoise, x0.shape, **how)


def panels(made: Edit, drawn: UInt8[np.ndarray, "n h w c"]) -> dict[str, Picture]:
    """What stands over the samples: inputs, mask, mean, and how far samples lie apart at each pixel."""
    shown = dict(made.inputs)
    if made.painted is not None:
        shown["painted"] = _in_colour(next(iter(made.inputs.values())), made.painted)
    apart = drawn.astype(float).std(axis=0).mean(axis=-1)
    most = max(float(apart.max()), 1.0)
    shown["mean"] = np.rint(drawn.mean(axis=0)).astype(np.uint8)
    shown[f"deviation, 0 … {most / 255:.2f}"] = heat(apart / most)
    return shown


def _in_colour(picture: Picture, painted: Bool[np.ndarray, "h w"]) -> Picture:
    """The picture, what is to be painted in a colour of its own."""
    colours = np.broadcast_to(picture, (*picture.shape[:2], 3))
    return np.where(painted[..., None], np.array(HIDDEN, np.uint8), colours)
