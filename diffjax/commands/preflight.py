"""Preflight checks of a training run: whatever does not fit is refused by the name of its field, before compilation."""

import os
import shutil
from collections.abc import Callable
from functools import partial
from math import ceil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from diffjax.commands.training_data import TrainingData
from diffjax.commands.training_setup import TrainingSetup
from diffjax.data import Dataset
from diffjax.errors import UserError
from diffjax.experiment.config import Config
from diffjax.loss.protocol import Loss
from diffjax.protocols import Net
from diffjax.training import checkpoint, retention
from diffjax.training.retention import RetentionPolicy
from diffjax.training.state import State
from diffjax.training.step import losses
from diffjax.utils.files import describe_error, nearest_existing
from diffjax.utils.image_io import format_size
from diffjax.utils.prng import keys

LOSS_LEVELS = 512  # noise levels, evenly spread over training, at which the loss must be finite
MAX_LOSS_VALUES = 2**22  # values in that many examples, at most
MAX_STD_RATIO = 4.0  # between model.data_std and the standard deviation of the data
NOTED_STD_RATIO = 1.2  # above which it is reported
MAX_REASON = 160  # letters of a net's message that ours quotes
BEST_METRICS = ("validation_loss", "loss", "grad_norm")


def check_numbers(config: Config) -> None:
    """Raise UserError for numbers out of range."""
    train = config.train
    batch_size = config.data.batch_size
    numbers = vars(train)
    devices = jax.device_count()
    for name in ("steps", "accumulate"):
        if numbers[name] < 1:
            raise UserError(f"config.train.{name}: expected at least 1, got {numbers[name]}")
    if train.minutes < 0:
        raise UserError(f"config.train.minutes: expected 0 (no limit) or more, got {train.minutes}")
    if batch_size < 1 or batch_size % devices:
        raise UserError(f"config.data.batch_size: expected a multiple of the {devices} device(s), got {batch_size}")
    if batch_size // devices % train.accumulate:
        raise UserError(
            f"config.train.accumulate: {train.accumulate} does not divide the {batch_size // devices} examples of a "
            "device; use a divisor of it"
        )
    for name in ("validate_images", *(name for name in numbers if name.endswith("_every_steps"))):
        if numbers[name] < 0:
            raise UserError(f"config.train.{name}: expected 0 (never) or more, got {numbers[name]}")
    if train.snapshot_every_steps and len(train.ema_std) < 2:
        raise UserError("config.train.snapshot_every_steps: needs two widths in train.ema_std, such as 0.05 and 0.1")
    if train.keep_best and train.keep_best not in BEST_METRICS:
        choices = ", ".join(BEST_METRICS)
        raise UserError(f"config.train.keep_best: expected {choices} or nothing, got {train.keep_best!r}")
    if train.keep_best == "validation_loss" and not train.validate_images:
        raise UserError("config.train.keep_best: validation_loss needs train.validate_images; set it to 512, or so")
    if not 0 <= train.seed < 2**32:
        raise UserError(f"config.train.seed: expected 0 … 2**32 - 1, got {train.seed}")
    for name in ("cond_drop", "label_drop"):
        if not 0 <= numbers[name] <= 1:
            raise UserError(f"config.train.{name}: expected a probability in [0, 1], got {numbers[name]}")


def preflight(config: Config, data: TrainingData, setup: TrainingSetup, workdir: Path) -> tuple[int, list[str]]:
    """The bytes of the state on each device, and notes for the user.

    Raises UserError for a state too large for the device or the disk, a loss that is not finite, and data that differ
    from the config.
    """
    train = config.train
    state_bytes, params = check_size(setup.create, jax.random.key(train.seed))
    check_disk(workdir, setup.retention, train.steps, train.save_every_steps, state_bytes)
    check_loss(setup.loss, setup.net, params, *setup.example)
    check_sizes(setup, params, data)
    notes = check_data_std(config.model.data_std or data.std, data.std)
    return state_bytes, notes + check_validation(data.dataset, train.validate_images, train.keep_best)


def check_size(create: Callable[[Key[Array, ""]], State], key: Key[Array, ""]) -> tuple[int, PyTree]:
    """The bytes of a state, which is not created for this, and the shapes of its parameters.

    Raises UserError where a device cannot hold it.
    """

    def stored(key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        state = create(key)
        return checkpoint.to_orbax(state), state.params

    shapes, params = jax.eval_shape(stored, key)
    leaves = jax.tree.leaves(shapes)
    needed = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    available, sharing = device_memory()
    if needed * sharing > available:
        raise UserError(
            f"config.model.net: parameters, optimizer and averages take {format_bytes(needed * sharing)}, and "
            f"{jax.local_devices()[0].platform} has {format_bytes(available)}; use a smaller net, or fewer averages"
        )
    return needed, params


def device_memory() -> tuple[int, int]:
    """The bytes of a device, and how many of this host's devices share them: on CPU all share the machine's memory."""
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    if limit is None:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), jax.local_device_count()
    return limit, 1


