"""From the fields of a config to objects: the one place where names become functions.

Every argument is explicit; nothing here, or further in, knows what a config object is.
"""

from dataclasses import dataclass
from typing import Any

import optax

from diffjax import grids, nets, predict, schedule, slots, steps, times, weights
from diffjax import order as orders
from diffjax.errors import UserError
from diffjax.grids import Grid
from diffjax.loss import Loss, drop_cond, regression
from diffjax.noise import Gaussian
from diffjax.order import Order
from diffjax.predict import Row
from diffjax.protocols import Step
from diffjax.schedule import Schedule
from diffjax.training.loop import adamw


@dataclass(frozen=True)
class Model:
    """What is needed to call a denoiser: everything but its weights."""

    noise: Gaussian
    order: Order
    net: Any


def model(*, net: str, schedule_of_noise: str, prediction: str, data_std: float, order: str, classes: int) -> Model:
    """The model of these slots; `classes` is 0 for an unconditional net. Raises UserError naming the slot."""
    noise = Gaussian(
        slots.value(schedule, schedule_of_noise, "model.schedule", Schedule),
        slots.value(predict, prediction, "model.prediction", Row),
        float(data_std),
    )
    which = slots.value(orders, order, "model.order", Order)
    return Model(noise, which, slots.made(nets, net, "model.net", classes=classes))


def training_loss(built: Model, *, weight: str, distribution: str, cond_drop: float) -> Loss:
    """The regression loss with these slots; an empty `weight` is the row's own."""
    loss = regression(
        built.noise,
        built.order,
        weight=slots.made(weights, weight, "train.weight") if weight else None,
        times=slots.made(times, distribution, "train.times"),
    )
    return loss if built.net.null_cond is None else drop_cond(loss, built.net.null_cond, cond_drop)


def sampler(noise: Gaussian, *, step: str, grid: str, count: int) -> tuple[Step, Grid]:
    """The step rule and the grid of these slots."""
    if count < 1:
        raise UserError(f"steps: expected at least 1, got {count}")
    return slots.made(steps, step, "sampler"), slots.applied(grids, grid, "grid", noise, count)


def optimizer(*, steps: int, learning_rate: float, warmup_steps: int, weight_decay: float, clip_norm: float) -> Any:
    """AdamW of these numbers. Raises UserError naming the field that is out of range."""
    for field, given in (("steps", steps), ("learning_rate", learning_rate), ("clip_norm", clip_norm)):
        if given <= 0:
            raise UserError(f"train.{field}: expected a positive number, got {given}")
    for field, given in (("warmup_steps", warmup_steps), ("weight_decay", weight_decay)):
        if given < 0:
            raise UserError(f"train.{field}: expected 0 or more, got {given}")
    made: optax.GradientTransformation = adamw(steps, learning_rate, warmup_steps, weight_decay, clip_norm)
    return made
