"""Samples of trained models of photographs, as numbers in [0, 1]."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import diffjax as dj
from diffjax.commands.image_sampler import ImageSampler, build_image_sampler, sample_states
from diffjax.commands.size_flag import TILES_PER_CALL
from diffjax.conditions import fill_condition
from diffjax.data import open_dataset
from diffjax.edit import Method, Observation
from diffjax.experiment.build import ModelParts
from diffjax.experiment.other_size import Size, denoiser_of, resize_model, tile_model
from diffjax.experiment.trained_model import TrainedModel
from diffjax.parallel.batch_progress import BatchProgress
from diffjax.parallel.dispatch import map_in_batches
from diffjax.protocols import Keys
from photographic.measures import Images

BATCH = 64


class Drawing(NamedTuple):
    """A model at some size, and its sampler."""

    model: TrainedModel
    sampler: ImageSampler


def open_run(workdir: Path, **sampler: Any) -> Drawing:
    """The newest weights of a run, with its own sampler, but for these settings."""
    return _drawing(dj.load(workdir), **sampler)


def at_size(drawing: Drawing, size: Size, tile_overlap: int | None = None) -> Drawing:
    """The same for pictures of another size, at once or by tiles."""
    model = drawing.model
    other = resize_model(model, size) if tile_overlap is None else tile_model(model, size, tile_overlap, TILES_PER_CALL)
    return _drawing(other, **vars(drawing.sampler.config))


def _drawing(model: TrainedModel, **sampler: Any) -> Drawing:
    config = model.info.config.sample
    config = type(config)(**{**vars(config), **sampler})
    parts = ModelParts(model.noise, model.order, model.info.net)
    return Drawing(model, build_image_sampler(denoiser_of(model), parts, model.info.data, config))


def enlarged(drawing: Drawing, low: Images, each: int, seed: int = 0) -> np.ndarray:
    """`each` samples [each, n, h, w, c] of a model of low_res for every picture at low resolution, without noise."""
    net = drawing.model.info.net
    small = np.tile((2 * low - 1).astype(np.float32), (each, 1, 1, 1))
    channels = net.null_cond["low_res"].value.shape[-1]
    value = np.concatenate([small, np.zeros((*small.shape[:3], channels - small.shape[3]), np.float32)], axis=-1)
    cond = fill_condition(net.null_cond, len(value), {"low_res": value})
    x = sample_states(drawing.sampler, jax.random.key(seed), len(value), BATCH, cond, BatchProgress(len(value)))
    return _unit(x).reshape(each, len(low), *x.shape[1:])


def styled(drawing: Drawing, references: Images, seed: int = 0) -> Images:
    """A sample for each reference of its look."""
    cond = fill_condition(drawing.model.info.net.null_cond, len(references), {"reference": 2 * references - 1})
    count = len(references)
    return _unit(sample_states(drawing.sampler, jax.random.key(seed), count, BATCH, cond, BatchProgress(count)))


def drawn(drawing: Drawing, count: int, seed: int = 0) -> Images:
    """Samples without a condition."""
    cond = fill_condition(drawing.model.info.net.null_cond, count, {})
    return _unit(sample_states(drawing.sampler, jax.random.key(seed), count, BATCH, cond, BatchProgress(count)))


def solved(drawing: Drawing, observe: Any, seen: np.ndarray, each: int, method: Method, seed: int = 0) -> np.ndarray:
    """`each` posterior samples [each, n, …] of every observation `observe(seen[i])` of numbers in [−1, 1]."""
    sampler = drawing.sampler

    def draw(keys: Keys, values: jax.Array) -> jax.Array:
        observation: Observation = observe(values)
        return dj.edit.solve(
            keys, sampler.noise, sampler.order, sampler.denoise, observation, method=method, grid=sampler.grid
        )

    values = np.tile(seen.astype(np.float32), (each, *(1,) * (seen.ndim - 1)))
    with BatchProgress(len(values)) as progress:
        x = map_in_batches(draw, jax.random.key(seed), len(values), BATCH, values, progress=progress)
    return _unit(x).reshape(each, len(seen), *x.shape[1:])


def regressed(drawing: Drawing, low: Images) -> Images:
    """E[x0 | low] of a model that was trained at t = 1 alone: one step of ddim."""
    return enlarged(drawing, low, 1)[0]


def photo_patches(split: str, size: Size, count: int) -> Images:
    """Evenly chosen patches of a split of `photos`, at most `count`."""
    dataset = open_dataset("photos", image_size=size)
    rows = np.unique(np.linspace(0, len(dataset.split(split)) - 1, count).round().astype(int))
    images, _ = dataset.arrays(split, rows)
    return np.asarray(images, np.float64) / 255


def _unit(x: np.ndarray) -> Images:
    return np.clip((np.asarray(x, np.float64) + 1) / 2, 0, 1)
