"""What a run would do, and the memory and time of its steps."""

import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax

from diffjax.commands.preflight import device_memory, format_bytes, max_checkpoints
from diffjax.commands.training_plan import TrainingPlan
from diffjax.data.framing import format_dimensions
from diffjax.data.split_rules import describe_splits
from diffjax.errors import tell
from diffjax.experiment import data_spec
from diffjax.training.data_parallel import broadcast_from_first_host
from diffjax.training.loop import fit, step_memory
from diffjax.training.state import State
from diffjax.training.step import Batch
from diffjax.training.trainer import build_trainer
from diffjax.utils.durations import format_duration

SHARE_OF_STEPS = 0.9  # of the time of train.minutes; the rest is for checkpoints, validation and pictures
MAX_TIMED_STEPS = 10
MIN_TIMED_STEPS = 3
MAX_LOOKED_AT = 16  # batches, of which the largest is looked at
TIMING_LIMIT_S = 20.0  # after which no further step is timed


def run_steps(plan: TrainingPlan, steps: int, **options: Any) -> State:
    """Train a plan up to that step; `options` are those of `fit`."""
    return fit(
        plan.start.key,
        plan.setup.net,
        plan.setup.loss,
        plan.stream,
        steps,
        optimizer=plan.setup.optimizer,
        start=plan.start,
        accumulate=plan.config.train.accumulate,
        **options,
    )


def describe_size(plan: TrainingPlan) -> str:
    """The numbers of parameters, images and devices."""
    images = len(plan.data.dataset.splits["train"])
    return f"{_describe_parameters(plan)}, {images:,} images, {jax.device_count()} {jax.default_backend()} device(s)"


def describe_needs(plan: TrainingPlan) -> str:
    """The memory of the state, and the disk that checkpoints take at most."""
    train = plan.config.train
    kept = max_checkpoints(plan.setup.retention, train.steps, train.save_every_steps)
    state = format_bytes(plan.state_bytes)
    return (
        f"state {state} on each device, checkpoints at most {kept} of {state} ({format_bytes(kept * plan.state_bytes)})"
    )


def describe_data(plan: TrainingPlan) -> list[str]:
    """How the images are divided, and how many transparent ones are laid on white."""
    dataset = plan.data.dataset
    lines = [f"{dataset.name}: {describe_splits(dataset, data_spec.parse_rule(plan.data.rule))}"]
    if dataset.transparent:
        total = sum(map(len, dataset.splits.values()))
        laid = "is transparent and laid" if dataset.transparent == 1 else "are transparent and laid"
        lines.append(f"{dataset.name}: {dataset.transparent:,} of {total:,} images {laid} on white")
    return lines


def describe_plan(plan: TrainingPlan, workdir: Path) -> list[str]:
    """What a run would do, a line for each part of it."""
    train = plan.config.train
    batch_size = plan.config.data.batch_size
    spec = plan.data.spec
    images = len(plan.data.dataset.splits["train"])
    done = int(plan.start.step)
    left = train.steps - done
    size = format_bytes(plan.state_bytes)
    kept = max_checkpoints(plan.setup.retention, train.steps, train.save_every_steps)
    return [
        f"data:        {plan.config.data.name}, {images:,} images of {' x '.join(map(str, spec.shape))}, "
        f"{spec.classes} classes, {spec.levels} levels as {spec.form}",
        *_describe_data_std(plan),
        f"model:       {plan.config.model.net}, {_describe_parameters(plan)}",
        f"state:       {size} on each of {jax.device_count()} {jax.default_backend()} device(s): parameters, "
        f"optimizer, averages {', '.join(plan.start.emas)}",
        f"steps:       {done:,} to {train.steps:,}, {batch_size} images each: {left * batch_size:,} images, "
        f"{left * batch_size / images:.1f} epochs",
        f"checkpoints: at most {kept}, {size} each, in {workdir / 'checkpoints'}",
    ]


class Timing(NamedTuple):
    """Seconds of a step, the minimum of `steps` of them, and of the first one, which compiles."""

    step_s: float
    steps: int
    first_s: float


