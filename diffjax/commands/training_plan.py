"""From the fields of a config to everything that a run is made of, and all that can be known before a step is compiled.

Whatever does not fit is refused here, by the name of its field.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree

from diffjax.commands import image_sampler
from diffjax.commands.config_checks import (
    Fields,
    check_data_std,
    check_disk,
    check_loss,
    check_numbers,
    check_size,
    check_validation,
)
from diffjax.commands.data_examples import examples, standard_deviation, with_data_std
from diffjax.conditions import fitted, knows_labels
from diffjax.data import Dataset, batches, split_rules
from diffjax.data.condition_parts import Part
from diffjax.errors import UserError
from diffjax.experiment import build, data_spec, trained_model, warm_start
from diffjax.experiment.run_record import Record
from diffjax.loss.simple import Loss
from diffjax.nets.adapters import with_base
from diffjax.training import checkpoint
from diffjax.training.ema import STD
from diffjax.training.freezing import freeze, frozen_patterns
from diffjax.training.metric_writers import Writer
from diffjax.training.nonfinite import Policy
from diffjax.training.retention import Keep
from diffjax.training.state import State, begun_with, create
from diffjax.training.validation import held_out
from diffjax.utils.tree_paths import by_name, matches

SHOWN_CLASSES = 5  # of those that a message names


@dataclass(frozen=True)
class Plan:
    """Everything a run is made of.

    `fields` are the config's, with what was measured in place of None. `data_std` is measured on training images, 0 of
    tokens; `measured` is whether the model is built with it. `net` is the model's, of which some parameters may be
    frozen; `trained` is how many are not of how many.
    `state_bytes` is what its state takes on each device, and a checkpoint on disk; `notes` is what came from elsewhere,
    and what a user should know of the data; `splits` is how these were divided.
    """

    fields: Fields
    dataset: Dataset
    facts: data_spec.Facts
    model: build.Model
    net: Any
    loss: Loss
    optimizer: Any
    policy: Policy
    keep: Keep
    gallery: Callable[[Any], Any]
    validate: Callable[[Any], dict[str, float]] | None
    start: State
    stream: Iterator[Any]
    writers: tuple[Writer, ...]
    data_std: float
    measured: bool
    trained: tuple[int, int]
    state_bytes: int
    notes: list[str]
    splits: split_rules.SplitRecord


def planned(fields: Fields, workdir: Path, before: Record | None = None) -> Plan:
    """From fields to objects, and to the state to start from: the last whole checkpoint, or a fresh one.

    `before` is the record of the run that goes on: its rule divides the data.
    """
    check_numbers(fields)
    d, t = fields["data"], fields["train"]
    rule = before.rule if before else split_rules.CURRENT
    dataset = data_spec.dataset_of(d, rule)
    parts = data_spec.parts_named(tuple(d["parts"]), dataset)
    facts = data_spec.facts_of(dataset, d["form"], parts)
    data_std = standard_deviation(dataset, facts)
    measured = fields["model"]["data_std"] is None
    fields = {**fields, "model": with_data_std(fields["model"], data_std, facts)}
    model = data_spec.built_model(fields["model"], facts)
    a_loss = partial(build.training_loss, model, loss=t["loss"], weight=t["weight"], distribution=t["times"])
    loss = a_loss(cond_drop=t["cond_drop"], label_drop=t["label_drop"])
    policy = build.policy(t["on_fault"])
    keep = Keep(t["keep_checkpoints"], t["keep_every_steps"], t["keep_best"])
    names = ("steps", "learning_rate", "warmup_steps", "weight_decay", "clip_norm")
    net, optimizer = freeze(model.net, build.optimizer(**{name: t[name] for name in names}), tuple(t["freeze"]))
    null = model.net.null_cond
    source = "validation" if len(dataset.splits["validation"]) else "train"
    by_class = null is None or knows_labels(null)
    shown = None if by_class else examples(dataset, source, image_sampler.EACH, facts, null, parts)[2]
    gallery = image_sampler.gallery(model, facts, fields["sample"], shown)
    x, cond = facts.encoding.nothing(facts.shape), jax.tree.map(lambda leaf: leaf[None], null)
    new = partial(create, net=net, optimizer=optimizer, averages=averages_of(t), x=x, cond=cond)
    key = jax.random.key(t["seed"])
    state_bytes = check_size(new, key)
    check_disk(workdir, keep, t, state_bytes)
    fresh = new(key)
    check_loss(loss, net, fresh.params, x, cond)
    noted = check_data_std(fields["model"]["data_std"], data_std)
    validated, without = check_validation(dataset, t)
    held = examples(dataset, "validation", validated, facts, null, parts) if validated else None
    validate = held and held_out(model.net, a_loss(), *held)
    start, notes = starting(fresh, model.net, workdir, t["init_from"], before)
    notes += [*noted, *without, *describe_data(dataset, facts, before)]
    stream = reading(fields, dataset, facts, null, parts, int(start.position))
    writers = build.writers(tuple(t["writers"]), folder=workdir, start=int(start.step), about=fields)
    return Plan(
        fields,
        dataset,
        facts,
        model,
        net,
        loss,
        optimizer,
        policy,
        keep,
        gallery,
        validate,
        start,
        stream,
        writers,
        data_std,
        measured,
        counted(fresh.params, frozen_patterns(net)),
        state_bytes,
        notes,
        split_rules.split_record(dataset, rule),
    )


def describe_data(dataset: Dataset, facts: data_spec.Facts, before: Record | None) -> list[str]:
    """What a user should know of the data: how they have changed since the run began, and classes never trained on."""
    changed = split_rules.describe_changes(before.splits, dataset) if before and before.splits else ""
    absent = [name for name, share in zip(facts.class_names, facts.label_frequencies, strict=True) if not share]
    shown = ", ".join(map(repr, absent[:SHOWN_CLASSES])) + " and others" * (len(absent) > SHOWN_CLASSES)
    never = f"{dataset.name}: no picture for training of class {shown}; add some, or leave the class out"
    return [*([changed] if changed else []), *([never] if absent else [])]


def counted(params: Any, patterns: tuple[str, ...]) -> tuple[int, int]:
    """How many numbers are trained, and how many there are."""
    sizes = {name: leaf.size for name, leaf in by_name(params).items()}
    return sum(count for name, count in sizes.items() if not matches(name, patterns)), sum(sizes.values())


def averages_of(t: Fields) -> tuple[float | str, ...]:
    """The averages of a config's `train` fields."""
    return (*t["ema"], *(f"{STD}{std:g}" for std in t["ema_std"]))


