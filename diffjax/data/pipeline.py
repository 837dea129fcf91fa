"""Batches whose content is a pure function of (seed, step), for any number of hosts, threads and processes."""

import itertools
import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import grain
import jax
import jax.numpy as jnp
import numpy as np

from diffjax.data import condition_batches, pixel_representation
from diffjax.data.augment import Augment, check_augment
from diffjax.data.batch_order import (
    STREAM_LENGTH,
    balanced_ids,
    bucketed_ids,
    check_numbers,
    further_words,
    host_part,
    ids_by_class,
    plan_batches,
    seed_words,
    shuffled_ids,
)
from diffjax.data.condition_parts import Part
from diffjax.data.device_batches import Batch, DeviceTransforms, Randomness, gather_batch, transform_batch
from diffjax.data.generated_split import GeneratedSplit
from diffjax.data.pixel_representation import Form
from diffjax.data.raw_batches import BY_THREADS, ReadAhead, read_ahead
from diffjax.data.reading import RawBatch, Reader
from diffjax.data.resident import ResidentSplit, keep_resident
from diffjax.data.splits import Dataset, Split
from diffjax.errors import UserError

RESIDENT_BYTES = 256 * 10**6  # of a decoded split, up to which it is kept on the device by default


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
    ahead: ReadAhead = BY_THREADS  # how a split that is not resident is read


def batches(
    dataset: Dataset, split: str, config: BatchConfig, *, start_step: int = 0, host: int = 0, hosts: int = 1
) -> Generator[Batch, None, None]:
    """This host's part, b = batch_size / hosts rows, of the batches `start_step`, `start_step` + 1, … without end.

    Row j of batch k is example `ids[k · batch_size + host · b + j]` of one infinite order in which every epoch, of each
    class with `balance`, is another permutation; in a set with buckets each batch is of one bucket (`batch_plan`). A
    split that is not resident is decoded by threads, or by processes, until `close()`; all ways give equal bits.
    Generated examples are computed on the device, from their ids. With parts, cond is {"label": labels, name:
    ConditionPart, …}; a part with choices takes one per row. Raises `UserError`, naming the field, for a split or
    numbers that do not fit.
    """
    source = dataset.split(split)
    check_numbers(config.batch_size, config.seed, start_step, host, hosts)
    condition_batches.check_parts(config.parts, dataset, bool(config.augment))
    check_augment(config.augment, dataset)
    transforms = DeviceTransforms(dataset.levels, config.form, tuple(config.augment), tuple(config.parts))
    share = config.batch_size // hosts
    randomness = transforms.randomness(config.seed, start_step, host * share)
    order = host_part(_ordered_ids(dataset, split, config), config.batch_size, host, hosts)
    if _is_resident(source, config, len(source) * _example_bytes(dataset, config.parts)):
        resident = keep_resident(dataset, split, config.parts)
        return _resident_batches(resident, order, start_step, transforms, randomness)
    reader = Reader(source, tuple(config.parts), further_words(config.seed)[1])
    first_rows = range(host * share, STREAM_LENGTH, config.batch_size)
    ahead = config.ahead if dataset.encoded else replace(config.ahead, workers=0)
    count = ahead.batches(share * _example_bytes(dataset, config.parts))
    raw_batches = read_ahead(reader, order, first_rows, start_step, ahead, count)
    return _streamed_batches(raw_batches, dataset.classes, transforms, randomness)


def _ordered_ids(dataset: Dataset, split: str, config: BatchConfig) -> grain.MapDataset:
    bucketed = len(dataset.sizes) > 1
    if config.balance and bucketed:
        raise UserError("data.balance: batches hold pictures of one bucket, so classes take no turns; leave it off")
    if config.balance:
        return balanced_ids(ids_by_class(dataset, split), config.seed)
    source = dataset.split(split)
    if bucketed and isinstance(source, Split):
        buckets = source.buckets()
        return bucketed_ids(buckets, plan_batches(buckets, config.batch_size, config.seed))
    return shuffled_ids(len(source), seed_words(config.seed)[0])


def _is_resident(source: Split | GeneratedSplit, config: BatchConfig, total_bytes: int) -> bool:
    random = source.framing is not None and source.framing.random
    if config.resident and random:
        raise UserError("resident: another part of each picture is read each time; leave it out")
    if config.resident is not None:
        return config.resident
    return isinstance(source, GeneratedSplit) or (total_bytes <= RESIDENT_BYTES and not random)


def _example_bytes(dataset: Dataset, parts: Sequence[Part]) -> int:
    """The size of a decoded example, of the largest bucket."""
    values = math.prod(dataset.shape)
    if len(dataset.sizes) > 1:
        values = max(map(math.prod, dataset.sizes)) * dataset.shape[2]
    return values * (1 if dataset.has_levels else 4) + sum(part.bytes for part in parts)


def _resident_batches(
    resident: ResidentSplit,
    order: grain.MapDataset,
    start_step: int,
    transforms: DeviceTransforms,
    randomness: Iterator[Randomness | None],
) -> Generator[Batch, None, None]:
    """Only ids are made on the host."""
    for step in itertools.count(start_step):
        select, rows = resident.rows(np.asarray(order[step]))
        yield gather_batch(select, jnp.asarray(rows), transforms, next(randomness))


def _streamed_batches(
    raw_batches: Generator[RawBatch, None, None],
    classes: int,
    transforms: DeviceTransforms,
    randomness: Iterator[Randomness | None],
) -> Generator[Batch, None, None]:
    """Decoded images are sent to the device as bytes."""
    with closing(raw_batches):
        for raw in raw_batches:
            images, labels, parts = jax.tree.map(jnp.asarray, (raw["image"], raw["label"], raw["parts"]))
            yield transform_batch(images, labels if classes else None, parts, transforms, next(randomness))
