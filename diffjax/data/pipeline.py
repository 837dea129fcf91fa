"""Batches whose content is a pure function of (seed, step), for any number of hosts."""

import itertools
import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypedDict

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Int32, Key, PyTree, Shaped, UInt32

from diffjax.data import condition_batches, pixel_representation
from diffjax.data.augment import Augment, apply_augmentations, check_augment
from diffjax.data.batch_order import balanced_ids, check_numbers, host_part, ids_by_class, seed_words, shuffled_ids
from diffjax.data.condition_parts import Part
from diffjax.data.pixel_representation import Form, Images
from diffjax.data.splits import Dataset, GeneratedSplit, Split
from diffjax.protocols import Keys
from diffjax.utils.prng import fold_index

RESIDENT_BYTES = 256 * 10**6  # of a decoded split, up to which it is kept on the device by default


class Batch(TypedDict):
    """Images in their representation, and their condition: labels, None without labels, or a dict with parts."""

    x: Shaped[jax.Array, "b ..."]
    cond: PyTree


@dataclass(frozen=True)
class BatchConfig:
    """What batches hold, and how they are read. All randomness is keyed by (seed, step, row)."""

    batch_size: int  # of all hosts together
    seed: int
    form: Form = pixel_representation.unit
    balance: bool = False  # classes take turns, row by row, whatever their numbers of examples
    augment: Sequence[Augment] = ()  # applied in turn, before `form`
    parts: Sequence[Part] = ()  # of conditions, from `build_parts`
    resident: bool | None = None  # whether the split is kept on the device; None: up to `RESIDENT_BYTES`
    read_threads: int = 8  # of a split that is not resident
    prefetch_batches: int = 8


class _Randomness(NamedTuple):
    """The keys and counters of all randomness of a batch; independent of the host."""

    noise: Key[jax.Array, ""]
    augment: Key[jax.Array, ""]
    choice: Key[jax.Array, ""]
    step: np.uint32
    first_row: np.uint32


class _DeviceTransforms(NamedTuple):
    """Transforms of images and of the parts of conditions, on the device."""

    levels: int
    form: Form
    augment: tuple[Augment, ...]
    parts: tuple[Part, ...]

    @property
    def random(self) -> bool:
        return self.form.noisy or bool(self.augment) or any(part.random for part in self.parts)


