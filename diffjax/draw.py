"""From a loaded model to pictures in bytes: labels for those who ask for none, batches of one shape, all devices."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int32, Key, PyTree, UInt8
from tqdm import tqdm

from diffjax import build
from diffjax.data import requantise, to_uint8
from diffjax.dispatch import sample_for
from diffjax.errors import UserError
from diffjax.grids import Grid
from diffjax.guidance import cfg
from diffjax.noise import Gaussian
from diffjax.order import Order
from diffjax.protocols import Denoise, Keys, Step
from diffjax.randomness import fold, keys
from diffjax.run import Facts
from diffjax.sampling import stepwise

_LABELS = 4  # what a key is used for, beside the uses in sampling.py


@dataclass(frozen=True)
class Painter:
    """Everything that is decided before a key and a label: the model under guidance, the rule, the grid, the data."""

    net: Any
    noise: Gaussian
    order: Order
    denoise: Denoise
    facts: Facts
    step: Step
    grid: Grid


def painter(
    denoise: Denoise, noise: Gaussian, order: Order, net: Any, facts: Facts, settings: dict[str, Any]
) -> Painter:
    """The painter of these settings: sampler, grid, steps, and guidance (1 is none, and costs nothing).

    Raises UserError for settings that do not serve the model, before anything is drawn.
    """
    step, grid = build.sampler(noise, step=settings["sampler"], grid=settings["grid"], count=settings["steps"])
    scale = settings["guidance"]
    if scale != 1 and net.null_cond is None:
        raise UserError(f"guidance: {scale:g} needs a conditional model, and this one has no classes; leave it at 1")
    made = Painter(net, noise, order, denoise if scale == 1 else cfg(denoise, scale, net.null_cond), facts, step, grid)
    _draw(stepwise, made, keys(0, 1), None)  # checks grid, rule and order against each other, and runs nothing
    return made


def images(
    painter: Painter, root: Key[Array, ""], count: int, batch: int, cond: PyTree
) -> UInt8[np.ndarray, "n h w c"]:
    """Draw examples 0 … count - 1 in batches of one shape, over all local devices; the last is filled up, then cut.

    `cond` has one entry per example. Example i has the key folded from i, whatever the batch and the devices.
    """
    devices = jax.local_devices()
    batch = -(-min(batch, count) // len(devices)) * len(devices)
    spread = NamedSharding(Mesh(np.array(devices), ("batch",)), PartitionSpec("batch"))
    parts = []
    for start in tqdm(range(0, count, batch), unit="batch", disable=None, leave=False):
        rows = np.minimum(np.arange(start, start + batch), count - 1)
        chosen = jax.tree.map(lambda leaf, rows=rows: jax.device_put(leaf[rows], spread), cond)
        x = _draw(sample_for(painter.net), painter, jax.device_put(keys(root, batch, start), spread), chosen)
        parts.append(as_bytes(x, painter.facts)[: count - start])
    return np.concatenate(parts)


def trajectory(
    painter: Painter, root: Key[Array, ""], count: int, cond: PyTree
) -> tuple[UInt8[np.ndarray, "k n h w c"], list[float]]:
    """The first pictures with every state on their way, and the clock at each; states are clipped to be shown."""
    some = jax.tree.map(lambda leaf: leaf[:count], cond)
    states = [np.asarray(x) for x in _draw(stepwise, painter, keys(root, count), some)]
    shown = [to_uint8(x, 256) for x in states[:-1]] + [as_bytes(states[-1], painter.facts)]
    return np.stack(shown), [float(u) for u in painter.grid]


def _draw(driver: Callable[..., Any], p: Painter, keys: Keys, cond: PyTree) -> Any:
    return driver(keys, p.noise, p.order, p.denoise, p.facts.shape, cond=cond, grid=p.grid, step=p.step)


def labels(
    root: Key[Array, ""], count: int, frequencies: tuple[float, ...], label: int | None
) -> Int32[np.ndarray, " n"] | None:
    """The label asked for, or labels drawn by each example's key by the training's shares; None without classes."""
    if label is not None and not 0 <= label < len(frequencies):
        classes = (
            f"expected 0 … {len(frequencies) - 1}" if frequencies else "this model has no classes; leave --label out"
        )
        raise UserError(f"--label {label}: {classes}")
    if not frequencies:
        return None
    if label is not None:
        return np.full(count, label, np.int32)
    logits = jnp.log(jnp.asarray(frequencies))
    drawn = jax.vmap(lambda key: jax.random.categorical(key, logits))(fold(keys(root, count), _LABELS))
    return np.asarray(drawn, np.int32)


def as_bytes(x: Any, facts: Facts) -> UInt8[np.ndarray, "..."]:
    """x in [-1, 1] as bytes 0 … 255, rounded to the data's own levels, by the scale the model was trained on."""
    x = np.asarray(x)
    if not facts.dequantised:
        return to_uint8(x, facts.levels)
    return np.round(requantise(x, facts.levels) * (255 / (facts.levels - 1))).astype(np.uint8)
