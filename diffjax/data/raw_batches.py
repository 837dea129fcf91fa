"""Reading ahead of the training: batches decoded by threads or by processes, within a limit of memory."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

import grain
import numpy as np

from diffjax.data.decoding_process import Task
from diffjax.data.decoding_processes import decode_in_processes
from diffjax.data.reading import RawBatch, Reader
from diffjax.errors import UserError, warn

MAX_BATCHES = 32  # that are read ahead, however small they are
_LAST_STEP = 2**32


@dataclass(frozen=True)
class ReadAhead:
    """How batches are read: by so many `workers`, processes of their own, or with 0 by so many `threads`.

    Decoded batches that are ahead take at most `megabytes` together, and one further batch for each worker.
    """

    workers: int = 0
    megabytes: int = 512
    threads: int = 8

    def __post_init__(self) -> None:
        for name, value, low in (("workers", self.workers, 0), ("ahead_mb", self.megabytes, 1)):
            if value < low:
                raise UserError(f"data.{name}: expected at least {low}, got {value}")

    def batches(self, batch_bytes: int) -> int:
        """How many batches of that size may be ahead, at least one."""
        return max(1, min(MAX_BATCHES, self.megabytes * 10**6 // max(1, batch_bytes)))


BY_THREADS = ReadAhead()


def read_ahead(
    reader: Reader, order: grain.MapDataset, first_rows: Sequence[int], start_step: int, ahead: ReadAhead, count: int
) -> Generator[RawBatch, None, None]:
    """The batches from `start_step` on, `count` of them ahead.

    Batch k has the examples `order[k]`, and the rows from `first_rows[k]` on of the order of all examples.
    """

    def task_of(step: int) -> Task:
        return Task(first_rows[step], np.asarray(order[step]))

    if ahead.workers:
        workers = min(ahead.workers, count)
        if workers < ahead.workers:
            limit = f"{ahead.megabytes} MB of data.ahead_mb hold {count} batches"
            warn(f"data.workers: {workers} of {ahead.workers} processes are started, since {limit}")
        return decode_in_processes(reader, task_of, start_step, workers, count // workers)
    steps = grain.MapDataset.range(_LAST_STEP).map(lambda step: reader.read_batch(*task_of(int(step))))
    options = grain.ReadOptions(num_threads=min(ahead.threads, count), prefetch_buffer_size=count)
    return _by_threads(steps[start_step:].to_iter_dataset(options))


def _by_threads(reads: grain.IterDataset) -> Generator[RawBatch, None, None]:
    """Batches decoded by Grain's threads."""
    reader = iter(reads)
    with closing(reader):
        yield from reader
