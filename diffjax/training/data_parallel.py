"""Training on all devices of all hosts: the only file that knows of `pmap`.

The state is one plain tree without a device axis; batches are split into one share per device.
"""

import functools
import math
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.multihost_utils import broadcast_one_to_all, sync_global_devices
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.stages import Compiled
from jaxtyping import Array, PyTree

from diffjax.errors import UserError
from diffjax.parallel.hosts import Watch, meet
from diffjax.training.state import State
from diffjax.training.step import Batch, Metrics
from diffjax.utils.files import describe_error

AXIS = "devices"
Device: TypeAlias = Any  # jax.Device is a variable to type checkers


class Memory(NamedTuple):
    """Bytes that a compiled program takes on each device; `peak` is the sum, with donated buffers counted once."""

    arguments: int
    temporaries: int
    peak: int


@dataclass(frozen=True)
class AdvanceState:
    """The program of `pmap_step`, for `here` devices of this host."""

    program: Any  # of jax.pmap
    here: int

    def __call__(self, state: State, batches: PyTree, count: int, stop: bool) -> tuple[State, Metrics]:
        """Take `count` steps of a chunk."""
        return self.program(state, batches, np.int32(count), np.full(self.here, stop))

    def compile(self, state: State, batches: PyTree) -> Compiled:
        """The compiled program for a chunk of this shape, the one that a call with the same shapes runs."""
        return self.program.lower(state, batches, np.int32(1), np.full(self.here, False)).compile()

    def memory(self, state: State, batches: PyTree) -> Memory | None:
        """The memory of the program for a chunk of this shape; None where the platform does not report it.

        Compiles the program; a call with the same shapes then compiles nothing.
        """
        stats = self.compile(state, batches).memory_analysis()
        if stats is None:
            return None
        inputs = stats.argument_size_in_bytes
        temporaries = stats.temp_size_in_bytes
        outputs = stats.output_size_in_bytes - stats.alias_size_in_bytes
        return Memory(inputs, temporaries, inputs + temporaries + outputs)


def pmap_step(step: Callable[..., tuple[State, Metrics]], devices: Sequence[Device]) -> AdvanceState:
    """`step(state, batch, axis=…)` on every device, with its share of each batch of a chunk; the state is donated.

    The chunk has axes [device, step, example, …], and `count` of its steps are taken: one program with one loop serves
    every count, so that a step has the same bits wherever a run is interrupted. A chunk of one step has no loop, which
    matters to convolutions on a CPU. Metrics have one entry per step of the chunk. `stop` is whether this host was
    asked to stop; as a metric, whether any host was.
    """

    def chunk(state: State, batches: PyTree, count: Array, stop: Array) -> tuple[State, Metrics]:
        body = functools.partial(step, axis=AXIS)
        length = jax.tree.leaves(batches)[0].shape[0]
        first = jax.tree.map(lambda leaf: leaf[0], batches)
        stopped = jax.lax.pmax(stop.astype(jnp.int32), AXIS)
        if length == 1:
            state, metrics = body(state, first)
            return state, {**jax.tree.map(lambda one: jnp.asarray(one)[None], metrics), "stop": stopped}

        def take(i: int | Array, carried: tuple[State, Metrics]) -> tuple[State, Metrics]:
            state, metrics = body(carried[0], jax.tree.map(lambda leaf: leaf[i], batches))
            return state, jax.tree.map(lambda all, one: all.at[i].set(one), carried[1], metrics)

        metrics_shape = jax.eval_shape(lambda *arguments: body(*arguments)[1], state, first)
        empty = jax.tree.map(lambda one: jnp.zeros((length, *one.shape), one.dtype), metrics_shape)
        state, metrics = jax.lax.fori_loop(0, count, take, (state, empty))
        return state, {**metrics, "stop": stopped}

    parallel_chunk = jax.pmap(chunk, AXIS, in_axes=(None, 0, None, 0), out_axes=None, devices=devices, donate_argnums=0)
    return AdvanceState(parallel_chunk, len(addressable_devices(devices)))


