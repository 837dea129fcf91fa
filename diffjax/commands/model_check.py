"""What a model is, and what drawing with it needs: parameters, memory and time, without drawing anything."""

import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from diffjax.commands.image_sampler import ImageSampler, count_evaluations, describe_cost
from diffjax.commands.preflight import format_bytes
from diffjax.errors import tell
from diffjax.experiment.config import Model
from diffjax.experiment.trained_model import TrainedModel
from diffjax.utils.waiting import Waiting

TRAINING_FIELDS = ("net", "schedule", "prediction", "inputs", "order", "data_std")
REPEATS = 3  # of a timed evaluation


def check_model(model: TrainedModel, sampler: ImageSampler, cond: object) -> None:
    """Tell what the model is, how a config names it, and what a sample takes, by one evaluation that is timed."""
    waiting = Waiting("compiling, and the first evaluation")
    needs = list(_describe_needs(model, sampler, cond))
    waiting.end()
    tell(*_describe_model(model), *needs)


def _describe_model(model: TrainedModel) -> Iterator[str]:
    info = model.info
    leaves = jax.tree.leaves(model.denoise.variables)
    kind = "pictures" if info.data.of_images else "arrays"
    classes = f", {info.data.classes} classes" if info.conditional else ", unconditional"
    through = (
        "" if info.data.latents is None else f", through latents of shape {info.data.encoding.shape(info.data.shape)}"
    )
    yield f"draws {kind} of shape {info.data.shape}{through}{classes}"
    yield f"parameters: {sum(leaf.size for leaf in leaves):,}, {format_bytes(sum(leaf.nbytes for leaf in leaves))}"
    yield from (f"  --config.model.{name}={value}" for name, value in _training_section(info.config.model))


def _training_section(section: Model) -> Iterator[tuple[str, object]]:
    """The fields of a config that a training which begins with these weights has."""
    return ((name, vars(section)[name]) for name in TRAINING_FIELDS if vars(section)[name] not in ("", None))


def _describe_needs(model: TrainedModel, sampler: ImageSampler, cond: object) -> Iterator[str]:
    data = sampler.data
    shape = data.encoding.shape(data.shape)
    x = jnp.zeros((1, *shape))
    t = jnp.full((1,) * x.ndim, 0.5)
    first = jax.tree.map(lambda leaf: jnp.asarray(leaf[:1]), cond)
    program = jax.jit(lambda denoise, x, t, cond: denoise(x, t, cond)).lower(sampler.denoise, x, t, first).compile()
    seconds = min(_timed(program, sampler.denoise, x, t, first) for _ in range(1 + REPEATS))
    count = max(count_evaluations(sampler)) // sampler.copies  # the guided denoiser makes all copies at once
    yield f"one evaluation: {seconds:.3g} s, for one sample on {jax.devices()[0].device_kind}"
    yield f"a sample: {describe_cost(sampler)}, about {seconds * count:.3g} s"
    if (stats := program.memory_analysis()) is not None:
        yield f"memory beside the parameters: {format_bytes(stats.temp_size_in_bytes)} for one sample at a time"
    if data.latents is not None:
        begin = time.perf_counter()
        data.encoding.decode(np.zeros((1, *shape), np.float32), data.shape, data.levels)
        yield f"decoding: at most {time.perf_counter() - begin:.3g} s a picture, its compilation included"


def _timed(program: jax.stages.Compiled, *arguments: object) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(program(*arguments))
    return time.perf_counter() - begin
