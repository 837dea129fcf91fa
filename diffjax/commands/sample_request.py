"""A request for samples of a model, checked and built before sampling; one set of samples, or a grid of settings."""

from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import product
from math import prod
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int32, Key, PyTree, UInt8

from diffjax.commands import image_sampler
from diffjax.commands.condition_inputs import (
    ConditionRequest,
    build_conditions,
    label_index,
    number_parts,
    prompt_part,
)
from diffjax.commands.image_sampler import ImageSampler, build_image_sampler
from diffjax.commands.sweep_values import Lists, parse_lists
from diffjax.edit import MixedCondition, mixed
from diffjax.errors import UserError
from diffjax.experiment.build import ModelParts
from diffjax.experiment.config import Sample as SamplerConfig
from diffjax.experiment.other_size import denoiser_of
from diffjax.experiment.trained_model import TrainedModel
from diffjax.parallel.batch_progress import BatchProgress
from diffjax.reports import crossed_grid, describe_settings

SETTINGS = tuple(field.name for field in fields(SamplerConfig))
CONDITIONS = ("label", "prompt", "sketch", "low_res", "style")
MAX_CELLS = 400


class SampleRequest(NamedTuple):
    """The sampler's settings, the condition, the negative prompt and the seed."""

    sampler: SamplerConfig
    condition: ConditionRequest = ConditionRequest()
    negative: str | None = None
    seed: int = 0

    def with_value(self, name: str, value: object) -> "SampleRequest":
        """The same with another value of one setting, part of the condition, seed or number."""
        if name in SETTINGS:
            return self._replace(sampler=replace(self.sampler, **{name: value}))
        if name in ("negative", "seed"):
            return self._replace(**{name: value})
        if name in CONDITIONS:
            return self._replace(condition=self.condition._replace(**{name: value}))
        numbers = (*self.condition.numbers, f"{name}={value}")
        return self._replace(condition=self.condition._replace(numbers=numbers))


class PreparedRequest(NamedTuple):
    """What draws the samples, once everything is checked; `labels` are those of the samples, where they have any."""

    sampler: ImageSampler
    root: Key[Array, ""]
    cond: PyTree
    labels: Int32[np.ndarray, " n"] | None

    def images(self, count: int, batch: int, progress: BatchProgress) -> UInt8[np.ndarray, "n ..."]:
        """The samples, 0 … 255, drawn `batch` at a time."""
        return image_sampler.sample_images(self.sampler, self.root, count, batch, self.cond, progress)


def prepare_request(
    model: TrainedModel, request: SampleRequest, count: int, random_labels: bool = True
) -> PreparedRequest:
    """What draws `count` samples of a trained model. Raises UserError before anything is drawn.

    Where no condition is requested, labels are drawn as in training, if `random_labels`.
    """
    info = model.info
    root = jax.random.key(request.seed)
    cond, labels = build_conditions(info, request.condition, root, count, random_labels)
    negative = {} if request.negative is None else prompt_part(info, request.negative, "--negative")
    parts = ModelParts(model.noise, model.order, info.net)
    sampler = build_image_sampler(denoiser_of(model), parts, info.data, request.sampler, negative)
    if isinstance(cond, MixedCondition):
        sampler = replace(sampler, denoise=mixed(sampler.denoise), copies=2 * sampler.copies)
    return PreparedRequest(sampler, root, cond, labels)


def image_grid(
    model: TrainedModel, request: SampleRequest, texts: Sequence[str], count: int, batch: int
) -> UInt8[np.ndarray, "_ _ 3"]:
    """One picture with `count` samples for each value, or each pair of values, of ["guidance=1,2,4", "steps=5,10"].

    All cells are drawn from the same keys, so they differ by what is varied alone. Raises UserError, before anything is
    drawn, for what cannot be varied or does not serve the model.
    """
    lists = _parse_axes(model, texts)
    names = list(lists)
    rows, columns = [*lists.values(), [None]][:2]
    cells = [_prepare_cell(model, request, names, pair, count) for pair in product(rows, columns)]
    with BatchProgress(count * len(cells)) as progress:
        samples = np.stack([cell.images(count, batch, progress) for cell in cells])
    row_names = [describe_settings({names[0]: value}) for value in rows]
    column_names = [describe_settings({names[1]: value}) for value in columns] if names[1:] else [""]
    return crossed_grid(samples.reshape(len(rows), len(columns), *samples.shape[1:]), row_names, column_names)


def _parse_axes(model: TrainedModel, texts: Sequence[str]) -> Lists:
    """One or two names, each with its values. Raises UserError for more, or for too many cells."""
    numbers = number_parts(model.info.net)
    lists = parse_lists(texts, (*SETTINGS, *CONDITIONS, "negative", "seed", *numbers))
    if len(lists) <= 2 and all(lists.values()) and prod(map(len, lists.values())) <= MAX_CELLS:
        return lists
    problem = "; ".join(f"{name}: {len(values)} values" for name, values in lists.items())
    raise UserError(
        f"--sweep: expected one or two names with their values, {MAX_CELLS} cells at most, got {problem}; write "
        "--sweep guidance=1,2,4 --sweep steps=5,10"
    )


def _prepare_cell(
    model: TrainedModel, request: SampleRequest, names: Sequence[str], values: Sequence[object], count: int
) -> PreparedRequest:
    """The request of one cell, prepared; a label is given by index or name."""
    for name, value in zip(names, values, strict=False):
        is_label = name == "label"
        request = request.with_value(name, label_index(model.info, str(value), "--sweep label") if is_label else value)
    return prepare_request(model, request, count)
