"""From the sections of a config to objects: the one place where names become functions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import optax

from diffjax import grids, net_inputs, nets, predict, schedule, steps, times, weights
from diffjax import loss as losses
from diffjax import noise as noises
from diffjax import order as orders
from diffjax.conditions import LABEL
from diffjax.denoising import needs_rank
from diffjax.errors import UserError
from diffjax.experiment import specs
from diffjax.experiment.config import Model, Train
from diffjax.experiment.data_spec import DataSpec, PartSpec
from diffjax.grids import Grid
from diffjax.loss.condition_dropout import drop_cond
from diffjax.loss.protocol import Loss
from diffjax.net_inputs import NetInputs
from diffjax.nets import adapters as net_adapters
from diffjax.nets import condition_encoders as encoders
from diffjax.order import Order
from diffjax.predict import Parameterization
from diffjax.protocols import Net, Noise, Schedule, Step
from diffjax.times import Times
from diffjax.training import metric_writers, nonfinite, optimizers
from diffjax.training.metric_writers import Writer
from diffjax.training.nonfinite import Policy
from diffjax.traits import ConditionalNet, net_traits
from diffjax.weights import LogWeight

POSITIVE = ("steps", "learning_rate", "clip_norm")  # numbers that an optimizer may take
NON_NEGATIVE = ("warmup_steps", "weight_decay")


@dataclass(frozen=True)
class ModelParts:
    """A model without its weights."""

    noise: Noise
    order: Order
    net: ConditionalNet


def build_model(model: Model, data: DataSpec) -> ModelParts:
    """The model of a config, for such data. Raises UserError naming the field, and of two that do not fit, both."""
    noise = _build_noise(model, data.vocab)
    order = specs.parse_value(orders, model.order, "model.order", Order)
    return ModelParts(noise, order, _build_net(model, data))


def _build_net(model: Model, data: DataSpec) -> ConditionalNet:
    field = "model.net"
    takes = specs.parameter_names(nets, model.net, field)
    reads_tokens = "vocab" in takes
    if reads_tokens and data.vocab is None:
        raise UserError(f"{field}: it reads tokens, and data.form gives numbers; use another net, or data.form=tokens")
    if not reads_tokens and data.vocab is not None:
        raise UserError(f"{field}: it reads numbers, and data.form gives tokens; use Transformer, or data.form=unit")
    wanted: dict[str, object] = {"classes": data.classes} if model.conditional and data.classes else {}
    if model.conditions:
        wanted["conditions"] = tuple(_build_encoder(text, data.parts) for text in model.conditions)
    for name in wanted.keys() - takes:
        raise UserError(
            f"{field}: {model.net} takes no {name}; set model.conditional=False, and leave model.conditions out"
        )
    offered = {"vocab": data.vocab, "shape": data.shape, "classes": 0, **wanted}
    net = specs.instantiate(nets, model.net, field, kind=Net, offered=offered)
    if not model.adapters:
        return net
    return specs.instantiate(net_adapters, model.adapters, "model.adapters", net, kind=Net)


def _build_encoder(text: str, parts: Sequence[PartSpec]) -> object:
    """The encoder of the part of a condition that it names. Raises UserError where the data have no such part."""
    field = "model.conditions"
    encoder = specs.instantiate(encoders, text, field)
    of_data = {part.part: part for part in parts}
    if encoder.part not in of_data:
        offered = f"data.parts gives {', '.join(of_data)}" if parts else "data.parts is empty"
        raise UserError(
            f"{field}: {text} encodes {encoder.part!r}, and {offered}; add it there, or name another with part="
        )
    _, shape, vocab = of_data[encoder.part]
    counts = "vocab" in specs.parameter_names(encoders, text, field)
    if len(shape) not in encoder.axes or counts != bool(vocab):
        kind = f"integers below {vocab}" if vocab else "numbers"
        raise UserError(f"{field}: {text} does not suit {encoder.part!r}, {kind} of shape {shape}; use another encoder")
    return encoder.clone(shape=shape, **({"vocab": vocab} if counts else {}))


def _build_noise(model: Model, vocab: int | None) -> Noise:
    field = "model.noise"
    takes = specs.parameter_names(noises, model.noise, field)
    if ("vocab" in takes) != (vocab is not None):
        accepts, actual = ("tokens", "numbers") if vocab is None else ("numbers", "tokens")
        raise UserError(
            f"{field}: {model.noise} is for {accepts}, and data.form gives {actual}; use Gaussian with data.form=unit "
            "or dequantised, Masking with data.form=tokens"
        )
    if "vocab" in takes:
        texts = {"schedule": model.schedule, "prediction": model.prediction, "inputs": model.inputs}
        for name, value in texts.items():
            if value:
                raise UserError(
                    f"model.{name}: {model.noise} has none, got {value!r}; set model.{name} to an empty string"
                )
        return specs.instantiate(noises, model.noise, field, kind=Noise, vocab=vocab)
    if model.data_std is None:
        raise UserError("model.data_std: expected a number; only train.py measures it")
    offered = {
        "schedule": specs.parse_value(schedule, model.schedule, "model.schedule", Schedule),
        "parameterization": specs.parse_value(predict, model.prediction, "model.prediction", Parameterization),
        "data_std": float(model.data_std),
    }
    if model.inputs:
        offered["inputs"] = specs.parse_value(net_inputs, model.inputs, "model.inputs", NetInputs)
    return specs.instantiate(noises, model.noise, field, kind=Noise, offered=offered)


def build_loss(built: ModelParts, train: Train, *, drop_conditions: bool = True) -> Loss:
    """The loss of a config; an empty weight or distribution of noise levels is the loss's own.

    With `drop_conditions` the whole condition is left out with probability `cond_drop`, and of a condition with parts
    the label with `label_drop` and every other part with the probability that its encoder has.
    """
    field = "train.loss"
    if specs.parse_spec(losses, train.loss, field).target is losses.causal and not needs_rank(built.net):
        raise UserError(
            f"{field}: causal needs a net that predicts each next token, and model.net does not; use "
            "Transformer(causal=True), or train.loss=bound"
        )
    parameters = specs.parameter_names(losses, train.loss, field)
    options: dict[str, object] = {}
    for module, name, text, kind in (
        (weights, "weight", train.weight, LogWeight),
        (times, "times", train.times, Times),
    ):
        if text and name not in parameters:
            raise UserError(
                f"train.{name}: {train.loss} has none, got {text!r}; leave it empty, or use train.loss=regression"
            )
        if text:
            options[name] = specs.instantiate(module, text, f"train.{name}", kind=kind)
    loss = specs.instantiate(losses, train.loss, field, built.noise, built.order, kind=Loss, offered=options)
    if built.net.null_cond is None or not drop_conditions:
        return loss
    conditions = net_traits(built.net).conditions
    if train.label_drop and not conditions:
        raise UserError("train.label_drop: of a condition that is the label alone, set train.cond_drop")
    drop_rates = {LABEL: train.label_drop} | {condition.part: condition.drop for condition in conditions}
    return drop_cond(loss, built.net.null_cond, train.cond_drop, drop_rates)


class LossByLevel(NamedTuple):
    """A loss that draws noise levels, to be looked at level by level."""

    loss_of: Callable[[Times], Loss]  # the loss by those times, without dropout of conditions
    times: Times  # those of the training
    log_weight: LogWeight  # of the error of x0


def build_loss_by_level(built: ModelParts, train: Train) -> LossByLevel | None:
    """The loss of a config by noise level; None where it draws no levels, or has no choice of their distribution."""
    if "times" not in specs.parameter_names(losses, train.loss, "train.loss"):
        return None
    options: dict[str, object] = {}
    log_weight: LogWeight = lambda log_snr: built.noise.log_weight(built.noise.time(log_snr))  # noqa: E731
    if train.weight:
        log_weight = specs.instantiate(weights, train.weight, "train.weight", kind=LogWeight)
        options["weight"] = log_weight

    def loss_of(levels: Times) -> Loss:
        offered = {**options, "times": levels}
        return specs.instantiate(losses, train.loss, "train.loss", built.noise, built.order, offered=offered)

    distribution = specs.instantiate(times, train.times or "uniform", "train.times", kind=Times)
    return LossByLevel(loss_of, distribution, log_weight)


def build_sampler(noise: Noise, order: Order, *, step: str, grid: str, count: int) -> tuple[Step, Grid]:
    """The step rule and the grid of `count` steps; under an order of blocks, the grid of one block, once for each."""
    if count < 1:
        raise UserError(f"steps: expected at least 1, got {count}")
    rule = specs.instantiate(steps, step, "sampler", kind=Step)
    of_block = specs.instantiate(grids, grid, "grid", noise, count)
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
    return specs.instantiate(nonfinite, on_fault, "train.on_fault", kind=Policy)


def build_optimizer(train: Train) -> optax.GradientTransformation:
    """The optimizer of a config, with those of its numbers that it takes.

    Raises UserError naming the field that is out of range.
    """
    for name in POSITIVE:
        if vars(train)[name] <= 0:
            raise UserError(f"train.{name}: expected a positive number, got {vars(train)[name]}")
    for name in NON_NEGATIVE:
        if vars(train)[name] < 0:
            raise UserError(f"train.{name}: expected 0 or more, got {vars(train)[name]}")
    offered = {name: vars(train)[name] for name in (*POSITIVE, *NON_NEGATIVE)}
    kind = optax.GradientTransformation
    return specs.instantiate(optimizers, train.optimizer, "train.optimizer", kind=kind, offered=offered)


def build_writers(
    texts: tuple[str, ...], *, folder: Path, start: int, about: Mapping[str, object]
) -> tuple[Writer, ...]:
    """The writers of metrics of a run in that folder that goes on from step `start`."""
    field = "train.writers"
    kinds = [specs.parse_spec(metric_writers, text, field).target for text in texts]
    if len(set(kinds)) < len(kinds):
        raise UserError(f"{field}: expected each writer once, got {', '.join(texts)}; take one out")
    return tuple(specs.instantiate(metric_writers, text, field, folder, start, about) for text in texts)
