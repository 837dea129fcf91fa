"""The peak of a machine in matrix products, measured: the speed of a program is a share of it."""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

Device: TypeAlias = Any  # jax.Device is a variable to type checkers
SIZES = (512, 1024, 2048, 4096, 8192)  # of square matrices, the next while a product of the last takes less than
LONG_S = 0.02
CALLS = 7  # of which the median counts


class Peak(NamedTuple):
    """The highest rate of products of two `size` × `size` matrices on each of some devices, in FLOP per second."""

    flops_per_second: float
    size: int
    dtype: np.dtype


def measure_peak(devices: Sequence[Device], dtype: np.dtype) -> Peak:
    """The peak of each of these devices of this host, all of them at work at once."""
    sharding = NamedSharding(Mesh(np.array(devices), ("device",)), PartitionSpec("device"))
    product = jax.jit(jnp.matmul, out_shardings=sharding)
    peak = Peak(0.0, 0, dtype)
    for size in filter(partial(_fits, devices[0], dtype), SIZES):
        fill = jax.jit(_random_matrices, static_argnums=(0, 1, 2), out_shardings=sharding)
        matrices = fill(len(devices), size, dtype)
        product(matrices, matrices).block_until_ready()
        seconds = median(_call_seconds(product, matrices) for _ in range(CALLS))
        peak = max(peak, Peak(2 * size**3 / seconds, size, dtype), key=lambda one: one.flops_per_second)
        if seconds > LONG_S:
            break
    return peak


def _fits(device: Device, dtype: np.dtype, size: int) -> bool:
    """Whether two matrices, their product and as much again are free on a device; without an account of it they are."""
    stats = device.memory_stats() or {}
    return 4 * size**2 * dtype.itemsize <= stats.get("bytes_limit", math.inf) - stats.get("bytes_in_use", 0)


def _random_matrices(count: int, size: int, dtype: np.dtype) -> Array:
    return jax.random.normal(jax.random.key(0), (count, size, size), dtype) / size**0.5


def _call_seconds(product: Callable[[Array, Array], Array], matrices: Array) -> float:
    start_s = time.perf_counter()
    product(matrices, matrices).block_until_ready()
    return time.perf_counter() - start_s