def time_steps(plan: TrainingPlan) -> Timing:
    """Take some steps, each with the reading of its batch and in a dispatch of its own; their results are discarded."""
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
    return Timing(min(step_seconds), len(step_seconds), ends[1] - ends[0])


def steps_that_fit(deadline: float, plan: TrainingPlan, configured: bool) -> int:
    """The steps that fit into the time before the deadline, the same on all hosts, once some have been timed.

    If they are not `configured`, those that were chosen are the most.
    """
    timing = time_steps(plan)
    compilation_s = timing.first_s * max(1, len(plan.data.sizes))  # another schedule compiles once more, for each size
    seconds = SHARE_OF_STEPS * (deadline - time.monotonic() - compilation_s)
    steps = max(1, int(broadcast_from_first_host(seconds / timing.step_s)))
    tell(f"{timing.step_s:.3g} s per step: {steps:,} steps fit into the time")
    return steps if configured else min(steps, plan.config.train.steps)


def measure_step(plan: TrainingPlan) -> list[str]:
    """The peak memory and the time of a step, a line each: some steps are taken, and their results are discarded."""
    start_s = time.monotonic()
    memory = _describe_memory(plan)
    compilation_s = time.monotonic() - start_s
    return [*memory, _describe_time(plan, compilation_s)]


def _describe_data_std(plan: TrainingPlan) -> list[str]:
    """The standard deviation that the model is built with, and the measured one; nothing for tokens."""
    if not plan.data.std:
        return []
    return [f"data_std:    {plan.config.model.data_std:g}; measured on the training images: {plan.data.std:g}"]


def _describe_memory(plan: TrainingPlan) -> list[str]:
    """The peak memory of the program that would run; nothing where the platform does not report it."""
    setup = plan.setup
    trainer = build_trainer(setup.net, setup.loss, setup.optimizer, accumulate=plan.config.train.accumulate)
    batch = _largest_batch(plan)
    memory = step_memory(trainer, plan.start, batch)
    if memory is None:
        return []
    available, sharing = device_memory()
    line = (
        f"memory:      {format_bytes(memory.peak)} at the peak of a step{_describe_shape(plan, batch)} on each device "
        f"(state and batch "
        f"{format_bytes(memory.arguments)}, temporaries {format_bytes(memory.temporaries)})"
    )
    if memory.peak * sharing > available:
        line += f", more than its {format_bytes(available)}: lower data.batch_size, or raise train.accumulate"
    return [line]


def _largest_batch(plan: TrainingPlan) -> Batch:
    """The next batch; where there are several sizes, the largest of some."""
    count = MAX_LOOKED_AT if len(plan.data.sizes) > 1 else 1
    return max((next(plan.stream) for _ in range(count)), key=lambda batch: batch["x"].size)


def _describe_shape(plan: TrainingPlan, batch: Batch) -> str:
    """Of which size a batch is, where there are several."""
    return f" of {format_dimensions(batch['x'].shape[1:3])}" if len(plan.data.sizes) > 1 else ""


def _describe_time(plan: TrainingPlan, compilation_s: float) -> str:
    timing = time_steps(plan)
    others = len(plan.data.sizes) - 1
    compilation = f" and as long again at each of {others} other sizes" if others > 0 else ""
    total = max(plan.config.train.steps - int(plan.start.step), 0) * timing.step_s
    return (
        f"time:        {1000 * timing.step_s:.3g} ms per step, the minimum of {timing.steps} "
        f"({plan.config.data.batch_size / timing.step_s:,.0f} images/s), {format_duration(total)} in all, "
        f"{compilation_s + timing.first_s:.1f} s before the first{compilation}; "
        "dispatches of several steps may be faster"
    )


def _describe_parameters(plan: TrainingPlan) -> str:
    trained, total = plan.setup.count_parameters(plan.start.params)
    return f"{total:,} parameters" if trained == total else f"{trained:,} of {total:,} parameters trained"
