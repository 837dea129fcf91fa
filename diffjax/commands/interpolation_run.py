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
from diffjax.commands.image_sampler import ImageSampler
from diffjax.edit import MixedCondition
from diffjax.errors import UserError
from diffjax.parallel.dispatch import map_in_batches
from diffjax.protocols import Keys
from diffjax.sampling.driver import sample_for
from diffjax.sampling.loop import init_state, invert
from diffjax.steps import midpoint
from diffjax.utils.prng import keys

DEFAULT_STEPS = 50  # where none were asked for


@dataclass(frozen=True)
class Interpolation:
    """Between two pictures, as the model has them, or without any from the start of one seed to that of another."""

    ends: Shaped[Array, "2 ..."] | None = None
    seed_to: int | None = None
    inputs: Mapping[str, UInt8[np.ndarray, "h w c"]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def interpolation_sampler(
    interpolation: Interpolation, sampler: ImageSampler, given_flags: Mapping[str, Any]
) -> ImageSampler:
    """The painter, by a rule and a grid that come back from noise where it is to go there and no others were asked for.

    `given_flags` are the sampler, grid and steps that were.
    """
    if interpolation.ends is None:
        return sampler
    step = sampler.step if "sampler" in given_flags else midpoint()
    grid = (
        sampler.grid
        if "grid" in given_flags
        else edit.inversion_grid(sampler.noise, given_flags.get("steps", DEFAULT_STEPS))
    )
    return replace(sampler, step=step, grid=grid)


def describe_inversion(interpolation: Interpolation, sampler: ImageSampler) -> dict[str, Any]:
    """What is stored with the samples of a way between pictures: by which rule it went."""
    return {} if interpolation.ends is None else {"sampler": sampler.step.name, "steps": len(sampler.grid) - 1}


def check_interpolation(
    interpolation: Interpolation, sampler: ImageSampler, count: int, cond: PyTree, end_cond: PyTree
) -> None:
    """Raise UserError where model or rule do not serve; traces all, and runs nothing."""
    if count < 2:
        raise UserError(f"--num {count}: a way has two ends; give 2 or more")
    start_cond, end_example = (jax.tree.map(lambda leaf: jnp.asarray(leaf[:1]), tree) for tree in (cond, end_cond))
    if interpolation.ends is not None:
        jax.eval_shape(partial(_invert, sampler), keys(0, 1), interpolation.ends[:1], start_cond)
    start = jax.eval_shape(partial(_prior_state, sampler), keys(0, 1))
    jax.eval_shape(
        partial(_draw_between, sampler), keys(0, 1), start, start, MixedCondition(start_cond, end_example, jnp.zeros(1))
    )


def draw_interpolation(
    interpolation: Interpolation,
    sampler: ImageSampler,
    root: Key[Array, ""],
    count: int,
    batch: int,
    cond: PyTree,
    end_cond: PyTree,
) -> UInt8[np.ndarray, "n h w c"]:
    """Pictures at `count` equal distances, the ends among them; conditions have one entry for each."""
    first, second = _end_states(interpolation, sampler, root, batch, cond, end_cond)
    same, shares = _repeat(keys(root, 1), count), np.linspace(0, 1, count, dtype=np.float32)
    data = (same, _repeat(first[None], count), _repeat(second[None], count), MixedCondition(cond, end_cond, shares))

    def draw_batch(_: Keys, *data: Any) -> UInt8[np.ndarray, "b h w c"]:
        return image_sampler.to_bytes(_draw_between(sampler, *data), sampler.facts)

    return map_in_batches(draw_batch, root, count, batch, *data)


def frames_with_ends(
    interpolation: Interpolation, samples: UInt8[np.ndarray, "n h w c"]
) -> tuple[UInt8[np.ndarray, "k 1 h w c"], list[str]]:
    """The pictures of a way with those it was asked for at both ends, and what to call each."""
    names = [f"{share:.2f}" for share in np.linspace(0, 1, len(samples))]
    if not interpolation.inputs:
        return samples[:, None], names
    (first, a), (last, b) = interpolation.inputs.items()
    return np.stack([a, *samples, b])[:, None], [first, *names, last]


def _end_states(
    interpolation: Interpolation,
    sampler: ImageSampler,
    root: Key[Array, ""],
    batch: int,
    cond: PyTree,
    end_cond: PyTree,
) -> Any:
    """The states at the noisiest stop from which the two ends are drawn."""
    if interpolation.ends is None:
        end_root = root if interpolation.seed_to is None else jax.random.key(interpolation.seed_to)
        return [np.asarray(_prior_state(sampler, keys(key_root, 1))[0]) for key_root in (root, end_root)]
    cond_pair = jax.tree.map(lambda one, other: np.stack([one[0], other[0]]), cond, end_cond)
    return map_in_batches(partial(_invert, sampler), root, 2, batch, np.asarray(interpolation.ends), cond_pair)


def _prior_state(p: ImageSampler, keys: Keys) -> Any:
    shape = p.facts.encoding.shape(p.facts.shape)
    return init_state(keys, None, p.noise, p.order, p.step, shape)[0]


def _invert(p: ImageSampler, keys: Keys, x: Any, cond: PyTree) -> Any:
    return invert(keys, p.noise, p.order, p.denoise, x, cond=cond, grid=p.grid, step=p.step)


def _draw_between(p: ImageSampler, keys: Keys, first: Any, second: Any, cond: MixedCondition) -> Any:
    conditional = bool(jax.tree.leaves(cond.first))
    denoise, cond_argument = (edit.mixed(p.denoise), {"cond": cond}) if conditional else (p.denoise, {})
    options = {**cond_argument, "grid": p.grid, "step": p.step, "start": edit.slerp(first, second, cond.share)}
    return sample_for(p.net)(keys, p.noise, p.order, denoise, first.shape[1:], **options)


def _repeat(one: Any, count: int) -> Any:
    """One entry as so many."""
    return one[np.zeros(count, int)]
