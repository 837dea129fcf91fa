"""From a config to everything that a training run is made of, and the state that it starts from."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from diffjax.commands.preflight import check_numbers, preflight
from diffjax.commands.training_data import (
    TrainingData,
    choices_for,
    complete_config,
    data_notes,
    open_batches,
    open_data,
)
from diffjax.commands.training_setup import TrainingSetup, build_setup, restore_or_create
from diffjax.data import split_rules
from diffjax.errors import UserError
from diffjax.experiment import build, config_files, meaning, run_record
from diffjax.experiment.config import Config
from diffjax.experiment.picture_defaults import describe_choice
from diffjax.experiment.run_record import Record
from diffjax.training.metric_writers import Writer
from diffjax.training.state import State
from diffjax.training.step import Batch


@dataclass(frozen=True)
class TrainingPlan:
    """A run that is ready to train: its config, with the measured `data_std`, and what was built of it.

    `state_bytes` is the size of the state on each device, and of a checkpoint. `notes` are lines for the user.
    `previous` is the record of the run that resumes.
    """

    config: Config
    data: TrainingData
    setup: TrainingSetup
    start: State
    stream: Iterator[Batch]
    writers: tuple[Writer, ...]
    state_bytes: int
    notes: list[str]
    previous: Record | None


def plan_run(config: Config, workdir: Path, allow_imports: bool, steps: int | None = None) -> TrainingPlan:
    """The plan of a new run, or of the one in `workdir` that resumes; `steps` replace those of the config.

    Raises UserError where the config changes what that run's numbers mean, or where its data have changed.
    """
    # The config is the user's, or was read with leave: nothing of the record is imported that it does not name too.
    previous = run_record.existing_record(workdir, allow_imports=True)
    if previous is not None and config.train.minutes:
        steps = previous.config.train.steps  # which fitted into the time when the run began
    if steps is not None:
        config = replace(config, train=replace(config.train, steps=steps))
    if previous is None:
        return plan_training(config, workdir, None, allow_imports)
    config = meaning.inherit_measured(config, previous.config)
    changed = meaning.changed_fields(previous.config, config, workdir)
    plan = plan_training(config, workdir, previous, allow_imports)
    run_record.warn_of_changed_modules(previous, str(workdir))
    if not plan.data.spec.matches(previous.data):
        name = config.data.name
        raise UserError(f"config.data.name: {name} has changed since {workdir} was begun; use a new --workdir")
    plan.notes.extend(changed)
    return plan


def plan_training(
    config: Config, workdir: Path, previous: Record | None = None, allow_imports: bool = False
) -> TrainingPlan:
    """From a config to objects and the starting state. Raises UserError naming the field that does not fit.

    The rule of `previous` divides the data. `allow_imports`: the run of `train.init_from` may name modules.
    """
    data = open_data(config.data, previous.rule if previous else split_rules.CURRENT_RULE)
    choices = choices_for(meaning.flatten_config(config), data)
    config = complete_config(config, data, choices)
    check_numbers(config)
    model = build.build_model(config.model, data.spec)
    setup = build_setup(config, model, data)
    state_bytes, notes = preflight(config, data, setup, workdir)
    train = config.train
    start, origin = restore_or_create(workdir, setup, train.seed, train.init_from, previous, allow_imports)
    stream = open_batches(config, data, model.net.null_cond, int(start.position))
    about = config_files.config_document(config)
    writers = build.build_writers(train.writers, folder=workdir, start=int(start.step), about=about)
    notes = [*map(describe_choice, choices), *origin, *notes, *data_notes(data, previous)]
    return TrainingPlan(config, data, setup, start, stream, writers, state_bytes, notes, previous)
