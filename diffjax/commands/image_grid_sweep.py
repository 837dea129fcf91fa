"""One picture of samples over one or two varied settings, as rows and columns, all from the same keys."""

from collections.abc import Sequence
from itertools import product
from math import prod

import numpy as np
from jaxtyping import UInt8

from diffjax.commands.condition_inputs import label_index, number_parts
from diffjax.commands.sample_request import CONDITIONS, SETTINGS, PreparedRequest, SampleRequest, prepare_request
from diffjax.commands.sweep_values import Lists, parse_lists
from diffjax.errors import UserError
from diffjax.experiment.trained_model import TrainedModel
from diffjax.reports import crossed_grid, describe_settings

MAX_CELLS = 400


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
    samples = np.stack([cell.images(count, batch) for cell in cells])
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
