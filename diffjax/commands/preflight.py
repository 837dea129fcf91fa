"""What a run would do, and what a step of it takes, told before it starts."""

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax

from diffjax.commands.config_checks import device_memory, format_bytes, max_checkpoints
from diffjax.commands.training_plan import TrainingPlan
from diffjax.data.split_rules import describe_splits
from diffjax.experiment import data_spec
from diffjax.training.loop import fit, step_memory
from diffjax.training.state import State
from diffjax.training.trainer import build_trainer

MAX_TIMED_STEPS = 10  # steps that are timed, at most
MIN_TIMED_STEPS = 3
TIMING_LIMIT_S = 20.0  # after which no further step is timed


def run_steps(plan: TrainingPlan, steps: int, **options: Any) -> State:
    """The training loop over the plan's own parts, up to that step."""
    return fit(
        plan.start.key,
        plan.net,
        plan.loss,
        plan.stream,
        steps,
        optimizer=plan.optimizer,
        start=plan.start,
        accumulate=plan.config.train.accumulate,
        **options,
    )


def describe_size(plan: TrainingPlan) -> str:
    """The size of what is trained, of the data and of the machine."""
    images = len(plan.dataset.splits["train"])
    return f"{_parameters(plan)}, {images:,} images, {jax.device_count()} {jax.default_backend()} device(s)"


def describe_data(plan: TrainingPlan) -> list[str]:
    """How the images are divided, and on what transparent ones are laid: what a run does to data that it is given."""
    name, several = plan.dataset.name, plan.dataset.transparent != 1
    lines = [f"{name}: {describe_splits(plan.dataset, data_spec.parse_rule(plan.splits.rule))}"]
    if plan.dataset.transparent:
        total = sum(map(len, plan.dataset.splits.values()))
        lines += [
            f"{name}: {plan.dataset.transparent:,} of {total:,} images {'have' if several else 'has'} transparency and "
            f"{'are' if several else 'is'} laid on white"
        ]
    return lines


def describe_plan(plan: TrainingPlan, workdir: Path) -> list[str]:
    """What a run would do, a line for each part of it."""
    facts = plan.facts
    images = len(plan.dataset.splits["train"])
    config = plan.config
    t = config.train
    batch = config.data.batch_size
    done = int(plan.start.step)
    shape, left = " x ".join(map(str, facts.shape)), t.steps - done
    kept = max_checkpoints(plan.keep, t.steps, t.save_every_steps)
    return [
        f"data:        {config.data.name}, {images:,} images of {shape}, {facts.classes} classes, {facts.levels} "
        f"levels as {facts.form}",
        *_data_std(plan),
        f"model:       {config.model.net}, {_parameters(plan)}",
        f"state:       {format_bytes(plan.state_bytes)} on each of {jax.device_count()} {jax.default_backend()} "
        "device(s): "
        f"parameters, optimizer, averages {', '.join(plan.start.emas)}",
        f"steps:       {done:,} to {t['steps']:,}, of {batch} images each: {left * batch:,} images, "
        f"{left * batch / images:.1f} epochs",
        f"checkpoints: at most {kept}, of {format_bytes(plan.state_bytes)} each, in {workdir / 'checkpoints'}",
    ]


def measure_step(plan: TrainingPlan) -> list[str]:
    """The peak memory and the time of a step, a line each: some steps are taken, of which nothing is kept."""
    begun = time.monotonic()
    memory = _describe_memory(plan)
    compiled = time.monotonic() - begun
    return [*memory, _describe_time(plan, compiled)]


def _data_std(plan: TrainingPlan) -> list[str]:
    """The deviation that the model is built with, and the one that was measured; nothing for tokens."""
    if not plan.data_std:
        return []
    return [
        f"data_std:    {plan.config.model.data_std:g} "
        f"{'measured' if plan.measured else 'given'}; of the training images now {plan.data_std:g}"
    ]


def _describe_memory(plan: TrainingPlan) -> list[str]:
    """The peak of the very program that would run, compiled for this; nothing where the platform does not say."""
    trainer = build_trainer(plan.net, plan.loss, plan.optimizer, accumulate=plan.config.train.accumulate)
    memory = step_memory(trainer, plan.start, next(plan.stream))
    if memory is None:
        return []
    room, sharing = device_memory()
    line = (
        f"memory:      {format_bytes(memory.peak)} at the peak of a step on each device (state and batch "
        f"{format_bytes(memory.arguments)}, temporaries {format_bytes(memory.temporaries)})"
    )
    if memory.peak * sharing > room:
        line += f", more than the {format_bytes(room)} there are: lower data.batch_size, or raise train.accumulate"
    return [line]


def _describe_time(plan: TrainingPlan, compiled: float) -> str:
    """The least of several steps, each with the reading of its batch, one step a dispatch."""
    t = plan.config.train
    done = int(plan.start.step)
    ends = [time.monotonic()]
    run_steps(
        plan,
        done + 1 + MAX_TIMED_STEPS,
        events=[(1, lambda *_: ends.append(time.monotonic()))],  # an event waits until its step is done
        stopping=lambda: len(ends) > 1 + MIN_TIMED_STEPS and ends[-1] - ends[1] > TIMING_LIMIT_S,
        dispatch=1,
    )
    step_seconds = [after - before for before, after in pairwise(ends[1:])]
    min_seconds = min(step_seconds)
    left, speed = max(t.steps - done, 0) * min_seconds, plan.config.data.batch_size / min_seconds
    return (
        f"time:        {1000 * min_seconds:.3g} ms a step, the least of {len(step_seconds)} ({speed:,.0f} images/s), "
        f"{_clock(left)} in all, {compiled + ends[1] - ends[0]:.1f} s before the first; "
        "a dispatch of several steps may be faster"
    )


def _parameters(plan: TrainingPlan) -> str:
    """How many numbers are trained, and of how many, where some are not."""
    trained, every = plan.parameter_counts
    return f"{every:,} parameters" if trained == every else f"{trained:,} of {every:,} parameters trained"


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    return f"{int(seconds // 3600)}:{int(seconds // 60 % 60):02d}:{int(seconds % 60):02d} h"
