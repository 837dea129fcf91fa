"""From a loaded model to pictures in bytes: labels for those who ask for none, batches of one shape, all devices."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, Key, PyTree, Shaped, UInt8

from diffjax.conditions import LABEL, fill_condition, has_label
from diffjax.data import byte_tokenizer
from diffjax.denoising import denoiser, has_head, needs_rank
from diffjax.errors import UserError
from diffjax.evaluation import as_bytes as spread
from diffjax.experiment import build
from diffjax.experiment.config import Sample
from diffjax.experiment.data_spec import DataSpec
from diffjax.experiment.guidance_spec import build_guidance
from diffjax.grids import Grid
from diffjax.nets.condition_encoders import Text
from diffjax.order import Order
from diffjax.parallel.dispatch import map_in_batches
from diffjax.protocols import Denoise, Keys, Noise, Step
from diffjax.reports import grid as picture_of
from diffjax.reports import labelled_grid
from diffjax.sampling import blockwise, cached
from diffjax.sampling.driver import sample_for
from diffjax.sampling.loop import stepwise
from diffjax.traits import net_traits
from diffjax.utils.prng import KeyUse, fold, keys

Report = Callable[[int, int], object]  # is called with the numbers of examples that are done and of all
PER_CLASS = 10  # pictures of a class, and classes, that a gallery shows


@dataclass(frozen=True)
class ImageSampler:
    """Everything that is decided before a key and a label: the model under guidance, the rule, the grid, the data."""

    net: Any
    noise: Noise
    order: Order
    denoise: Denoise
    facts: DataSpec
    step: Step
    grid: Grid
    copies: int  # predictions of the net that guidance takes for one


def build_image_sampler(
    denoise: Denoise,
    noise: Noise,
    order: Order,
    net: Any,
    facts: DataSpec,
    settings: dict[str, Any],
    negative: Mapping[str, Any] | None = None,
) -> ImageSampler:
    """The sampler of these settings: sampler, grid, steps, and those of guidance (`guidance_spec.build_guidance`).

    `negative` are parts of a condition to be led away from, by guidance. Raises UserError for settings that do not
    serve the model, before anything is drawn.
    """
    step, grid = build.build_sampler(
        noise, order, step=settings["sampler"], grid=settings["grid"], count=settings["steps"]
    )
    null = net.null_cond
    if negative:
        null = jax.tree.map(lambda leaf: leaf[0], fill_condition(null, 1, negative))
    guided = build_guidance(denoise, noise, grid, null, Sample(**settings))
    if negative and guided.evaluations == 1:
        raise UserError("--negative: it is guidance that leads away from it; give --guidance 2, or so")
    image_sampler = ImageSampler(net, noise, order, guided.denoise, facts, step, grid, guided.evaluations)
    _sample_batch(
        stepwise, image_sampler, keys(0, 1), None
    )  # checks grid, rule and order against each other, and runs nothing
    return image_sampler


def sample_gallery(
    model: build.ModelParts, facts: DataSpec, settings: dict[str, Any], known_cond: PyTree = None
) -> Callable[[PyTree], UInt8[np.ndarray, "h w c"]]:
    """A picture of weights: samples of the same keys each time, one row for each of the first classes.

    A net without classes, but with other parts, gets a row for each of the conditions that are `known_cond`. Raises
    UserError for settings that do not serve the model, before anything is drawn.
    """
    names, row_cond = _gallery_rows(model.net, facts, known_cond)
    rows = np.repeat(np.arange(len(names), dtype=np.int32), PER_CLASS) if names else None
    cond = jax.tree.map(lambda leaf: np.asarray(leaf)[rows], row_cond)
    count = PER_CLASS * (len(names) or PER_CLASS)
    without = denoiser(model.noise, model.net, {"params": {}})  # weights come with each picture
    frame = build_image_sampler(without, model.noise, model.order, model.net, facts, settings)

    def draw(variables: PyTree) -> UInt8[np.ndarray, "h w c"]:
        host_params = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf.addressable_data(0))), variables)
        denoise = denoiser(model.noise, model.net, host_params)
        guided = build_guidance(denoise, model.noise, frame.grid, model.net.null_cond, Sample(**settings))
        images = sample_images(replace(frame, denoise=guided.denoise), jax.random.key(0), count, count, cond)
        return picture_of(images, PER_CLASS) if rows is None else labelled_grid(images, rows, names, PER_CLASS)

    return draw


def _gallery_rows(net: Any, facts: DataSpec, known_cond: PyTree) -> tuple[tuple[str, ...], PyTree]:
    """What each row of a gallery is called, and its condition; of no names, rows are not told apart."""
    if has_label(net.null_cond):
        names = facts.class_names[:PER_CLASS]
        return names, np.arange(len(names), dtype=np.int32)
    if not isinstance(net.null_cond, dict):
        return (), None
    count = len(jax.tree.leaves(known_cond)[0])
    encoders = [encoder for encoder in net_traits(net).conditions if isinstance(encoder, Text)]
    words = known_cond[encoders[0].part].value if encoders else None
    return tuple(map(str, range(count)) if words is None else byte_tokenizer.decode(np.asarray(words))), known_cond


def sample_images(
    sampler: ImageSampler, root: Key[Array, ""], count: int, batch: int, cond: PyTree, report: Report | None = None
) -> UInt8[np.ndarray, "n h w c"]:
    """Draw examples 0 … count - 1; `cond` has one entry per example, and example i has the key folded from i."""

    def draw_batch(keys: Keys, cond: PyTree) -> UInt8[np.ndarray, "b h w c"]:
        return to_bytes(_sample_batch(_fastest_driver(sampler), sampler, keys, cond), sampler.facts)

    return map_in_batches(draw_batch, root, count, batch, _complete_condition(sampler, cond, count), report=report)


def sample_states(
    sampler: ImageSampler, root: Key[Array, ""], count: int, batch: int, cond: PyTree, report: Report | None = None
) -> Shaped[np.ndarray, "n ..."]:
    """The same examples as the model has them, before they are rounded to bytes."""
    full_cond = _complete_condition(sampler, cond, count)
    return map_in_batches(
        partial(_sample_batch, _fastest_driver(sampler), sampler), root, count, batch, full_cond, report=report
    )


def _complete_condition(p: ImageSampler, cond: PyTree, count: int) -> PyTree:
    """The condition as the net has it: of labels alone, or of none, the other parts say nothing."""
    null = p.net.null_cond
    if not isinstance(null, dict) or isinstance(cond, dict):
        return cond
    return fill_condition(null, count, {} if cond is None else {LABEL: cond})


def sample_trajectory(
    sampler: ImageSampler, root: Key[Array, ""], count: int, cond: PyTree
) -> tuple[UInt8[np.ndarray, "k n h w c"], list[float]]:
    """The first pictures with every state on their way, and the clock at each.

    Numbers are clipped to be shown; tokens that are hidden have a colour of their own.
    """
    example_cond = jax.tree.map(lambda leaf: leaf[:count], cond)
    states, facts = (
        list(_sample_batch(stepwise, sampler, keys(root, count), _complete_condition(sampler, example_cond, count))),
        sampler.facts,
    )
    frames = [facts.encoding.frame(x, facts.shape, facts.levels) for x in states[:-1]]
    final_frame = np.broadcast_to(to_bytes(states[-1], facts), frames[0].shape)  # of grey pixels on a coloured way
    return np.stack([*frames, final_frame]), [float(u) for u in sampler.grid]


def subsample_states(
    frames: UInt8[np.ndarray, "k n h w c"], clock: list[float], max_count: int = 11
) -> tuple[UInt8[np.ndarray, "_ n h w c"], list[float]]:
    """At most so many of the states, evenly chosen, the first and the last among them."""
    indices = np.unique(np.linspace(0, len(frames) - 1, min(max_count, len(frames))).round().astype(int))
    return frames[indices], [clock[i] for i in indices]


def _sample_batch(driver: Callable[..., Any], p: ImageSampler, keys: Keys, cond: PyTree) -> Any:
    shape = p.facts.encoding.shape(p.facts.shape)
    return driver(keys, p.noise, p.order, p.denoise, shape, cond=cond, grid=p.grid, step=p.step)


def _fastest_driver(p: ImageSampler) -> Callable[..., Any]:
    """The way to the same pictures that suits the net: by its cache, by its head, one scan, or step by step."""
    if needs_rank(p.net) and cached.is_one_per_step(p.grid, prod(p.facts.shape)):
        return cached.sample
    return blockwise.sample if _samples_by_head(p) else sample_for(p.net)


def _samples_by_head(p: ImageSampler) -> bool:
    """Whether the net's large part need see each block of positions but once."""
    return has_head(p.denoise) and p.step.evaluations == 1 and blockwise.is_blockwise(p.grid, p.order)


