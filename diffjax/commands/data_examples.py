"""Some images of a split as the model sees them, and their standard deviation."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from diffjax.conditions import select_parts
from diffjax.data import Dataset
from diffjax.data.condition_batches import split_conditions
from diffjax.data.condition_parts import Part
from diffjax.errors import UserError
from diffjax.experiment import data_spec
from diffjax.experiment.config import Model
from diffjax.training.data_parallel import broadcast_from_first_host
from diffjax.utils.prng import keys

MAX_EXAMPLES = 512  # images from which the deviation is measured, at most
LARGEST = 2**24  # numbers in them, at most
DIGITS = 3  # of the deviation: more would depend on which images are measured
OF_TOKENS = 1.0  # stands in a config for a deviation that nothing reads


def encode_examples(
    dataset: Dataset,
    split: str,
    count: int,
    facts: data_spec.DataSpec,
    null: PyTree = None,
    parts: Sequence[Part] = (),
) -> tuple[Any, Any, Any]:
    """Keys, x and conditions of evenly chosen images of a split, as the model sees them, and knows them."""
    source = dataset.split(split)
    rows = np.unique(np.linspace(0, len(source) - 1, min(count, len(source))).round().astype(int))
    images, _ = dataset.arrays(split, rows)
    root = keys(0, len(rows))
    x = facts.encoding.encode(root, jnp.asarray(images), facts.levels)
    cond = select_parts(null, split_conditions(dataset, split, rows, parts))
    return root, x, jax.tree.map(jnp.asarray, cond)


def standard_deviation(dataset: Dataset, facts: data_spec.DataSpec) -> float:
    """That of all numbers of up to `MAX_EXAMPLES` training images as the model sees them, to `DIGITS` digits.

    0 of tokens. Equal on all hosts, which call it together.
    """
    if facts.encoding.discrete:
        return 0.0
    count = max(1, min(MAX_EXAMPLES, LARGEST // prod(facts.shape)))
    x = np.asarray(encode_examples(dataset, "train", count, facts)[1])
    std = broadcast_from_first_host(
        float(x.std()) if x.min() < x.max() else 0.0
    )  # rounding leaves something where all are equal
    return float(f"{std:.{DIGITS}g}")


def with_data_std(model: Model, measured: float, facts: data_spec.DataSpec) -> Model:
    """The config's `model` fields with the measured deviation in place of a `data_std` of None.

    Raises UserError where it is 0: an image of one colour has none.
    """
    if model.data_std is not None:
        return model
    if not measured and not facts.encoding.discrete:
        raise UserError(
            "config.model.data_std: all pixels of the training images that were measured are equal, so they have no "
            "standard deviation; give one, such as 0.5"
        )
    return replace(model, data_std=measured or OF_TOKENS)
