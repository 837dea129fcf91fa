"""Batches whose content is a pure function of (seed, step), for any number of hosts."""

import itertools
import math
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypedDict

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Int32, Key, Shaped, UInt8, UInt32

from diffjax.data import condition_batches, pixel_representation
from diffjax.data.augment import Augment, apply_augmentations, check_augment
from diffjax.data.batch_order import balanced_ids, check_numbers, host_part, ids_by_class, seed_words, shuffled_ids
from diffjax.data.condition_parts import Part
from diffjax.data.pixel_representation import Form, Images
from diffjax.data.splits import Dataset, GeneratedSplit, Split
from diffjax.utils.prng import fold_index

RESIDENT_BYTES = 256 * 10**6  # splits of up to this size, decoded, live on the device unless told otherwise


class Batch(TypedDict):
    """Images in the form that was asked for, and their classes, None in sets without labels; or a dict with parts."""

    x: Shaped[jax.Array, "b ..."]
    cond: Any


class _Randomness(NamedTuple):
    """Where all that is random in a batch comes from: never from the host that draws it."""

    noise: Key[jax.Array, ""]
    augment: Key[jax.Array, ""]
    choice: Key[jax.Array, ""]
    step: np.uint32
    first_row: np.uint32


class _DeviceTransforms(NamedTuple):
    """What is done on the device to images, and to the parts of their conditions."""

    levels: int
    form: Form
    augment: tuple[Augment, ...]
    parts: tuple[Part, ...]

    @property
    def random(self) -> bool:
        return self.form.noisy or bool(self.augment) or any(part.choices for part in self.parts)