def count_evaluations(sampler: ImageSampler) -> tuple[int, int]:
    """Of the net for a sample, or of its large part, and of its head where that is asked alone.

    Guidance asks the net for more than one prediction at a time.
    """
    steps = (len(sampler.grid) - 1) * sampler.step.evaluations * sampler.copies
    return (sampler.order.blocks * sampler.copies, steps) if _samples_by_head(sampler) else (steps, 0)


def describe_cost(sampler: ImageSampler) -> str:
    """The same in words."""
    net_calls, head_calls = count_evaluations(sampler)
    return (
        f"{net_calls} of the net, {head_calls} of its head per sample"
        if head_calls
        else f"{net_calls} of the net per sample"
    )


def check_label(label: int | None, classes: int) -> None:
    """Raise UserError for a label that the model does not know."""
    if label is not None and not 0 <= label < classes:
        problem = f"expected 0 … {classes - 1}" if classes else "this model has no classes; leave --label out"
        raise UserError(f"--label {label}: {problem}")


def sample_labels(
    root: Key[Array, ""], count: int, frequencies: tuple[float, ...], label: int | None
) -> Int32[np.ndarray, " n"] | None:
    """The label asked for, or labels drawn by each example's key by the training's shares; None without classes."""
    check_label(label, len(frequencies))
    if not frequencies:
        return None
    if label is not None:
        return np.full(count, label, np.int32)
    logits = jnp.log(jnp.asarray(frequencies))
    random_labels = jax.vmap(lambda key: jax.random.categorical(key, logits))(fold(keys(root, count), KeyUse.LABEL))
    return np.asarray(random_labels, np.int32)


def to_bytes(x: Any, facts: DataSpec) -> UInt8[np.ndarray, "n h w c"]:
    """Examples as bytes 0 … 255, rounded to the data's own levels."""
    levels = facts.encoding.decode(x, facts.shape, facts.levels)
    return spread(levels.astype(np.uint8), facts.levels)
