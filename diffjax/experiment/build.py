"""From the fields of a config to objects: the one place where names become functions.

Every argument is explicit; nothing here, or further in, knows what a config object is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import optax

from diffjax import grids, nets, predict, schedule, steps, times, weights
from diffjax import loss as losses
from diffjax import noise as noises
from diffjax import order as orders
from diffjax.conditions import LABEL
from diffjax.denoising import needs_rank
from diffjax.errors import UserError
from diffjax.experiment import specs
from diffjax.grids import Grid
from diffjax.loss.condition_dropout import drop_cond
from diffjax.loss.protocol import Loss
from diffjax.nets import adapters as net_adapters
from diffjax.nets import condition_encoders as encoders
from diffjax.order import Order
from diffjax.predict import Parameterization
from diffjax.protocols import Noise, Schedule, Step
from diffjax.times import Times
from diffjax.training import metric_writers as metric_writers
from diffjax.training import nonfinite
from diffjax.training.metric_writers import Writer
from diffjax.training.nonfinite import Policy
from diffjax.training.optimizers import adamw
from diffjax.traits import net_traits
from diffjax.weights import LogWeight


class PartSpec(NamedTuple):
    """What an encoder must know of a part of a condition: its name, a value's shape, how many integers that may be."""

    part: str
    shape: tuple[int, ...]
    vocab: int = 0  # 0: numbers


@dataclass(frozen=True)
class ModelParts:
    """What is needed to call a denoiser: everything but its weights."""

    noise: Noise
    order: Order
    net: Any


def build_model(
    *,
    net: str,
    noise: str,
    schedule_of_noise: str,
    prediction: str,
    data_std: float,
    order: str,
    classes: int,
    vocab: int | None,
    shape: tuple[int, ...],
    adapters: str = "",
    conditions: tuple[str, ...] = (),
    parts: Sequence[PartSpec] = (),
) -> ModelParts:
    """The model of these slots. Raises UserError naming the slot, and of two that do not fit, both.

    `classes` is 0 for a net without labels. `vocab` is how many tokens the data have, None where they are numbers;
    tokens are those of an array of this `shape`. `conditions` are encoders of `parts`, which the data have.
    """
    noise_process = _noise(noise, schedule_of_noise, prediction, data_std, vocab)
    generation_order = specs.parse_value(orders, order, "model.order", Order)
    takes = specs.parameter_names(nets, net, "model.net")
    if "vocab" in takes and vocab is None:
        raise UserError("model.net: it reads tokens, and data.form gives numbers; use another net, or data.form=tokens")
    if "vocab" not in takes and vocab is not None:
        raise UserError("model.net: it reads numbers, and data.form gives tokens; use Transformer, or data.form=unit")
    tokens = {name: value for name, value in (("vocab", vocab), ("shape", shape)) if name in takes}
    condition_arguments = {"conditions": tuple(_encoder(text, parts) for text in conditions)} if conditions else {}
    bare = specs.instantiate(nets, net, "model.net", classes=classes, **condition_arguments, **tokens)
    return ModelParts(
        noise_process,
        generation_order,
        specs.call_with(net_adapters, adapters, "model.adapters", bare) if adapters else bare,
    )


def _encoder(text: str, parts: Sequence[PartSpec]) -> Any:
    """The encoder of that slot, for the part of the data that it names. Raises UserError where there is no such."""
    field = "model.conditions"
    encoder = specs.instantiate(encoders, text, field)
    of_data = {part.part: part for part in parts}
    if encoder.part not in of_data:
        offered = f"data.parts gives {', '.join(of_data)}" if parts else "data.parts is empty"
        raise UserError(
            f"{field}: {text} speaks of {encoder.part!r}, and {offered}; add it there, or name another with part="
        )
    _, shape, vocab = of_data[encoder.part]
    counts = isinstance(encoder, encoders.Category | encoders.Text)
    if len(shape) not in encoder.axes or counts != bool(vocab):
        kind = f"integers below {vocab}" if vocab else "numbers"
        raise UserError(f"{field}: {text} does not suit {encoder.part!r}, {kind} of shape {shape}; use another encoder")
    return encoder.clone(shape=shape, **({"vocab": vocab} if counts else {}))


def _noise(kind: str, schedule_of_noise: str, prediction: str, data_std: float, vocab: int | None) -> Noise:
    """The noise of that name, made of those of these fields that it takes."""
    takes = specs.parameter_names(noises, kind, "model.noise")
    if ("vocab" in takes) != (vocab is not None):
        wants, has = ("tokens", "numbers") if vocab is None else ("numbers", "tokens")
        raise UserError(
            f"model.noise: {kind} is for {wants}, and data.form gives {has}; use Gaussian with data.form=unit or "
            "dequantised, Masking with data.form=tokens"
        )
    if "vocab" in takes:
        for field, value in (("schedule", schedule_of_noise), ("prediction", prediction)):
            if value:
                raise UserError(f"model.{field}: {kind} has none, got {value!r}; set model.{field} to an empty string")
        return specs.instantiate(noises, kind, "model.noise", vocab=vocab)
    curve = specs.parse_value(schedule, schedule_of_noise, "model.schedule", Schedule)
    row = specs.parse_value(predict, prediction, "model.prediction", Parameterization)
    return specs.instantiate(
        noises, kind, "model.noise", schedule=curve, parameterization=row, data_std=float(data_std)
    )


