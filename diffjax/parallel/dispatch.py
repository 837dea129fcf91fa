"""Dispatch to the devices: steps per compiled call, and examples per batch.

On a CPU, XLA's convolution inside a compiled loop is ten to fifty times slower than outside one, so convolutional
nets are dispatched step by step there. Other nets, and accelerators, run whole loops.
"""

from collections.abc import Callable
from math import prod

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Key, PyTree

from diffjax.parallel.batch_progress import BatchProgress
from diffjax.traits import net_traits
from diffjax.utils.prng import keys

NUMBERS_AT_ONCE = 2**18  # values of a net's input in one call; its activations are some hundred times as many


def loops_are_slow(*nets: object) -> bool:
    """Whether one of these nets is to run one step per dispatch on this platform (`NetTraits.convolutional`)."""
    return jax.default_backend() == "cpu" and any(net_traits(net).convolutional for net in nets)


def steps_per_dispatch(net: object) -> int:
    """Training steps in one compiled call: one where loops are slow, else 10, which hides the host."""
    return 1 if loops_are_slow(net) else 10


def batch_for(shape: tuple[int, ...], max_count: int, numbers: int = NUMBERS_AT_ONCE) -> int:
    """A batch size for examples of this shape: at most `numbers` values, from 1 to `max_count` examples."""
    return max(1, min(max_count, numbers // prod(shape)))


def map_in_batches(
    call: Callable[..., PyTree],
    root: Key[Array, ""],
    count: int,
    batch: int,
    *data: PyTree,
    progress: BatchProgress | None = None,
) -> PyTree:
    """`call(keys, *data)` of examples 0 … count - 1, in batches of one shape over all local devices, as NumPy arrays.

    The leaves of `data` have one entry per example. Example i has the key folded from i, whatever the batch and the
    devices. The last batch is padded, then cut. `progress` shows how much is done.
    """
    devices = jax.local_devices()
    batch = -(-min(batch, count) // len(devices)) * len(devices)
    over_devices = NamedSharding(Mesh(np.array(devices), ("batch",)), PartitionSpec("batch"))
    progress = progress or BatchProgress(count, quiet=True)
    parts = []
    for start in range(0, count, batch):
        progress.begin(min(batch, count - start), compiles=start == 0)
        rows = np.minimum(np.arange(start, start + batch), count - 1)
        batch_data = jax.tree.map(lambda leaf, rows=rows: leaf[rows], data)
        output = call(*jax.device_put((keys(root, batch, start), *batch_data), over_devices))
        progress.run()
        parts.append(jax.tree.map(lambda leaf, start=start: np.asarray(leaf)[: count - start], output))
        progress.end()
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
