"""The condition of an example: its class and its parts, made of the example alone, and put together for a batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int32, Integer

from diffjax.conditions import LABEL
from diffjax.data.condition_parts import Maker, Part, about
from diffjax.data.splits import Dataset, Drawn, Example, Split
from diffjax.errors import UserError
from diffjax.protocols import Given
from diffjax.utils.prng import fold

Values = Mapping[str, Any]  # of each part: [n, *shape], or [n, choices, *shape]


def parts_of(makers: Sequence[Maker], dataset: Dataset) -> tuple[Part, ...]:
    """The parts that the makers give for a data set. Raises `UserError` where one does not suit it."""
    _check_law(makers, dataset)
    facts = about(dataset)
    try:
        parts = tuple(maker(facts) for maker in makers)
    except UserError as mistake:
        raise UserError(f"data.parts: data set {dataset.name!r}: {mistake}") from None
    names = [LABEL, *(part.name for part in parts)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"data.parts: more than one part would be called {twice!r}; leave all but one out")
    return parts


def check_parts(parts: Sequence[Part], dataset: Dataset, augmented: bool) -> None:
    """Raises `UserError` for parts of what is drawn from a law, or that augmentation would make untrue."""
    _check_law(parts, dataset)
    belied = next((part.name for part in parts if part.of_image and augmented), None)
    if belied is not None:
        told = f"{belied!r} of data.parts is of the picture as it stands, and not of a changed one"
        raise UserError(f"data.augment: {told}; leave one of the two out")


def values(source: Split | Drawn, row: int, example: Example, parts: Sequence[Part]) -> dict[str, np.ndarray]:
    """The value of each part of one example, with all its choices."""
    stored = source.features(row) if any(part.reads for part in parts) else {}
    return {part.name: _value(part, row, example, stored) for part in parts}


def conditions_of(
    dataset: Dataset, split: str, rows: Integer[np.ndarray, " n"] | None = None, parts: Sequence[Part] = ()
) -> Any:
    """The conditions of some examples of a split, or of all: labels, or with parts {"label": labels, name: Given}.

    Of several choices it is the first.
    """
    source = dataset.split(split)
    rows = np.arange(len(source)) if rows is None else rows
    images, labels = dataset.arrays(split, rows)
    found = gathered(source, rows, images, labels, parts)
    return together(labels, {part.name: _first(part, found[part.name]) for part in parts}) if parts else labels


def gathered(
    source: Split | Drawn,
    rows: Integer[np.ndarray, " n"],
    images: np.ndarray,
    labels: Int32[np.ndarray, " n"] | None,
    parts: Sequence[Part],
) -> dict[str, np.ndarray]:
    """The values of the parts of these rows, whose images and labels are given, with all choices."""
    sizes = {part.name: (len(rows), *_whole(part)) for part in parts}
    found = {part.name: np.empty(sizes[part.name], part.dtype) for part in parts}
    for i, row in enumerate(rows if parts else ()):
        example: Example = {"image": images[i], "label": np.int32(0 if labels is None else labels[i])}
        for name, value in values(source, int(row), example, parts).items():
            found[name][i] = value
    return found


def picked(found: Values, parts: Sequence[Part], keys: Any) -> dict[str, Any]:
    """Of each part with choices one by each example's key, under jit."""
    chosen = {}
    for number, part in enumerate(parts):
        value = found[part.name]
        if part.choices:
            which = jax.vmap(lambda key, most=part.choices: jax.random.randint(key, (), 0, most))(fold(keys, number))
            value = value[jnp.arange(len(value)), which]
        chosen[part.name] = value
    return chosen


def together(labels: Any, parts: Values) -> dict[str, Any]:
    """The condition of a batch, in which everything is known."""
    known = {name: Given(value, np.ones(len(value), bool)) for name, value in parts.items()}
    return known if labels is None else {LABEL: labels, **known}


def _check_law(parts: Sequence[Any], dataset: Dataset) -> None:
    if parts and dataset.law is not None:
        raise UserError(f"data.parts: {dataset.name!r} is drawn from a law of its classes alone; leave parts out")


def _value(part: Part, row: int, example: Example, stored: Mapping[str, Any]) -> np.ndarray:
    try:
        given = stored.get(part.reads) if part.reads else example["image"]
        if given is None:
            raise UserError(f"nothing is stored as {part.reads!r}; prepare the set again")
        value = np.asarray(part.make(given, int(example["label"])))
    except UserError as mistake:
        raise UserError(f"data.parts: {part.name!r} of example {row}: {mistake}") from None
    if (value.shape, value.dtype) != (_whole(part), part.dtype):
        told = f"expected {np.dtype(part.dtype)} {_whole(part)}, got {value.dtype} {value.shape}"
        raise UserError(f"data.parts: {part.name!r} of example {row}: {told}; mend what makes it")
    return value


def _whole(part: Part) -> tuple[int, ...]:
    """The shape of a value with its choices."""
    return (part.choices, *part.shape) if part.choices else part.shape


def _first(part: Part, value: np.ndarray) -> np.ndarray:
    return value[:, 0] if part.choices else value
