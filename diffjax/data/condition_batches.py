"""Conditions of examples: class and parts, each a function of the example alone, assembled into batches."""

from collections.abc import Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Integer, Key, PyTree

from diffjax.conditions import LABEL
from diffjax.data.condition_parts import Maker, Part, part_context
from diffjax.data.part_values import gather_parts
from diffjax.data.splits import Dataset
from diffjax.errors import UserError
from diffjax.protocols import ConditionPart, Keys
from diffjax.utils.prng import fold

Values = Mapping[str, np.ndarray | jax.Array]  # of each part: [n, *shape], or [n, choices, *shape]


def build_parts(makers: Sequence[Maker], dataset: Dataset) -> tuple[Part, ...]:
    """The parts of a data set. Raises `UserError` for a maker that does not suit it, and for a repeated name."""
    _check_not_generated(makers, dataset)
    context = part_context(dataset)
    try:
        parts = tuple(maker(context) for maker in makers)
    except UserError as mistake:
        raise UserError(f"data.parts: data set {dataset.name!r}: {mistake}") from None
    computed = next((part.name for part in parts if part.of_image and not part.reads), None)
    if dataset.real and computed is not None:
        raise UserError(f"data.parts: {computed!r} is computed of images, and {dataset.name!r} holds real numbers")
    names = [LABEL, *(part.name for part in parts)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"data.parts: more than one part would be called {twice!r}; leave all but one out")
    return parts


def check_parts(parts: Sequence[Part], dataset: Dataset, augmented: bool) -> None:
    """Raises `UserError` for parts of a generated set, and for parts of the image if images are augmented or vary."""
    _check_not_generated(parts, dataset)
    of_one_size = next((part.name for part in parts if part.of_image or (not part.reads and len(part.shape) > 1)), None)
    if of_one_size is not None and len(dataset.sizes) > 1:
        problem = f"{of_one_size!r} is of one size, and data.image_size gives {len(dataset.sizes)}"
        raise UserError(f"data.parts: {problem}; leave it out, or set one size")
    conflict = next((part.name for part in parts if part.of_image and augmented), None)
    if conflict is not None:
        raise UserError(f"data.augment: {conflict!r} of data.parts describes the unchanged image; leave one out")


def split_conditions(
    dataset: Dataset, split: str, rows: Integer[np.ndarray, " n"] | None = None, parts: Sequence[Part] = ()
) -> PyTree:
    """Conditions of rows of a split, by default all: labels, or with parts {"label": labels, name: ConditionPart}.

    Parts with choices take the first.
    """
    source = dataset.split(split)
    rows = np.arange(len(source)) if rows is None else rows
    images, labels = dataset.arrays(split, rows)
    values = gather_parts(source, rows, images, labels, parts)
    return (
        assemble_condition(labels, {part.name: _first_variant(part, values[part.name]) for part in parts}, parts)
        if parts
        else labels
    )


def draw_variants(values: Values, parts: Sequence[Part], keys: Keys | None) -> dict[str, jax.Array]:
    """For each part with choices one of them, and pictures with their noise, by each example's key; under jit."""
    drawn = {}
    for number, part in enumerate(parts):
        value = jnp.asarray(values[part.name])
        if part.random:
            assert keys is not None, "such a part is drawn by chance"
            value = jax.vmap(partial(_draw_variant, part))(fold(keys, number), value)
        drawn[part.name] = value
    return drawn


def _draw_variant(part: Part, key: Key[Array, ""], value: jax.Array) -> jax.Array:
    if part.choices:
        value = value[jax.random.randint(key, (), 0, part.choices)]
    if part.noise:
        level_key, noise_key = jax.random.split(key)
        level = part.noise * jax.nn.relu(jax.random.uniform(level_key, minval=-1, maxval=1))
        noise = jax.random.normal(noise_key, value.shape, value.dtype).at[..., -1].set(1)
        value += level * noise
    return value


def assemble_condition(
    labels: Integer[np.ndarray | jax.Array, " b"] | None, values: Values, parts: Sequence[Part]
) -> dict[str, PyTree]:
    """The condition of a batch; a part is present unless its value is the part's `absent` throughout."""
    condition = {part.name: ConditionPart(values[part.name], _present(part, values[part.name])) for part in parts}
    return condition if labels is None else {LABEL: labels, **condition}


def _present(part: Part, value: np.ndarray | jax.Array) -> Bool[np.ndarray | jax.Array, " b"]:
    if part.absent is None:
        return np.ones(len(value), bool)
    return (value != part.absent).reshape(len(value), -1).any(axis=1)


def _check_not_generated(parts: Sequence[object], dataset: Dataset) -> None:
    if parts and dataset.distribution is not None:
        raise UserError(f"data.parts: {dataset.name!r} is drawn from a known distribution; leave parts out")


def _first_variant(part: Part, value: np.ndarray) -> np.ndarray:
    return value[:, 0] if part.choices else value
