"""From a trained model to images: batches of one shape over all devices, the fastest sampling loop, bytes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree, Shaped, UInt8

from diffjax.conditions import fill_condition
from diffjax.denoising import has_head, needs_rank, with_variance
from diffjax.errors import UserError
from diffjax.evaluation import as_bytes
from diffjax.experiment import build
from diffjax.experiment.build import ModelParts
from diffjax.experiment.config import Sample as SamplerConfig
from diffjax.experiment.data_spec import DataSpec
from diffjax.experiment.guidance_spec import build_guidance
from diffjax.grids import Grid
from diffjax.order import Order
from diffjax.parallel.batch_progress import BatchProgress
from diffjax.parallel.dispatch import map_in_batches
from diffjax.protocols import Denoise, GaussianNoise, Keys, Noise, Prediction, Sample, Step
from diffjax.sampling import blockwise, cached
from diffjax.sampling.driver import sample_for
from diffjax.sampling.loop import stepwise
from diffjax.traits import ConditionalNet
from diffjax.utils.prng import KeyUse, fold, keys

Output = TypeVar("Output")


@dataclass(frozen=True)
class ImageSampler:
    """Everything that is decided before keys and conditions: guided denoiser, step rule, grid, and the data.

    `copies`: predictions of the network for one guided prediction.
    """

    net: ConditionalNet
    noise: Noise
    order: Order
    denoise: Denoise
    data: DataSpec
    step: Step
    grid: Grid
    copies: int
    config: SamplerConfig


def build_image_sampler(
    denoise: Denoise,
    model: ModelParts,
    data: DataSpec,
    config: SamplerConfig,
    negative: Mapping[str, object] | None = None,
) -> ImageSampler:
    """The sampler of this config. `negative`: parts of a condition that take the place of the null ones in guidance.

    Raises UserError for settings that do not serve the model, before anything is drawn.
    """
    noise = model.noise
    order = model.order
    net = model.net
    step, grid = build.build_sampler(noise, order, step=config.sampler, grid=config.grid, count=config.steps)
    null = net.null_cond
    if negative:
        null = jax.tree.map(lambda leaf: leaf[0], fill_condition(null, 1, negative))
    guided = build_guidance(_for_rule(denoise, step), noise, grid, null, config)
    if negative and guided.evaluations == 1:
        raise UserError("--negative: a negative prompt needs guidance; add --guidance 2, for example")
    sampler = ImageSampler(net, noise, order, guided.denoise, data, step, grid, guided.evaluations, config)
    _sample_batch(stepwise, sampler, keys(0, 1), None)  # checks grid, rule and order, and runs nothing
    return sampler


def with_denoiser(sampler: ImageSampler, denoise: Denoise) -> ImageSampler:
    """The same sampler with another denoiser, such as one with other weights."""
    suited = _for_rule(denoise, sampler.step)
    guided = build_guidance(suited, sampler.noise, sampler.grid, sampler.net.null_cond, sampler.config)
    return replace(sampler, denoise=guided.denoise)


def _for_rule(denoise: Denoise, step: Step) -> Denoise:
    """The denoiser with the variance that its net has learned, for a rule that draws with it."""
    return with_variance(denoise) if step.prediction_type is Prediction else denoise


def sample_images(
    sampler: ImageSampler,
    root: Key[Array, ""],
    count: int,
    batch: int,
    cond: PyTree,
    progress: BatchProgress | None = None,
) -> UInt8[np.ndarray, "n ..."]:
    """Examples 0 … count - 1, 0 … 255; `cond` has one entry per example, and example i the key folded from i."""

    def draw_batch(keys: Keys, cond: PyTree) -> UInt8[np.ndarray, "b ..."]:
        return to_bytes(_sample_batch(_fastest_loop(sampler, progress), sampler, keys, cond), sampler.data)

    return map_in_batches(draw_batch, root, count, batch, cond, progress=progress)


def sample_states(
    sampler: ImageSampler,
    root: Key[Array, ""],
    count: int,
    batch: int,
    cond: PyTree,
    progress: BatchProgress | None = None,
) -> Shaped[np.ndarray, "n ..."]:
    """The same examples on the scale of the model, before they are rounded to bytes."""
    draw_batch = partial(_sample_batch, _fastest_loop(sampler, progress), sampler)
    return map_in_batches(draw_batch, root, count, batch, cond, progress=progress)


def sample_trajectory(
    sampler: ImageSampler, root: Key[Array, ""], count: int, cond: PyTree
) -> tuple[UInt8[np.ndarray, "k n h w c"], list[float]]:
    """The first `count` images at every step, and the clock there.

    Continuous pixels are clipped to be shown; masked tokens have a colour of their own.
    """
    data = sampler.data
    example_cond = jax.tree.map(lambda leaf: leaf[:count], cond)
    states = list(_sample_batch(stepwise, sampler, keys(root, count), example_cond))
    frames = [data.encoding.frame(x, data.shape, data.levels) for x in states[:-1]]
    final_frame = np.broadcast_to(to_bytes(states[-1], data), frames[0].shape)  # grey pixels, and coloured masks
    return np.stack([*frames, final_frame]), [float(u) for u in sampler.grid]


def subsample_states(
    frames: UInt8[np.ndarray, "k n h w c"], clock: list[float], max_count: int = 11
) -> tuple[UInt8[np.ndarray, "_ n h w c"], list[float]]:
    """At most `max_count` evenly spaced states, the first and the last among them."""
    indices = np.unique(np.linspace(0, len(frames) - 1, min(max_count, len(frames))).round().astype(int))
    return frames[indices], [clock[i] for i in indices]


def count_evaluations(sampler: ImageSampler) -> tuple[int, int]:
    """Evaluations of the network per sample (NFE), and of its head where that is evaluated more often than the rest."""
    steps = (len(sampler.grid) - 1) * sampler.step.evaluations * sampler.copies
    return (sampler.order.blocks * sampler.copies, steps) if _is_blockwise(sampler) else (steps, 0)


def describe_cost(sampler: ImageSampler) -> str:
    """The number of evaluations of a sample as text."""
    net_calls, head_calls = count_evaluations(sampler)
    head = f", {head_calls} of its head" if head_calls else ""
    return f"{net_calls} of the net{head} per sample"


def to_bytes(x: Shaped[Array | np.ndarray, "n ..."], data: DataSpec) -> UInt8[np.ndarray, "n ..."]:
    """Examples as bytes 0 … 255, rounded to the levels of the data."""
    levels = data.encoding.decode(x, data.shape, data.levels)
    return as_bytes(levels.astype(np.uint8), data.levels)


def _sample_batch(loop: Callable[..., Output], sampler: ImageSampler, keys: Keys, cond: PyTree) -> Output:
    shape = sampler.data.encoding.shape(sampler.data.shape)
    options = {"cond": cond, "grid": sampler.grid, "step": sampler.step}
    if sampler.grid[0] < 1 and isinstance(sampler.noise, GaussianNoise):
        options["start"] = _start_below_one(sampler.noise, keys, sampler.grid[0], shape)
    return loop(keys, sampler.noise, sampler.order, sampler.denoise, shape, **options)


def _start_below_one(noise: GaussianNoise, keys: Keys, t: Array, shape: tuple[int, ...]) -> Array:
    """Noise of the variance of x_t in the place of x_t, as published code begins a chain by its `leading` steps."""
    m = noise.coefficients(t)
    std = jnp.sqrt((m.alpha * noise.data_std) ** 2 + m.sigma**2)
    return std * jax.vmap(lambda key: jax.random.normal(key, shape))(fold(keys, KeyUse.PRIOR))


def _fastest_loop(sampler: ImageSampler, progress: BatchProgress | None = None) -> Callable[..., Sample]:
    """The sampling loop that suits the net: with its key-value cache, by its head, one scan, or step by step."""
    if needs_rank(sampler.net) and cached.is_one_per_step(sampler.grid, prod(sampler.data.shape)):
        return cached.sample
    if _is_blockwise(sampler):
        return blockwise.sample
    watch = iter if progress is None else partial(progress.watch, steps=len(sampler.grid) - 1)
    return sample_for(sampler.net, watch=watch)


def _is_blockwise(sampler: ImageSampler) -> bool:
    """Whether the net's trunk is needed only once per block of positions."""
    one_evaluation = sampler.step.evaluations == 1
    return has_head(sampler.denoise) and one_evaluation and blockwise.is_blockwise(sampler.grid, sampler.order)
