"""The batches of `fit`: an endless iterable, or a list or loader that is repeated."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized

import jax
import numpy as np

from diffjax.arguments import expected
from diffjax.errors import UserError, warn
from diffjax.training.step import Batch
from diffjax.utils.values import describe_value


def stream_batches(batches: object, position: int) -> Iterator[Batch]:
    """The batches from that position on, each checked. Raises UserError for what is no iterable of batches.

    A sequence is repeated, each epoch after the first in an order that depends on the epoch's number alone. Any other
    iterable that has a length is restarted when it ends, from its beginning. Of both, batches of another size than the
    first are left out. Each of these is reported on stderr.
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


def next_batch(stream: Iterator[Batch], step: int) -> Batch:
    """The next batch. Raises UserError where there is none for this step."""
    try:
        return next(stream)
    except StopIteration:
        raise UserError(f"fit: the batches ended at step {step}; give an iterable that goes on (repeat it)") from None


def validate_batch(batch: object) -> Batch:
    """The batch, x and every leaf of the condition as an array. Raises UserError for what is no batch."""
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
    if not batches:
        raise UserError("fit: batches are an empty list; give one batch or more")
    alike = [batch for batch in batches if len(batch["x"]) == len(batches[0]["x"])]
    warn(f"fit: the list of {len(alike)} batches is repeated, in another order in each epoch")
    if len(alike) < len(batches):
        excess = len(batches) - len(alike)
        warn(f"fit: {excess} of {len(batches)} batches are left out, being of another size than the first")
    return _epochs_from(alike, position)


def _epochs_from(batches: list[Batch], position: int) -> Iterator[Batch]:
    """The list in its own order, then in one drawn by the epoch's number."""
    epoch, skip = divmod(position, len(batches))
    while True:
        order = np.arange(len(batches)) if epoch == 0 else np.random.default_rng(epoch).permutation(len(batches))
        yield from (batches[i] for i in order[skip:])
        epoch += 1
        skip = 0


def _epochs_of_loader(batches: Iterable[object]) -> Iterator[Batch]:
    size = 0
    warned = False
    warn("fit: the batches have an end, and are begun again there")
    while True:
        is_empty = True
        for batch in map(validate_batch, batches):
            size = size or len(batch["x"])
            is_empty = False
            if len(batch["x"]) == size:
                yield batch
            elif not warned:
                warn(f"fit: a batch of {len(batch['x'])} examples is left out, the first having {size}; so are others")
                warned = True
        if is_empty:
            raise UserError("fit: the batches gave nothing when they were gone through; give a list, or a generator")