def starting(
    fresh: State, net: Any, workdir: Path, init_from: str, before: Record | None = None
) -> tuple[State, list[str]]:
    """The last whole checkpoint, or a fresh state with what fits of another run's weights, and what those were."""
    identity = before.identity if before else None
    if (saved := checkpoint.restore(workdir / "checkpoints", fresh, identity)) is not None:
        return saved, []
    if not init_from:
        return fresh, []
    if not Path(init_from).exists():
        raise UserError(f"config.train.init_from: {init_from}: no such run or file; give one, or nothing")
    notes: list[str] = []
    given = trained_model.weights(Path(init_from))

    def change(params: Any) -> Any:
        merged, told = warm_start.taken(params, given, init_from)
        notes.extend(told)
        return merged

    return begun_with(fresh, with_base(net, fresh.params, change)), notes


def reading(
    fields: Fields, dataset: Dataset, facts: data_spec.Facts, null: PyTree, parts: Sequence[Part], step: int
) -> Iterator[Any]:
    """The batches from that step on, with what the net knows of their conditions, the first of them read now.

    So an image that cannot be is told now.
    """
    read = batches(
        dataset,
        "train",
        fields["data"]["batch_size"],
        fields["train"]["seed"],
        start_step=step,
        host=jax.process_index(),
        hosts=jax.process_count(),
        form=facts.encoding,
        balance=fields["data"]["balance"],
        augment=data_spec.augment_named(tuple(fields["data"]["augment"])),
        parts=parts,
    )
    stream = ({**batch, "cond": fitted(null, batch["cond"])} for batch in read)
    return itertools.chain([next(stream)], stream)
