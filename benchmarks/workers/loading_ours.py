"""Pictures a second from the folder PICTURES by diffjax: cases `32, 2 processes`, `256, threads` for loading.py."""

import os
from collections.abc import Iterator, Sequence
from functools import partial

import jax
from protocol import Case, Seconds, serve, steady

from diffjax.data import BatchConfig, batches, open_dataset
from diffjax.data.raw_batches import ReadAhead

BATCH, AHEAD, ROUND = 64, 4, 16  # pictures a batch; batches read ahead, as many as torch's; batches a round


def rounds(side: int, workers: int) -> Iterator[Sequence[Seconds]]:
    """Rounds of batches on the device, as floats."""
    dataset = open_dataset(f"folder:{os.environ['PICTURES']}", image_size=side)
    ahead = ReadAhead(workers, AHEAD * BATCH * side * side * 3 // 10**6 + 1)
    stream = batches(dataset, "train", BatchConfig(BATCH, 0, resident=False, ahead=ahead))
    return steady(lambda: jax.block_until_ready(next(stream)["x"]), AHEAD, ROUND)


def case(side: int, workers: int) -> Case:
    """Of pictures of that side."""
    return Case(rounds(side, workers))


if __name__ == "__main__":
    serve(
        {
            f"{side}, {name}": partial(case, side, n)
            for side in (32, 256)
            for n, name in ((0, "threads"), (2, "2 processes"))
        }
    )