def build_loss(
    built: ModelParts,
    *,
    loss: str,
    weight: str,
    distribution: str,
    cond_drop: float | None = None,
    label_drop: float = 0.0,
) -> Loss:
    """The loss of these slots; an empty `weight` or `distribution` of times is the loss's own.

    `cond_drop` is how often the whole condition is left out, None where nothing ever is; `label_drop` how often, of a
    condition of parts, the label alone is; the other parts say so themselves.
    """
    if specs.lookup(losses, loss, "train.loss") is losses.causal and not needs_rank(built.net):
        raise UserError(
            "train.loss: causal needs a net that predicts each next token, and model.net does not; use "
            "Transformer(causal=True), or train.loss=bound"
        )
    parameters, options = specs.parameter_names(losses, loss, "train.loss"), {}
    for field, module, name, text in (("weight", weights, "weight", weight), ("times", times, "times", distribution)):
        if text and name not in parameters:
            raise UserError(
                f"train.{field}: {loss} has none, got {text!r}; leave it empty, or use train.loss=regression"
            )
        options |= {name: specs.instantiate(module, text, f"train.{field}")} if text else {}
    loss_function = specs.call_with(losses, loss, "train.loss", built.noise, built.order, **options)
    if built.net.null_cond is None or cond_drop is None:
        return loss_function
    conditions = net_traits(built.net).conditions
    if label_drop and not conditions:
        raise UserError("train.label_drop: of a condition that is the label alone, set train.cond_drop")
    drop_rates = {LABEL: label_drop} | {condition.part: condition.drop for condition in conditions}
    return drop_cond(loss_function, built.net.null_cond, cond_drop, drop_rates)


class LossByLevel(NamedTuple):
    """A loss that draws noise levels, to be looked at level by level."""

    loss_of: Callable[[Times], Loss]  # the loss by those times, without dropout of conditions
    times: Times  # those of the training
    log_weight: LogWeight  # of the error of x0


def build_loss_by_level(built: ModelParts, *, loss: str, weight: str, distribution: str) -> LossByLevel | None:
    """The parts of the loss of these slots; None where it draws no levels, or lets no one choose them."""
    if "times" not in specs.parameter_names(losses, loss, "train.loss"):
        return None
    heavy = specs.instantiate(weights, weight, "train.weight") if weight else None

    def loss_of(time_choice: Times) -> Loss:
        loss_function: Loss = specs.call_with(
            losses,
            loss,
            "train.loss",
            built.noise,
            built.order,
            times=time_choice,
            **({"weight": heavy} if heavy else {}),
        )
        return loss_function

    def loss_with_times(log_snr: Any) -> Any:
        return built.noise.log_weight(built.noise.time(log_snr))

    time_distribution = specs.instantiate(times, distribution, "train.times") if distribution else times.uniform()
    return LossByLevel(loss_of, time_distribution, heavy or loss_with_times)


def build_sampler(noise: Noise, order: Order, *, step: str, grid: str, count: int) -> tuple[Step, Grid]:
    """The step rule and the grid of these slots; under an order of blocks these are of one block, and so of each."""
    if count < 1:
        raise UserError(f"steps: expected at least 1, got {count}")
    rule, of_block = specs.instantiate(steps, step, "sampler"), specs.call_with(grids, grid, "grid", noise, count)
    if order.blocks <= 1:
        return rule, of_block
    if of_block[0] != 1 or of_block[-1] != 0:
        raise UserError(
            f"grid: of {order.blocks} blocks each is known when the next begins, so the grid must go from 1 to 0, and "
            f"{grid} goes from {of_block[0]:g} to {of_block[-1]:g}; use uniform, or last='clean'"
        )
    return rule, grids.repeat_per_block(of_block, order.blocks)


def build_policy(on_fault: str) -> Policy:
    """What happens where a number is not finite."""
    return specs.instantiate(nonfinite, on_fault, "train.on_fault")


def build_optimizer(
    *, steps: int, learning_rate: float, warmup_steps: int, weight_decay: float, clip_norm: float
) -> Any:
    """AdamW of these numbers. Raises UserError naming the field that is out of range."""
    for field, value in (("steps", steps), ("learning_rate", learning_rate), ("clip_norm", clip_norm)):
        if value <= 0:
            raise UserError(f"train.{field}: expected a positive number, got {value}")
    for field, value in (("warmup_steps", warmup_steps), ("weight_decay", weight_decay)):
        if value < 0:
            raise UserError(f"train.{field}: expected 0 or more, got {value}")
    transformation: optax.GradientTransformation = adamw(steps, learning_rate, warmup_steps, weight_decay, clip_norm)
    return transformation


def build_writers(texts: tuple[str, ...], *, folder: Path, start: int, about: Mapping[str, Any]) -> tuple[Writer, ...]:
    """The writers of metrics of these slots, for a run in that folder that goes on from step `start`."""
    field = "train.writers"
    kinds = [specs.lookup(metric_writers, text, field) for text in texts]
    if len(set(kinds)) < len(kinds):
        raise UserError(f"{field}: expected each writer once, got {', '.join(texts)}; take one out")
    return tuple(specs.call_with(metric_writers, text, field, folder, start, about) for text in texts)
