"""From the fields of a config to everything that a run is made of, and all that can be known before a step is compiled.

Whatever does not fit is refused here, by the name of its field.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree

from diffjax.commands import image_sampler
from diffjax.commands.config_checks import (
    check_data_std,
    check_disk,
    check_loss,
    check_numbers,
    check_size,
    check_validation,
)
from diffjax.commands.data_examples import encode_examples, standard_deviation, with_data_std
from diffjax.conditions import has_label, select_parts
from diffjax.data import Dataset, batches, split_rules
from diffjax.data.condition_parts import Part
from diffjax.errors import UserError
from diffjax.experiment import build, data_spec, initial_weights, trained_model
from diffjax.experiment.config import Config, Train
from diffjax.experiment.config_files import config_document
from diffjax.experiment.run_record import Record
from diffjax.loss.protocol import Loss
from diffjax.nets.adapters import map_base
from diffjax.training import checkpoint
from diffjax.training.ema import STD
from diffjax.training.freezing import freeze, frozen_patterns
from diffjax.training.metric_writers import Writer
from diffjax.training.nonfinite import Policy
from diffjax.training.retention import RetentionPolicy
from diffjax.training.state import State, create, warm_start
from diffjax.training.validation import validation_function
from diffjax.utils.tree_paths import leaves_by_name, matches

MAX_CLASSES_SHOWN = 5  # of those that a message names


@dataclass(frozen=True)
class TrainingPlan:
    """Everything a run is made of.

    `config` has what was measured in place of None. `data_std` is measured on training images, 0 of
    tokens; `measured` is whether the model is built with it. `net` is the model's, of which some parameters may be
    frozen; `trained` is how many are not of how many.
    `state_bytes` is what its state takes on each device, and a checkpoint on disk; `notes` is what came from elsewhere,
    and what a user should know of the data; `splits` is how these were divided.
    """

    config: Config
    dataset: Dataset
    facts: data_spec.DataSpec
    model: build.ModelParts
    net: Any
    loss: Loss
    optimizer: Any
    policy: Policy
    keep: RetentionPolicy
    gallery: Callable[[Any], Any]
    validate: Callable[[Any], dict[str, float]] | None
    start: State
    stream: Iterator[Any]
    writers: tuple[Writer, ...]
    data_std: float
    measured: bool
    parameter_counts: tuple[int, int]
    state_bytes: int
    notes: list[str]
    splits: split_rules.SplitRecord


def plan_training(
    config: Config, workdir: Path, previous: Record | None = None, allow_imports: bool = False
) -> TrainingPlan:
    """From a config to objects, and to the state to start from: the last whole checkpoint, or a fresh one.

    `previous` is the record of the run that goes on: its rule divides the data. `allow_imports`: whether the run of
    `train.init_from` may name modules of its own.
    """
    check_numbers(config)
    d = config.data
    t = config.train
    rule = previous.rule if previous else split_rules.CURRENT_RULE
    dataset = data_spec.open_configured(d, rule)
    parts = data_spec.parse_parts(d.parts, dataset)
    facts = data_spec.build_data_spec(dataset, d.form, parts)
    data_std = standard_deviation(dataset, facts)
    measured = config.model.data_std is None
    config = replace(config, model=with_data_std(config.model, data_std, facts))
    model = build.build_model(config.model, facts)
    loss = build.build_loss(model, t)
    policy = build.build_policy(t.on_fault)
    keep = RetentionPolicy(t.keep_checkpoints, t.keep_every_steps, t.keep_best)
    net, optimizer = freeze(model.net, build.build_optimizer(t), t.freeze)
    null = model.net.null_cond
    source = "validation" if len(dataset.splits["validation"]) else "train"
    by_class = null is None or has_label(null)
    condition_examples = (
        None if by_class else encode_examples(dataset, source, image_sampler.PER_CLASS, facts, null, parts)[2]
    )
    gallery = image_sampler.sample_gallery(model, facts, asdict(config.sample), condition_examples)
    x, cond = facts.encoding.empty(facts.shape), jax.tree.map(lambda leaf: leaf[None], null)
    new = partial(create, net=net, optimizer=optimizer, averages=configured_averages(t), x=x, cond=cond)
    key = jax.random.key(t.seed)
    state_bytes = check_size(new, key)
    check_disk(workdir, keep, t, state_bytes)
    fresh = new(key)
    check_loss(loss, net, fresh.params, x, cond)
    noted = check_data_std(config.model.data_std or data_std, data_std)
    validated, without = check_validation(dataset, t)
    validation_examples = encode_examples(dataset, "validation", validated, facts, null, parts) if validated else None
    validate = validation_examples and validation_function(
        model.net, build.build_loss(model, t, drop_conditions=False), *validation_examples
    )
    start, notes = starting_state(fresh, model.net, workdir, t.init_from, previous, allow_imports)
    notes += [*noted, *without, *data_notes(dataset, facts, previous)]
    stream = open_batches(config, dataset, facts, null, parts, int(start.position))
    writers = build.build_writers(t.writers, folder=workdir, start=int(start.step), about=config_document(config))
    return TrainingPlan(
        config,
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
        count_parameters(fresh.params, frozen_patterns(net)),
        state_bytes,
        notes,
        split_rules.split_record(dataset, rule),
    )


def data_notes(dataset: Dataset, facts: data_spec.DataSpec, previous: Record | None) -> list[str]:
    """What a user should know of the data: how they have changed since the run began, and classes never trained on."""
    changed = split_rules.describe_changes(previous.splits, dataset) if previous and previous.splits else ""
    absent = [name for name, share in zip(facts.class_names, facts.label_frequencies, strict=True) if not share]
    absent_names = ", ".join(map(repr, absent[:MAX_CLASSES_SHOWN])) + " and others" * (len(absent) > MAX_CLASSES_SHOWN)
    absent_text = f"{dataset.name}: no picture for training of class {absent_names}; add some, or leave the class out"
    return [*([changed] if changed else []), *([absent_text] if absent else [])]


def count_parameters(params: Any, patterns: tuple[str, ...]) -> tuple[int, int]:
    """How many numbers are trained, and how many there are."""
    sizes = {name: leaf.size for name, leaf in leaves_by_name(params).items()}
    return sum(count for name, count in sizes.items() if not matches(name, patterns)), sum(sizes.values())


def configured_averages(t: Train) -> tuple[float | str, ...]:
    """The averages of a config's `train` fields."""
    return (*t.ema, *(f"{STD}{std:g}" for std in t.ema_std))