def batches(
    dataset: Dataset,
    split: str,
    batch_size: int,
    seed: int,
    *,
    start_step: int = 0,
    host: int = 0,
    hosts: int = 1,
    form: Form = pixel_representation.unit,
    balance: bool = False,
    augment: Sequence[Augment] = (),
    parts: Sequence[Part] = (),
    resident: bool | None = None,
    read_threads: int = 8,
    prefetch_batches: int = 8,
) -> Generator[Batch, None, None]:
    """This host's part, b = batch_size / hosts rows, of the batches `start_step`, `start_step` + 1, … without end.

    Row j of batch k is example `ids[k · batch_size + host · b + j]` of one endless order in which every epoch is
    another permutation. `resident` keeps the whole split on the device (by default up to `RESIDENT_BYTES`); otherwise
    `read_threads` threads decode `prefetch_batches` ahead, until `close()`: both ways give equal bits. Examples of a
    known law are drawn on the device, from their ids. The images are changed by each of `augment` in turn, then put
    into the `form`. With `parts` of conditions (`conditioning.parts_of`), cond is {"label": labels, name: Given, …}, in
    which all is known; of a part with choices each row takes one. All chance is keyed by (seed, step, row).
    With `balance` the classes take turns, row by row, so that each is seen equally often however many examples it has;
    within a class every epoch is another permutation. Raises `UserError` for a split or for numbers that do not fit.
    """
    source = dataset.split(split)
    check_numbers(batch_size, seed, start_step, host, hosts)
    condition_batches.check_parts(parts, dataset, bool(augment))
    check_augment(augment, dataset)
    size = math.prod(dataset.shape) + sum(part.bytes for part in parts)
    fits = isinstance(source, GeneratedSplit) or len(source) * size <= RESIDENT_BYTES
    finish = _DeviceTransforms(dataset.levels, form, tuple(augment), tuple(parts))
    chances = _random_words(seed, start_step, host * (batch_size // hosts)) if finish.random else itertools.repeat(None)
    ids = (
        balanced_ids(ids_by_class(dataset, split), seed) if balance else shuffled_ids(len(source), seed_words(seed)[0])
    )
    if fits if resident is None else resident:
        return _resident_batches(dataset, split, host_part(ids, batch_size, host, hosts), start_step, finish, chances)
    order = host_part(ids.map(partial(_read_example, source, finish.parts)), batch_size, host, hosts)
    options = grain.ReadOptions(num_threads=read_threads, prefetch_buffer_size=prefetch_batches)
    return _streamed_batches(dataset, order[start_step:].to_iter_dataset(options), finish, chances)


def _random_words(seed: int, start_step: int, first_row: int) -> Iterator[_Randomness]:
    further = np.random.SeedSequence(seed, spawn_key=(1,)).generate_state(1).tolist()  # `_words` are all in use
    words = (*seed_words(seed)[1:3], *further)
    noise, augment, choice = (jax.random.key(word, impl="threefry2x32") for word in words)
    for step in itertools.count(start_step):
        yield _Randomness(noise, augment, choice, np.uint32(step), np.uint32(first_row))


def _resident_batches(
    dataset: Dataset,
    split: str,
    order: grain.MapDataset,
    start_step: int,
    finish: _DeviceTransforms,
    chances: Iterator[_Randomness | None],
) -> Generator[Batch, None, None]:
    """Only ids are made on the host; the images are on the device, as bytes, or are drawn there."""
    source = dataset.split(split)
    rows = (
        source.draw
        if isinstance(source, GeneratedSplit)
        else Partial(_select_rows, *_move_to_device(dataset, split, finish.parts))
    )
    for step in itertools.count(start_step):
        yield _gather_batch(rows, jnp.asarray(order[step], jnp.uint32), finish, next(chances))


def _move_to_device(dataset: Dataset, split: str, parts: Sequence[Part]) -> tuple[Any, Any, Any]:
    images, labels = dataset.arrays(split)
    source = dataset.split(split)
    return jax.device_put(
        (images, labels, condition_batches.gather_parts(source, np.arange(len(source)), images, labels, parts))
    )


def _select_rows(
    images: UInt8[jax.Array, "n h w c"],
    labels: Int32[jax.Array, " n"] | None,
    parts: dict[str, jax.Array],
    ids: UInt32[jax.Array, " b"],
) -> tuple[Images, Int32[jax.Array, " b"] | None, dict[str, jax.Array]]:
    return images[ids], None if labels is None else labels[ids], {name: value[ids] for name, value in parts.items()}


def _read_example(source: Split | GeneratedSplit, parts: Sequence[Part], number: Any) -> dict[str, Any]:
    """One example, and the values of its parts."""
    example = source[int(number)]
    return {**example, "parts": condition_batches.part_values(source, int(number), example, parts)}


def _streamed_batches(
    dataset: Dataset, reads: grain.IterDataset, finish: _DeviceTransforms, chances: Iterator[_Randomness | None]
) -> Generator[Batch, None, None]:
    """Images are read and decoded by Grain's threads and sent to the device as bytes."""
    reader = iter(reads)
    try:
        for raw in reader:
            images, labels, parts = jax.tree.map(jnp.asarray, (raw["image"], raw["label"], raw["parts"]))
            yield _transform_batch(images, labels if dataset.classes else None, parts, finish, next(chances))
    finally:
        reader.close()


@partial(jax.jit, static_argnames="finish")
def _gather_batch(
    rows: Partial, ids: UInt32[jax.Array, " b"], finish: _DeviceTransforms, chance: _Randomness | None
) -> Batch:
    images, labels, *parts = rows(ids)  # what a law draws has no parts
    return _transform_batch(images, labels, parts[0] if parts else {}, finish, chance)


@partial(jax.jit, static_argnames="finish")
def _transform_batch(
    images: Images, labels: Any, parts: dict[str, jax.Array], finish: _DeviceTransforms, chance: _Randomness | None
) -> Batch:
    """Augmented, then in the form that was asked for; one key per example, from its row in the whole batch."""
    noise: Any = None
    choice: Any = None
    if chance is not None:
        rows = chance.first_row + jnp.arange(len(images), dtype=jnp.uint32)
        noise, augment, choice = (fold_index(jax.random.fold_in(root, chance.step), rows) for root in chance[:3])
        images = apply_augmentations(finish.augment, augment, images)
    cond = (
        condition_batches.assemble_condition(labels, condition_batches.choose_variants(parts, finish.parts, choice))
        if finish.parts
        else labels
    )
    return {"x": finish.form.encode(noise, images, finish.levels), "cond": cond}