def check_disk(workdir: Path, policy: RetentionPolicy, steps: int, save_every: int, checkpoint_bytes: int) -> None:
    """Raise UserError where the disk has no room for the checkpoints that are kept, and one that is being written."""
    stored = len(retention.complete_checkpoints(workdir / "checkpoints"))
    needed = max_checkpoints(policy, steps, save_every) + 1 - stored
    free = shutil.disk_usage(nearest_existing(workdir)).free
    if needed * checkpoint_bytes > free:
        raise UserError(
            f"--workdir {workdir}: {needed} more checkpoints of {format_bytes(checkpoint_bytes)} do not fit into "
            f"{format_bytes(free)} of free space; make room, or lower train.keep_checkpoints, or raise "
            "train.keep_every_steps"
        )


def max_checkpoints(policy: RetentionPolicy, steps: int, save_every: int) -> int:
    """The maximum number of checkpoints at the end of a run: one of them may be from an interruption."""
    permanent = steps // policy.every_steps if policy.every_steps else 0
    saved = (ceil(steps / save_every) if save_every else 1) + 1
    return min(policy.last + permanent + bool(policy.best_by), saved)


def check_loss(loss: Loss, net: Net, params: PyTree, x: Array, cond: PyTree) -> None:
    """Raise UserError where net and loss do not fit, or the loss of a net that outputs zeros is not finite at a level.

    Then the weight, or the distribution of times, does not go with the parameterization. Of `params`, shapes suffice.
    """
    count = max(8, min(LOSS_LEVELS, MAX_LOSS_VALUES // x.size))

    def loss_of_zeros(x: Array, cond: PyTree, zero: Array) -> tuple[Array, Array]:
        levels: list[Array] = []

        def zero_net(x_t: Array, level: Array, *more: PyTree) -> Array:
            levels.append(jnp.broadcast_to(level.reshape(len(level), -1)[:, 0], count))
            out = jax.eval_shape(net.apply, {"params": params}, x_t, level, *more)
            return jnp.full(out.shape, zero, out.dtype)  # of constants XLA would compute the loss as it compiles

        return loss(keys(0, count), zero_net, x, cond), levels[0]

    with jax.debug_nans(False):
        repeated = jax.tree.map(lambda leaf: jnp.repeat(leaf, count, axis=0), (x, cond))
        losses, levels = jax.jit(loss_of_zeros)(*repeated, 0.0)
    if (infinite := ~np.isfinite(losses)).any():
        where = np.asarray(levels)[infinite]
        raise UserError(
            f"train.weight: with this model.prediction, model.schedule and train.times the loss is infinite at noise "
            f"levels {where.min():.4g} … {where.max():.4g}; use another weight, or times that avoid them"
        )


def check_sizes(setup: TrainingSetup, params: PyTree, data: TrainingData) -> None:
    """Raise UserError where batches have several sizes, and the net does not take one of them."""
    spec = data.spec
    sizes = data.sizes if len(data.dataset.sizes) > 1 else ()
    for size in sizes:
        x = spec.encoding.empty((*size, spec.shape[2]))
        try:
            jax.eval_shape(partial(losses, setup.net, setup.loss), params, keys(0, 1), x, setup.example[1])
        except Exception as error:  # by which a net refuses a size, its own or Flax's
            problem = f"{setup.model.net.__class__.__name__} takes no images of {format_size(*size)}"
            reason = describe_error(error)[:MAX_REASON]
            raise UserError(
                f"data.image_size: {problem} beside others ({reason}); use UNet or DiT, or one size"
            ) from None


def check_data_std(configured: float, measured: float) -> list[str]:
    """A note where model.data_std and the measured one (0 for tokens) differ by more than `NOTED_STD_RATIO`.

    Raises UserError where they differ by more than `MAX_STD_RATIO`.
    """
    if not measured:
        return []
    ratio = max(configured, measured) / max(min(configured, measured), np.finfo(np.float32).tiny)
    message = f"config.model.data_std: {configured:g}, and the training images have {measured:.3g}"
    if ratio > MAX_STD_RATIO:
        raise UserError(f"{message}; set it to that, or leave it out of the config to have it measured")
    if ratio <= NOTED_STD_RATIO:
        return []
    return [f"{message}, more than {NOTED_STD_RATIO - 1:.0%} apart; without it in the config it is measured"]


def check_validation(dataset: Dataset, validate_images: int, keep_best: str) -> list[str]:
    """A note where validation is requested and the data have no images for it.

    Raises UserError where the best checkpoint is chosen by the validation loss.
    """
    if not validate_images or len(dataset.splits["validation"]):
        return []
    message = f"{dataset.name} has no validation images"
    if keep_best == "validation_loss":
        raise UserError(f"config.train.keep_best: {message}, so no validation_loss; add images, or choose another")
    return [f"{message}, so no validation loss is measured"]


def format_bytes(count: int) -> str:
    """A number of bytes with three digits and a unit."""
    power = min(max(len(str(count)) - 1, 0) // 3, 4)
    return f"{count / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"
