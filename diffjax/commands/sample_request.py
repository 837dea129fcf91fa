"""What a user asks of a model as a whole, and everything that is built and checked of it before sampling."""

from dataclasses import fields, replace
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int32, Key, PyTree, UInt8

from diffjax.commands import image_sampler
from diffjax.commands.condition_inputs import ConditionRequest, build_conditions, tokenize_prompt
from diffjax.commands.image_sampler import ImageSampler, build_image_sampler
from diffjax.experiment.build import ModelParts
from diffjax.experiment.config import Sample as SamplerConfig
from diffjax.experiment.trained_model import TrainedModel

SETTINGS = tuple(field.name for field in fields(SamplerConfig))
CONDITIONS = ("label", "prompt", "sketch")


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

    def images(self, count: int, batch: int) -> UInt8[np.ndarray, "n h w c"]:
        """The samples, 0 … 255, drawn `batch` at a time."""
        return image_sampler.sample_images(self.sampler, self.root, count, batch, self.cond)


def prepare_request(
    model: TrainedModel, request: SampleRequest, count: int, random_labels: bool = True
) -> PreparedRequest:
    """What draws `count` samples of a trained model. Raises UserError before anything is drawn.

    Where no condition is requested, labels are drawn as in training, if `random_labels`.
    """
    denoise, noise, order, info = model
    root = jax.random.key(request.seed)
    cond, labels = build_conditions(info, request.condition, root, count, random_labels)
    negative = {} if request.negative is None else tokenize_prompt(info.net, request.negative, "--negative")
    parts = ModelParts(noise, order, info.net)
    sampler = build_image_sampler(denoise, parts, info.data, request.sampler, negative)
    return PreparedRequest(sampler, root, cond, labels)
