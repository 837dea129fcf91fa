"""How work goes to the devices: how many steps at once, and how many examples.

On a CPU, XLA's convolution inside a compiled loop is ten to fifty times slower than outside one, so convolutional
nets are dispatched step by step there. Everything else, and every accelerator, is given whole loops.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Key, PyTree
from tqdm import tqdm

from diffjax.traits import net_traits
from diffjax.utils.prng import keys

NUMBERS_AT_ONCE = 2**18  # values of examples that a net sees in one call, of which it makes some hundred times as many


def loops_are_slow(*nets: Any) -> bool:
    """Whether one of these nets wants one step per dispatch on this platform; a net that does not say does not."""
    return jax.default_backend() == "cpu" and any(net_traits(net).convolutional for net in nets)


def steps_per_dispatch(net: Any) -> int:
    """Training steps in one compiled call: one where loops are slow, else 10, which hides the host."""
    return 1 if loops_are_slow(net) else 10


def batch_for(shape: tuple[int, ...], max_count: int, numbers: int = NUMBERS_AT_ONCE) -> int:
    """How many examples of this shape go well into memory at once: of `numbers` values, but from 1 to `max_count`."""
    return max(1, min(max_count, numbers // prod(shape)))


def map_in_batches(
    call: Callable[..., PyTree],
    root: Key[Array, ""],
    count: int,
    batch: int,
    *data: PyTree,
    report: Callable[[int, int], object] | None = None,
) -> PyTree:
    """`call(keys, *data)` of examples 0 … count - 1, in batches of one shape over all local devices, as NumPy arrays.

    The leaves of `data` have one entry per example. Example i has the key folded from i, whatever the batch and the
    devices. The last batch is filled up, then cut. After each batch `report` is called with how many examples
    are done and how many there are; without it there is a progress bar on a terminal.
    """
    devices = jax.local_devices()
    batch = -(-min(batch, count) // len(devices)) * len(devices)
    over_devices = NamedSharding(Mesh(np.array(devices), ("batch",)), PartitionSpec("batch"))
    parts = []
    with tqdm(total=count, unit="img", disable=True if count <= batch or report else None, leave=False) as bar:
        for start in range(0, count, batch):
            rows = np.minimum(np.arange(start, start + batch), count - 1)
            batch_data = jax.tree.map(lambda leaf, rows=rows: leaf[rows], data)
            output = call(*jax.device_put((keys(root, batch, start), *batch_data), over_devices))
            parts.append(jax.tree.map(lambda leaf, start=start: np.asarray(leaf)[: count - start], output))
            bar.update(min(batch, count - start))
            if report is not None:
                report(min(start + batch, count), count)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
