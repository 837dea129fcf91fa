"""The profile of a training run: some of its steps are timed, as many more are traced, and then the run goes on."""

import itertools
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from diffjax.commands.training_plan import TrainingPlan
from diffjax.errors import UserError, tell
from diffjax.profiling.flops import count_flops
from diffjax.profiling.hlo_operations import read_program
from diffjax.profiling.operation_times import newest_trace, operation_times
from diffjax.profiling.peak import measure_peak
from diffjax.profiling.summary import StepProfile, format_summary
from diffjax.training import data_parallel
from diffjax.training.state import State
from diffjax.training.step import train_step
from diffjax.training.trainer import build_trainer
from diffjax.utils.files import describe_error, write_atomically
from diffjax.utils.waiting import Waiting, write_line

FOLDER = "profile"  # in that of the run
SUMMARY = "summary.md"
WARM_UP_STEPS = 5  # the first compiles, and the second decides how many steps a dispatch has
PROFILED_STEPS = 10  # that are timed, and as many again that are traced
MAX_DELAY = 10_000  # steps until the first that is profiled


class ProfiledSteps(NamedTuple):
    """After step `first` steps are timed, and after step `traced` they are traced, until step `last`."""

    first: int
    traced: int
    last: int


def choose_steps(start: int, steps: int, intervals: Sequence[int]) -> ProfiledSteps:
    """The first steps of a run from `start` to `steps` to profile, between its events if they leave room.

    Raises UserError where the run has too few.
    """
    needed = WARM_UP_STEPS + 2 * PROFILED_STEPS
    if steps - start < needed:
        raise UserError(
            f"--profile: needs {needed} steps, and this run has {steps - start} left; raise --config.train.steps, or "
            "leave it out"
        )
    candidates = range(start + WARM_UP_STEPS, steps - 2 * PROFILED_STEPS + 1)[:MAX_DELAY]
    undisturbed = (at for at in candidates if all(0 < at % every <= every - 2 * PROFILED_STEPS for every in intervals))
    first = next(undisturbed, candidates[0])
    return ProfiledSteps(first, first + PROFILED_STEPS, first + 2 * PROFILED_STEPS)


class RunProfile:
    """The profile of a run, written into its folder `profile` once its steps are done.

    `plan` is that of the run, whose first batch is read for this; call `advance` after each of `steps`.
    """

    def __init__(self, plan: TrainingPlan, workdir: Path) -> None:
        if len(plan.data.sizes) > 1:
            raise UserError("--profile: batches have several sizes, and a program for each; set one data.image_size")
        train = plan.config.train
        intervals = (train.save_every_steps, train.picture_every_steps, train.snapshot_every_steps)
        self.steps = choose_steps(int(plan.start.step), train.steps, [every for every in intervals if every])
        self._batch = next(plan.stream)
        self.plan = replace(plan, stream=itertools.chain([self._batch], plan.stream))
        self._folder = workdir / FOLDER
        self._begun_s = 0.0
        self._timed_s = 0.0
        self._tracing = False
        self._complete = False
        self._profile: StepProfile | None = None

    def advance(self, step: int, state: State) -> None:
        """Begin or end what is measured from this step on; the devices are idle. Raises OSError as on a full disk."""
        elapsed_s = time.perf_counter() - self._begun_s
        self._complete = step == self.steps.last
        self._stop_trace()
        if step == self.steps.traced:
            self._timed_s = elapsed_s
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0  # it would slow the host
            jax.profiler.start_trace(self._folder, profiler_options=options)
            self._tracing = True
        elif self._complete and self._timed_s:
            self._finish(state, elapsed_s)
        self._begun_s = time.perf_counter()

    def rates(self, images_per_second: float) -> dict[str, float]:
        """TFLOP/s of each device at that speed, and their share of the peak; empty before the profile is there."""
        profile = self._profile
        if profile is None:
            return {}
        flops_per_second = profile.flops.total() * images_per_second / profile.images
        share = flops_per_second / profile.peak.flops_per_second
        return {"tflops_per_device": flops_per_second / 1e12, "share_of_peak": share}

    def close(self) -> None:
        """End a trace that the run did not come to the end of."""
        with suppress(OSError):
            self._stop_trace()
        if not self._complete:
            tell(f"--profile: the run ended before step {self.steps.last:,}; there is no summary")

    def _stop_trace(self) -> None:
        if self._tracing:
            self._tracing = False
            try:
                jax.profiler.stop_trace()
            except RuntimeError as error:  # JAX's, also where the folder cannot be written
                raise OSError(describe_error(error)) from None

    def _finish(self, state: State, traced_s: float) -> None:
        waiting = Waiting("profile")
        self._profile = self._measure(state, traced_s)
        waiting.end()
        kind = jax.local_devices()[0].device_kind
        title = f"Where a step's time goes: {self._folder.parent.name}, steps {self.steps.first} to {self.steps.last}"
        text = format_summary(self._profile, title, f"JAX {jax.__version__} on {kind}, {date.today()}.")
        write_atomically(self._folder / SUMMARY, lambda file: file.write(text.encode()))
        write_line(f"{text}\nwritten to {self._folder / SUMMARY}, with the trace beside it")

    def _measure(self, state: State, traced_s: float) -> StepProfile:
        setup = self.plan.setup
        trainer = build_trainer(setup.net, setup.loss, setup.optimizer, accumulate=self.plan.config.train.accumulate)
        chunk = data_parallel.shard_batches([self._batch], trainer.local_device_count, trainer.max_steps)
        compiled = trainer.advance.compile(state, chunk)
        program = read_program(compiled.as_text() or "")
        step = partial(train_step, trainer.net, trainer.loss, trainer.optimizer, parts=trainer.parts)
        flops = count_flops(step, state, jax.tree.map(lambda leaf: leaf[0, 0], chunk))
        dtype = max(flops, key=lambda dtype: flops[dtype], default=np.dtype(np.float32))
        return StepProfile(
            steps=PROFILED_STEPS,
            images=self.plan.config.data.batch_size,
            devices=len(trainer.devices),
            step_s=self._timed_s / PROFILED_STEPS,
            traced_step_s=traced_s / PROFILED_STEPS,
            operations=program.operations,
            seconds=operation_times(newest_trace(self._folder), program, traced_s),
            flops=flops,
            xla_flops=(compiled.cost_analysis() or {}).get("flops"),
            peak=measure_peak(data_parallel.addressable_devices(trainer.devices), dtype),
        )