def initialize_distributed(hosts: str, timeout_s: float = 60.0) -> Watch | None:
    """Make this process one of the hosts of a run, before JAX looks for devices.

    `auto` lets JAX find the others (TPU pods, Slurm, Open MPI, Kubernetes) and returns None; otherwise
    `ADDRESS:PORT,HOSTS,HOST` is where the first host listens, the number of hosts, and the index of this one. Returns
    the watch on the other hosts. Raises UserError where one does not come within `timeout_s` seconds.
    """
    match = re.fullmatch(r"auto|([^,\s]+):(\d{1,5}),(\d{1,6}),(\d{1,6})", hosts)
    if match is None or (match[1] and (int(match[3]) <= int(match[4]) or not 0 < int(match[2]) < 2**16)):
        raise UserError(
            f"--hosts: expected auto, or ADDRESS:PORT,HOSTS,HOST such as 10.0.0.1:1234,2,0 for the first of two, got "
            f"{hosts!r}"
        )
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    initialize = functools.partial(
        jax.distributed.initialize,
        initialization_timeout=math.ceil(timeout_s),
        heartbeat_timeout_seconds=max(100, math.ceil(3 * timeout_s)),  # `Watch` is to notice first
    )
    try:
        if not match[1]:
            initialize()
            return None
        port, count, host = map(int, match.groups()[1:])
        watch = Watch(meet(match[1], port, count, host, timeout_s), count, timeout_s)
        initialize(f"{match[1]}:{port}", count, host)
    except UserError:
        raise
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"--hosts: {hosts}: the hosts did not find each other ({describe_error(error)[:200]})"
        ) from None
    return watch


@contextmanager
def watched(watch: Watch | None) -> Iterator[None]:
    """A run on the hosts of `initialize_distributed`; its orderly end is sent to the others."""
    try:
        yield
    except jax.errors.JaxRuntimeError:
        if watch is not None:
            watch.wait()
        raise
    if watch is not None:
        watch.close()


def broadcast_from_first_host(value: float) -> float:
    """The first host's value, on all of them."""
    return float(broadcast_one_to_all(np.float32(value))) if jax.process_count() > 1 else value


def random_bytes(count: int) -> bytes:
    """Random bytes, the same on all hosts."""
    data = secrets.token_bytes(count)
    if jax.process_count() == 1:
        return data
    return bytes(np.asarray(broadcast_one_to_all(np.frombuffer(data, np.uint8))))


def addressable_devices(devices: Sequence[Device]) -> list[Device]:
    """The devices of this process."""
    return [device for device in devices if device.process_index == jax.process_index()]


def barrier(name: str) -> None:
    """Wait until all hosts are here."""
    if jax.process_count() > 1:
        sync_global_devices(name)


def first_device_per_host() -> list[Device]:
    """The first device of every host."""
    by_host = {device.process_index: device for device in reversed(jax.devices())}
    return [by_host[host] for host in range(jax.process_count())]


def replicate(state: PyTree, devices: Sequence[Device]) -> PyTree:
    """A copy of a tree on all these devices, laid out as `pmap_step` returns it: the second call compiles nothing.

    A copy, since every step donates the trainer's state and the caller may still need theirs. Every host takes part.
    """
    everywhere = NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec())
    local_devices = addressable_devices(devices)

    def spread(leaf: Array | np.ndarray) -> Array:
        leaf = leaf.addressable_shards[0].data if isinstance(leaf, jax.Array) else leaf
        copies = [jax.device_put(leaf, device, may_alias=False) for device in local_devices]
        return jax.make_array_from_single_device_arrays(leaf.shape, everywhere, copies)

    return jax.tree.map(spread, state)


def shard_batches(batches: list[Batch], devices: int, length: int) -> PyTree:
    """Batches as one chunk [device, step, example, …], each example with its index in the batch of all hosts.

    The chunk has `length` steps; where there are fewer batches, the last one fills it up.
    """
    size = len(batches[0]["x"])
    if size % devices:
        raise UserError(f"a batch of {size} on this host does not divide by its {devices} devices")
    index = example_index(size)
    complete = [{"x": batch["x"], "cond": batch.get("cond"), "index": index} for batch in batches]
    complete += complete[-1:] * (length - len(batches))

    def split(*leaves: Array | np.ndarray) -> Array | np.ndarray:
        stack = np.stack if isinstance(leaves[0], np.ndarray) else jnp.stack
        return stack([leaf.reshape(devices, size // devices, *leaf.shape[1:]) for leaf in leaves], axis=1)

    return jax.tree.map(split, *complete)


def example_index(size: int) -> np.ndarray:
    """The index of each example of this host's share in the batch of all hosts."""
    return np.arange(size, dtype=np.int32) + jax.process_index() * size
