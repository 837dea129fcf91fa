"""The trainer: equal nets, losses and optimizers on the same devices share one compiled training step."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import jax
import optax

from diffjax.loss.protocol import Loss
from diffjax.parallel.dispatch import steps_per_dispatch
from diffjax.protocols import Net
from diffjax.training import data_parallel
from diffjax.training.data_parallel import Device
from diffjax.training.freezing import freeze
from diffjax.training.step import train_step
from diffjax.utils.closures import intern_function
from diffjax.utils.memo import cache_hashable


@dataclass(frozen=True)
class Trainer:
    """Net, loss and optimizer, and the devices that they are trained on.

    A device takes its share of a batch in `parts`, and at most `max_steps` steps in one dispatch.
    """

    net: Net
    loss: Loss
    optimizer: optax.GradientTransformation
    devices: tuple[Device, ...]
    max_steps: int
    parts: int

    @cached_property
    def advance(self) -> data_parallel.AdvanceState:
        """The compiled program."""
        return _compiled_step(self.net, self.loss, self.optimizer, self.parts, self.devices)

    @property
    def local_device_count(self) -> int:
        """The devices of this host."""
        return len(data_parallel.addressable_devices(self.devices))


def build_trainer(
    net: Net,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    devices: Sequence[Device] | None = None,
    dispatch: int | None = None,
    accumulate: int = 1,
) -> Trainer:
    """The trainer of a net without its fixed parameters, see `fit` for the arguments."""
    net, optimizer = freeze(net, optimizer)
    return Trainer(
        net=net,
        loss=intern_function(loss),
        optimizer=optax.GradientTransformation(intern_function(optimizer.init), intern_function(optimizer.update)),
        devices=tuple(devices or jax.devices()),
        max_steps=dispatch or steps_per_dispatch(net),
        parts=accumulate,
    )


@cache_hashable(4)
def _compiled_step(
    net: Net, loss: Loss, optimizer: optax.GradientTransformation, parts: int, devices: tuple[Device, ...]
) -> data_parallel.AdvanceState:
    return data_parallel.pmap_step(partial(train_step, net, loss, optimizer, parts=parts), devices)
