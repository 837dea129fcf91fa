"""Prints a hash of the examples of each step as devices are given them: python examples.py CONFIG STEPS"""

import hashlib
import itertools
import runpy
import sys

import jax
import numpy as np

from diffjax.data import BatchConfig, batches, open_dataset
from diffjax.training import data_parallel


def main(config: str, steps: str) -> None:
    """Pixels, classes and each example's place in the batch, in the order of the batch."""
    fields = runpy.run_path(config)["get_config"]()
    dataset = open_dataset(fields.data.name, fields.data.dir)
    stream = batches(dataset, "train", BatchConfig(fields.data.batch_size, fields.train.seed))
    for batch in itertools.islice(stream, int(steps)):
        told = hashlib.sha256()
        for name, leaf in sorted(data_parallel.shard_batches([batch], jax.device_count(), 1).items()):
            told.update(name.encode() + np.ascontiguousarray(leaf).tobytes())  # [device, 1, example, …]
        print(told.hexdigest())


if __name__ == "__main__":
    main(*sys.argv[1:])
