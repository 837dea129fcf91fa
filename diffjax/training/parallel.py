"""Training on all devices: the only file that knows of `pmap`.

The state is one plain tree, without a device axis, whatever maps the step; batches are cut into one share a device.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from diffjax.errors import UserError
from diffjax.training.state import State
from diffjax.training.step import Batch, Metrics

AXIS = "devices"
Advance = Callable[[State, PyTree], tuple[State, Metrics]]


def pmapped(step: Callable[..., tuple[State, Metrics]], devices: Sequence[Any]) -> Advance:
    """`step(state, batch, axis=…)` on every device, given its share of each batch of a chunk; the state is donated.

    The chunk has axes [device, step, example, …]. Several steps are one scan; one is no loop at all, which matters to
    convolutions on a CPU. Metrics come back with one entry per step.
    """

    def chunk(state: State, batches: PyTree) -> tuple[State, Metrics]:
        body = functools.partial(step, axis=AXIS)
        if jax.tree.leaves(batches)[0].shape[0] > 1:
            return jax.lax.scan(body, state, batches)
        state, metrics = body(state, jax.tree.map(lambda leaf: leaf[0], batches))
        return state, jax.tree.map(lambda leaf: leaf[None], metrics)

    return jax.pmap(chunk, AXIS, in_axes=(None, 0), out_axes=None, devices=devices, donate_argnums=0)


def replicated(state: State, devices: Sequence[Any]) -> State:
    """A copy of the state on all devices, laid out as `pmapped` returns it: the second call compiles nothing.

    A copy, since the trainer donates its state to every step and the caller may still want his.
    """
    everywhere = NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec())
    here = [device for device in devices if device.process_index == jax.process_index()]

    def spread(leaf: Any) -> Any:
        copies = [jax.device_put(leaf, device, may_alias=False) for device in here]
        return jax.make_array_from_single_device_arrays(leaf.shape, everywhere, copies)

    return jax.tree.map(spread, state)


def shares(batches: list[Batch], devices: int) -> PyTree:
    """Batches as one chunk [device, step, example, …], each example with its index in the batch of all hosts."""
    size = len(batches[0]["x"])
    if size % devices:
        raise UserError(f"a batch of {size} on this host does not divide by its {devices} devices")
    index = np.arange(size, dtype=np.int32) + jax.process_index() * size
    complete = [{"x": batch["x"], "cond": batch.get("cond"), "index": index} for batch in batches]

    def cut(*leaves: Any) -> Any:
        kind: Any = np if isinstance(leaves[0], np.ndarray) else jnp
        return kind.stack([leaf.reshape(devices, size // devices, *leaf.shape[1:]) for leaf in leaves], axis=1)

    return jax.tree.map(cut, *complete)
