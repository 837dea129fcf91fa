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
from diffjax.commands.image_sampler import ImageSampler
from diffjax.data.pixel_representation import HIDDEN_COLOUR
from diffjax.denoising import needs_rank
from diffjax.edit import Method, Observation
from diffjax.parallel.dispatch import map_in_batches
from diffjax.protocols import Keys
from diffjax.reports.edit_figures import heat_map
from diffjax.sampling.driver import sample_for
from diffjax.utils.prng import keys

Picture = UInt8[np.ndarray, "_ _ _"]


@dataclass(frozen=True)
class Edit:
    """How a batch is drawn, `call(painter, keys, cond)`, and what is shown and kept of the inputs.

    `inputs` are pictures 0 … 255 by their names, the first of them the one that is edited; where `painted` is given,
    it may change there alone. `told` are lines for people, `about` what is stored with the samples.
    """

    call: Callable[[ImageSampler, Keys, PyTree], Any]
    inputs: Mapping[str, Picture]
    mask: Bool[np.ndarray, "h w"] | None = None
    notes: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


def check_edit(edit_plan: Edit, sampler: ImageSampler, cond: PyTree) -> None:
    """Raise UserError where model, rule or method do not serve the edit; traces it, and runs nothing."""
    example_cond = jax.tree.map(lambda leaf: jnp.asarray(leaf[:1]), cond)
    jax.eval_shape(partial(edit_plan.call, sampler), keys(0, 1), example_cond)


def draw_edit(
    edit_plan: Edit, sampler: ImageSampler, root: Key[Array, ""], count: int, batch: int, cond: PyTree
) -> UInt8[np.ndarray, "n h w c"]:
    """Draw examples 0 … count - 1; where nothing was to be painted they are the input, to the byte."""

    def draw_batch(keys: Keys, cond: PyTree) -> UInt8[np.ndarray, "b h w c"]:
        return image_sampler.to_bytes(edit_plan.call(sampler, keys, cond), sampler.facts)

    samples = map_in_batches(draw_batch, root, count, batch, cond)
    if edit_plan.mask is None:
        return samples
    return np.where(edit_plan.mask[..., None], samples, next(iter(edit_plan.inputs.values())))


def run_solver(
    observation: Observation, method: Method, own_rule: bool, sampler: ImageSampler, keys: Keys, cond: PyTree
) -> Any:
    """One batch of `edit.solve`; numbers by the method's own rule where none was asked for.

    A causal net that knows every order is led through what is known first.
    """
    p = sampler
    order = edit.known_first(p.order, observation) if needs_rank(p.net) and p.order.exchangeable else p.order
    step = p.step if own_rule or p.facts.encoding.discrete else None
    arguments = (keys, p.noise, order, p.denoise, observation)
    return edit.solve(*arguments, method=method, cond=cond, grid=p.grid, step=step)


def run_sdedit(
    x0: Shaped[Array, "..."], strength: float, hook: Any, sampler: ImageSampler, keys: Keys, cond: PyTree
) -> Any:
    """One batch of `edit.vary`, of one picture x0, in the way that suits the net."""
    p, u = sampler, edit.strength_to_time(sampler.noise, strength)
    start = edit.noise_to(keys, p.noise, p.order, jnp.broadcast_to(x0, (len(keys), *x0.shape)), u)
    options = {"cond": cond, "grid": edit.truncate_grid(p.grid, u), "step": p.step, "start": start, "hook": hook}
    return sample_for(p.net)(keys, p.noise, p.order, p.denoise, x0.shape, **options)


def preview_panels(edit_plan: Edit, samples: UInt8[np.ndarray, "n h w c"]) -> dict[str, Picture]:
    """What stands over the samples: inputs, mask, mean, and how far samples lie apart at each pixel."""
    pictures = dict(edit_plan.inputs)
    if edit_plan.mask is not None:
        pictures["painted"] = _mark_mask(next(iter(edit_plan.inputs.values())), edit_plan.mask)
    deviation = samples.astype(float).std(axis=0).mean(axis=-1)
    max_deviation = max(float(deviation.max()), 1.0)
    pictures["mean"] = np.rint(samples.mean(axis=0)).astype(np.uint8)
    pictures[f"deviation, 0 … {max_deviation / 255:.2f}"] = heat_map(deviation / max_deviation)
    return pictures


def _mark_mask(picture: Picture, mask: Bool[np.ndarray, "h w"]) -> Picture:
    """The picture, what is to be painted in a colour of its own."""
    colours = np.broadcast_to(picture, (*picture.shape[:2], 3))
    return np.where(mask[..., None], np.array(HIDDEN_COLOUR, np.uint8), colours)