def starting_state(
    fresh: State, net: Any, workdir: Path, init_from: str, previous: Record | None = None, allow_imports: bool = False
) -> tuple[State, list[str]]:
    """The last whole checkpoint, or a fresh state with what fits of another run's weights, and what those were."""
    identity = previous.identity if previous else None
    if (checkpoint_state := checkpoint.restore(workdir / "checkpoints", fresh, identity)) is not None:
        return checkpoint_state, []
    if not init_from:
        return fresh, []
    if not Path(init_from).exists():
        raise UserError(f"config.train.init_from: {init_from}: no such run or file; give one, or nothing")
    notes: list[str] = []
    source_weights = trained_model.read_weights(Path(init_from), allow_imports=allow_imports)

    def change(params: Any) -> Any:
        merged_params, weight_notes = initial_weights.matching_weights(params, source_weights, init_from)
        notes.extend(weight_notes)
        return merged_params

    return warm_start(fresh, map_base(net, fresh.params, change)), notes


def open_batches(
    config: Config, dataset: Dataset, facts: data_spec.DataSpec, null: PyTree, parts: Sequence[Part], step: int
) -> Iterator[Any]:
    """The batches from that step on, with what the net knows of their conditions, the first of them read now.

    So an image that cannot be is told now.
    """
    raw_batches = batches(
        dataset,
        "train",
        config.data.batch_size,
        config.train.seed,
        start_step=step,
        host=jax.process_index(),
        hosts=jax.process_count(),
        form=facts.encoding,
        balance=config.data.balance,
        augment=data_spec.parse_augment(config.data.augment),
        parts=parts,
    )
    stream = ({**batch, "cond": select_parts(null, batch["cond"])} for batch in raw_batches)
    return itertools.chain([next(stream)], stream)
