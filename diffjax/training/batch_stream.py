"""What `fit` reads its batches from: an endless iterable, or a list, which is gone through again and again."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

import jax
import numpy as np

from diffjax.arguments import expected
from diffjax.errors import UserError, warn
from diffjax.training.step import Batch
from diffjax.utils.kinds import describe_value


def stream(batches: Iterable[Batch], position: int) -> Iterator[Batch]:
    """The batches from that position on, each looked at. Raises UserError for what are no batches.

    A list or another sequence is repeated, in each epoch after the first in another order, which is a function of the
    epoch's number alone. What else has a length is begun again when it ends, and is taken from its beginning. Batches
    of another size than the first, as a last one often is, are left out of both. Both are said on stderr.
    """
    if isinstance(batches, str | Mapping) or not isinstance(batches, Iterable):
        raise UserError(f'fit: batches must be an iterable of {{"x": array, "cond": …}}, got {describe_value(batches)}')
    if isinstance(batches, jax.Array | np.ndarray):
        raise UserError(
            f"fit: batches must be an iterable of batches, got one array of shape {batches.shape}; write "
            '[{"x": array}], or a generator that yields {"x": some of it}'
        )
    if isinstance(batches, Sequence):
        return _epochs_of_list([validate_batch(batch) for batch in batches], position)
    return _epochs_of_loader(batches) if isinstance(batches, Sized) else map(validate_batch, batches)


def validate_batch(batch: Any) -> Batch:
    """The batch, x and every leaf of the condition as an array. Raises UserError for another kind of thing."""
    if not isinstance(batch, Mapping):
        hint = ""
        if isinstance(batch, tuple | list) and len(batch) == 2:
            hint = '; of a pair (x, cond) make {"x": x, "cond": cond}'
        elif isinstance(batch, jax.Array | np.ndarray):
            hint = '; of an array x make {"x": x}'
        raise UserError(f'fit: a batch must be a dict {{"x": array, "cond": …}}, got {describe_value(batch)}{hint}')
    if "x" not in batch:
        raise UserError(f"fit: a batch has no 'x', the data; it has {', '.join(map(repr, batch)) or 'nothing'}")
    arrays = {**batch, "x": expected.data("x")(batch["x"]), "cond": expected.cond(batch.get("cond"))}
    expected.require_count(len(arrays["x"]), "examples of x", {"cond": arrays["cond"]})
    return arrays


def _epochs_of_list(batches: list[Batch], position: int) -> Iterator[Batch]:
    """A list in every epoch: first as it is, then in an order drawn by the number of the epoch."""
    if not batches:
        raise UserError("fit: batches are an empty list; give one batch or more")
    alike = [batch for batch in batches if len(batch["x"]) == len(batches[0]["x"])]
    _print_line(f"the list of {len(alike)} batches is repeated, in another order in each epoch")
    if len(alike) < len(batches):
        _print_line(
            f"{len(batches) - len(alike)} of {len(batches)} batches are left out, being of another size than the first"
        )
    return _epochs_from(alike, *divmod(position, len(alike)))


def _epochs_from(batches: list[Batch], epoch: int, position: int) -> Iterator[Batch]:
    """From an epoch on, of which so many were taken before."""
    while True:
        order = np.arange(len(batches)) if epoch == 0 else np.random.default_rng(epoch).permutation(len(batches))
        yield from (batches[i] for i in order[position:])
        epoch, position = epoch + 1, 0


def _epochs_of_loader(batches: Iterable[Any]) -> Iterator[Batch]:
    """What has a length and is no list, such as a loader: in every epoch as it comes."""
    size, warned = 0, False
    _print_line("the batches have an end, and are begun again there")
    while True:
        any_batches = False
        for batch in map(validate_batch, batches):
            size, any_batches = size or len(batch["x"]), True
            if len(batch["x"]) == size:
                yield batch
            elif not warned:
                _print_line(
                    f"a batch of {len(batch['x'])} examples is left out, the first having {size}; so are others"
                )
                warned = True
        if not any_batches:
            raise UserError("fit: the batches gave nothing when they were gone through; give a list, or a generator")


def _print_line(line: str) -> None:
    warn(f"fit: {line}")
