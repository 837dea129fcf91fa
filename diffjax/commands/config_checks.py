"""What can be known of a config before a step is compiled: what does not fit is refused by the name of its field."""

import os
import shutil
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from diffjax.data import Dataset
from diffjax.errors import UserError
from diffjax.experiment.config import Config, Train
from diffjax.loss.protocol import Loss
from diffjax.training import checkpoint, retention
from diffjax.training.retention import RetentionPolicy
from diffjax.training.state import State
from diffjax.utils.files import nearest_existing
from diffjax.utils.prng import keys

LEVELS, MOST = 512, 2**22  # evenly spread over training, at which a loss must be finite; numbers in so many examples
MAX_SPREAD_RATIO = 4.0  # how many times larger or smaller than model.data_std the data's standard deviation may be
NOTED = 1.2  # from how many times on a note says so


def check_numbers(config: Config) -> None:
    """Raise UserError for numbers that cannot be."""
    t = config.train
    batch_size = config.data.batch_size
    devices = jax.device_count()
    numbers = vars(t)
    for name in ("steps", "accumulate"):
        if numbers[name] < 1:
            raise UserError(f"config.train.{name}: expected at least 1, got {numbers[name]}")
    if batch_size < 1 or batch_size % devices:
        raise UserError(f"config.data.batch_size: expected a multiple of the {devices} device(s), got {batch_size}")
    if batch_size // devices % t.accumulate:
        raise UserError(
            f"config.train.accumulate: a device's share of {batch_size // devices} examples does not divide by "
            f"{t['accumulate']}; use a divisor of it"
        )
    for name in ("validate_images", *(name for name in numbers if name.endswith("_every_steps"))):
        if numbers[name] < 0:
            raise UserError(f"config.train.{name}: expected 0 (never) or more, got {numbers[name]}")
    if t.snapshot_every_steps and len(t.ema_std) < 2:
        raise UserError("config.train.snapshot_every_steps: needs two lengths in train.ema_std, such as 0.05 and 0.1")
    if t.keep_best and t.keep_best not in ("loss", "grad_norm", "validation_loss"):
        raise UserError(
            f"config.train.keep_best: expected validation_loss, loss, grad_norm or nothing, got {t['keep_best']!r}"
        )
    if t.keep_best == "validation_loss" and not t.validate_images:
        raise UserError("config.train.keep_best: validation_loss needs train.validate_images; set it to 512, or so")
    if not 0 <= t.seed < 2**32:
        raise UserError(f"config.train.seed: expected 0 … 2**32 - 1, got {t['seed']}")
    for name in ("cond_drop", "label_drop"):
        if not 0 <= numbers[name] <= 1:
            raise UserError(f"config.train.{name}: expected a share in [0, 1], got {numbers[name]}")


def check_size(new: Callable[[Any], State], key: Any) -> int:
    """The bytes of a state, which is not made for this. Raises UserError where a device cannot hold it."""
    leaves = jax.tree.leaves(jax.eval_shape(lambda key: checkpoint.to_orbax(new(key)), key))
    needed = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    has, sharing = device_memory()
    if needed * sharing > has:
        raise UserError(
            f"config.model.net: parameters, optimizer and averages take {format_bytes(needed * sharing)}, and "
            f"{jax.local_devices()[0].platform} has {format_bytes(has)}; use a smaller net, or fewer averages"
        )
    return needed


def device_memory() -> tuple[int, int]:
    """The bytes that a device has, and how many of this host's devices share them: on CPU all, the machine's memory."""
    room = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    if room is None:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), jax.local_device_count()
    return room, 1


def check_disk(workdir: Path, keep: RetentionPolicy, t: Train, checkpoint_bytes: int) -> None:
    """Raise UserError where the checkpoints that the policy will keep have no room, one more of them being written."""
    needed = (
        max_checkpoints(keep, t.steps, t.save_every_steps)
        + 1
        - len(retention.complete_checkpoints(workdir / "checkpoints"))
    )
    free = shutil.disk_usage(nearest_existing(workdir)).free
    if needed * checkpoint_bytes > free:
        raise UserError(
            f"--workdir {workdir}: {needed} more checkpoints of {format_bytes(checkpoint_bytes)} do not fit into the "
            f"{format_bytes(free)} that are "
            "free; make room, or lower train.keep_checkpoints, or raise train.keep_every_steps"
        )


def max_checkpoints(keep: RetentionPolicy, steps: int, save_every: int) -> int:
    """How many checkpoints a run has when it ends, at most: one of them may be where it stopped on the way."""
    for_ever = steps // keep.every_steps if keep.every_steps else 0
    return min(keep.last + for_ever + bool(keep.best_by), (ceil(steps / save_every) if save_every else 1) + 1)


def check_loss(loss: Loss, net: Any, params: Any, x: Any, cond: Any) -> None:
    """Raise UserError where net and loss do not fit, or the loss of a net that outputs zeros is infinite at a level.

    Then the weight, or the distribution of times, does not go with the prediction.
    """
    count = max(8, min(LEVELS, MOST // x.size))

    def of_nothing(x: Any, cond: Any, zero: Any) -> tuple[Any, Any]:
        net_levels: list[Any] = []

        def silent(x_t: Any, level: Any, *more: Any) -> Any:
            net_levels.append(jnp.broadcast_to(level.reshape(len(level), -1)[:, 0], count))
            out = jax.eval_shape(Partial(net.apply, {"params": params}), x_t, level, *more)
            return jnp.full(out.shape, zero, out.dtype)  # of constants XLA would compute the loss as it compiles

        return loss(keys(0, count), silent, x, cond), net_levels[0]

    with jax.debug_nans(False):
        many = jax.tree.map(lambda leaf: jnp.repeat(leaf, count, axis=0), (x, cond))
        losses, levels = jax.jit(of_nothing)(*many, 0.0)
    if (bad := ~np.isfinite(losses)).any():
        where = np.asarray(levels)[bad]
        raise UserError(
            f"train.weight: with model.prediction, model.schedule and train.times as they are the loss is infinite at "
            f"noise levels {where.min():.4g} … {where.max():.4g}; use another weight, or times that stay clear of them"
        )


def check_data_std(configured_std: float, measured: float) -> list[str]:
    """A note where model.data_std and the data's own, 0 of tokens, are more than `NOTED` times apart.

    Raises UserError where they are more than `MAX_SPREAD_RATIO` times apart.
    """
    ratio = (
        max(configured_std, measured) / max(min(configured_std, measured), np.finfo(np.float32).tiny)
        if measured
        else 1.0
    )
    message = f"config.model.data_std: {configured_std:g}, and the training images have {measured:.3g}"
    if ratio > MAX_SPREAD_RATIO:
        raise UserError(f"{message}; set it to that, or leave it out of the config to have it measured")
    return (
        [f"{message}, more than {NOTED - 1:.0%} apart; left out of the config it is measured"] if ratio > NOTED else []
    )


def check_validation(dataset: Dataset, t: Train) -> tuple[int, list[str]]:
    """How many images are validated on, and a note where `train.validate_images` asks for some and there are none.

    Raises UserError where the best checkpoint is chosen by them.
    """
    if not t.validate_images or len(dataset.splits["validation"]):
        return t.validate_images, []
    message = f"{dataset.name} has no image for validation"
    if t.keep_best == "validation_loss":
        raise UserError(f"config.train.keep_best: {message}, so no validation_loss; add images, or choose another")
    return 0, [f"{message}, so no validation loss is measured"]


def format_bytes(count: int) -> str:
    """Bytes for people."""
    power = min(max(len(str(count)) - 1, 0) // 3, 4)
    return f"{count / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"
