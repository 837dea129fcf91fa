"""The values of the parts of a condition, each a function of its example alone."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from jaxtyping import Int32, Integer

from diffjax.data.condition_parts import Part
from diffjax.data.examples import Example
from diffjax.data.generated_split import GeneratedSplit
from diffjax.data.splits import Split, StoredFeatures
from diffjax.errors import UserError


def part_values(row: int, example: Example, stored: StoredFeatures, parts: Sequence[Part]) -> dict[str, np.ndarray]:
    """The value of each part of one example, with all choices; `stored` reads its stored features."""
    features = stored() if any(part.reads for part in parts) else {}
    return {part.name: _part_value(part, row, example, features) for part in parts}


def gather_parts(
    source: Split | GeneratedSplit,
    rows: Integer[np.ndarray, " n"],
    images: np.ndarray,
    labels: Int32[np.ndarray, " n"] | None,
    parts: Sequence[Part],
) -> dict[str, np.ndarray]:
    """The values of the parts of these rows with their images and labels, with all choices."""
    sizes = {part.name: (len(rows), *_full_shape(part)) for part in parts}
    values = {part.name: np.empty(sizes[part.name], part.dtype) for part in parts}
    for i, row in enumerate(rows if parts else ()):
        example: Example = {"image": images[i], "label": np.int32(0 if labels is None else labels[i])}
        stored = partial(source.features, int(row))
        for name, value in part_values(int(row), example, stored, parts).items():
            values[name][i] = value
    return values


def _part_value(part: Part, row: int, example: Example, features: Mapping[str, object]) -> np.ndarray:
    try:
        source = features.get(part.reads) if part.reads else example["image"]
        if source is None:
            raise UserError(f"nothing is stored as {part.reads!r}; prepare the set again")
        value = np.asarray(part.make(source, int(example["label"])))
    except UserError as mistake:
        raise UserError(f"data.parts: {part.name!r} of example {row}: {mistake}") from None
    if (value.shape, value.dtype) != (_full_shape(part), part.dtype):
        problem = f"expected {np.dtype(part.dtype)} {_full_shape(part)}, got {value.dtype} {value.shape}"
        raise UserError(f"data.parts: {part.name!r} of example {row}: {problem}; correct the function that computes it")
    return value


def _full_shape(part: Part) -> tuple[int, ...]:
    """The shape of a value, with its choices as leading axis."""
    return (part.choices, *part.shape) if part.choices else part.shape