def batches(
    dataset: Dataset, split: str, config: BatchConfig, *, start_step: int = 0, host: int = 0, hosts: int = 1
) -> Generator[Batch, None, None]:
    """This host's part, b = batch_size / hosts rows, of the batches `start_step`, `start_step` + 1, … without end.

    Row j of batch k is example `ids[k · batch_size + host · b + j]` of one infinite order in which every epoch, of each
    class with `balance`, is another permutation. A split that is not resident is decoded by threads until `close()`;
    both ways give equal bits. Generated examples are computed on the device, from their ids. With parts, cond is
    {"label": labels, name: ConditionPart, …}; a part with choices takes one per row. Raises `UserError`,
    naming the field, for a split or numbers that do not fit.
    """
    source = dataset.split(split)
    check_numbers(config.batch_size, config.seed, start_step, host, hosts)
    condition_batches.check_parts(config.parts, dataset, bool(config.augment))
    check_augment(config.augment, dataset)
    transforms = _DeviceTransforms(dataset.levels, config.form, tuple(config.augment), tuple(config.parts))
    first_row = host * (config.batch_size // hosts)
    randomness = _random_words(config.seed, start_step, first_row) if transforms.random else itertools.repeat(None)
    ids = _ordered_ids(dataset, split, config)
    if _fits_on_device(dataset, split, config.parts) if config.resident is None else config.resident:
        order = host_part(ids, config.batch_size, host, hosts)
        return _resident_batches(dataset, split, order, start_step, transforms, randomness)
    order = host_part(ids.map(partial(_read_example, source, transforms.parts)), config.batch_size, host, hosts)
    options = grain.ReadOptions(num_threads=config.read_threads, prefetch_buffer_size=config.prefetch_batches)
    return _streamed_batches(dataset, order[start_step:].to_iter_dataset(options), transforms, randomness)


def _ordered_ids(dataset: Dataset, split: str, config: BatchConfig) -> grain.MapDataset:
    if config.balance:
        return balanced_ids(ids_by_class(dataset, split), config.seed)
    return shuffled_ids(len(dataset.split(split)), seed_words(config.seed)[0])


def _fits_on_device(dataset: Dataset, split: str, parts: Sequence[Part]) -> bool:
    source = dataset.split(split)
    example_bytes = math.prod(dataset.shape) + sum(part.bytes for part in parts)
    return isinstance(source, GeneratedSplit) or len(source) * example_bytes <= RESIDENT_BYTES


def _random_words(seed: int, start_step: int, first_row: int) -> Iterator[_Randomness]:
    further = np.random.SeedSequence(seed, spawn_key=(1,)).generate_state(1).tolist()  # the others are in use
    words = (*seed_words(seed)[1:3], *further)
    noise, augment, choice = (jax.random.key(word, impl="threefry2x32") for word in words)
    for step in itertools.count(start_step):
        yield _Randomness(noise, augment, choice, np.uint32(step), np.uint32(first_row))


def _resident_batches(
    dataset: Dataset,
    split: str,
    order: grain.MapDataset,
    start_step: int,
    transforms: _DeviceTransforms,
    randomness: Iterator[_Randomness | None],
) -> Generator[Batch, None, None]:
    """Only ids are made on the host; images are on the device, as bytes, or are generated there."""
    source = dataset.split(split)
    if isinstance(source, GeneratedSplit):
        rows = source.draw
    else:
        images, labels = dataset.arrays(split)
        parts = condition_batches.gather_parts(source, np.arange(len(source)), images, labels, transforms.parts)
        rows = Partial(_select_rows, *jax.device_put((images, labels, parts)))
    for step in itertools.count(start_step):
        yield _gather_batch(rows, jnp.asarray(order[step], jnp.uint32), transforms, next(randomness))


def _select_rows(
    images: Shaped[jax.Array, "n ..."],
    labels: Int32[jax.Array, " n"] | None,
    parts: dict[str, jax.Array],
    ids: UInt32[jax.Array, " b"],
) -> tuple[Images, Int32[jax.Array, " b"] | None, dict[str, jax.Array]]:
    return images[ids], None if labels is None else labels[ids], {name: value[ids] for name, value in parts.items()}


def _read_example(source: Split | GeneratedSplit, parts: Sequence[Part], number: int | np.integer) -> dict[str, object]:
    """One example, and the values of its parts."""
    example = source[int(number)]
    return {**example, "parts": condition_batches.part_values(source, int(number), example, parts)}


def _streamed_batches(
    dataset: Dataset, reads: grain.IterDataset, transforms: _DeviceTransforms, randomness: Iterator[_Randomness | None]
) -> Generator[Batch, None, None]:
    """Images are decoded by Grain's threads and sent to the device as bytes."""
    reader = iter(reads)
    try:
        for raw in reader:
            images, labels, parts = jax.tree.map(jnp.asarray, (raw["image"], raw["label"], raw["parts"]))
            yield _transform_batch(images, labels if dataset.classes else None, parts, transforms, next(randomness))
    finally:
        reader.close()


@partial(jax.jit, static_argnames="transforms")
def _gather_batch(
    rows: Partial, ids: UInt32[jax.Array, " b"], transforms: _DeviceTransforms, randomness: _Randomness | None
) -> Batch:
    images, labels, *parts = rows(ids)  # generated examples have no parts
    return _transform_batch(images, labels, parts[0] if parts else {}, transforms, randomness)


@partial(jax.jit, static_argnames="transforms")
def _transform_batch(
    images: Images,
    labels: Int32[jax.Array, " b"] | None,
    parts: dict[str, jax.Array],
    transforms: _DeviceTransforms,
    randomness: _Randomness | None,
) -> Batch:
    """Augmentation, then representation; one key per example, from its row in the whole batch."""
    noise: Keys | None = None
    choice: Keys | None = None
    if randomness is not None:
        rows = randomness.first_row + jnp.arange(len(images), dtype=jnp.uint32)
        roots = (jax.random.fold_in(root, randomness.step) for root in randomness[:3])
        noise, augment, choice = (fold_index(root, rows) for root in roots)
        images = apply_augmentations(transforms.augment, augment, images)
    cond = labels
    if transforms.parts:
        chosen = condition_batches.draw_variants(parts, transforms.parts, choice)
        cond = condition_batches.assemble_condition(labels, chosen, transforms.parts)
    return {"x": transforms.form.encode(noise, images, transforms.levels), "cond": cond}
