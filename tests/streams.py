"""Batches of a data set by one call, whose options are those of `BatchConfig` and of `batches`."""

from collections.abc import Generator
from typing import Any

from diffjax.data import Batch, BatchConfig, Dataset, batches


def stream(
    dataset: Dataset, split: str, batch_size: int, seed: int, *, start_step: int = 0, host: int = 0, hosts: int = 1,
    **config: Any,
) -> Generator[Batch, None, None]:  # fmt: skip
    return batches(
        dataset, split, BatchConfig(batch_size, seed, **config), start_step=start_step, host=host, hosts=hosts
    )
