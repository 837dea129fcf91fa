"""What a run tells: a progress bar, or lines where there is no terminal; and metrics, to whatever writes them."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from diffjax.training.state import State
from diffjax.training.step import Metrics
from diffjax.training.writers import Patient, Writer


class Log:
    """Collects metrics on the device and writes each interval's mean one interval later, so that nothing waits."""

    def __init__(self, writers: Sequence[Writer], start: int, steps: int, batch_size: int, quiet: bool) -> None:
        """Go on from step `start`; `quiet`, as hosts but the first are, shows nothing on the screen."""
        self.steps, self.batch_size, self.seen, self.quiet = steps, batch_size, start, quiet
        self._writers = [Patient(writer) for writer in writers]
        self._collected: list[Mapping[str, Any]] = []
        self._waiting: list[tuple[int, list[Mapping[str, Any]]]] = []
        self._last: tuple[int, float] | None = None  # where the interval began, and when
        self.bar = tqdm(  # disable=None: no bar where stderr is no terminal
            total=steps * batch_size,
            initial=start * batch_size,
            unit="img",
            unit_scale=True,
            disable=quiet or None,
            leave=False,
        )

    def collect(self, step: int, state: State, metrics: Metrics) -> None:
        """Keep the metrics of the last dispatch, and move the bar."""
        self._collected.append(metrics)
        self.bar.update((step - self.seen) * self.batch_size)
        self.seen = step

    def write(self, step: int, state: State, metrics: Metrics) -> None:
        """Write the intervals before; the one that ends here is still being computed."""
        self.flush()
        self._waiting.append((step, [*self._collected, self._speed(step)]))
        self._collected = []

    def tell(self, step: int, values: Mapping[str, Any]) -> None:
        """Scalars from elsewhere, such as a loss of validation, now and then; written with the next interval."""
        self._waiting.append((step, [values]))

    def settle(self, step: int, state: State, metrics: Metrics) -> None:
        """Wait for what is waiting and write it: before a save, so that no checkpoint is ahead of its metrics."""
        self.flush()

    def flush(self) -> None:
        """Write what is waiting, one row a step."""
        rows: dict[int, dict[str, float]] = {}
        for step, collected in self._waiting:
            rows.setdefault(step, {}).update(means(collected))
        self._waiting = []
        for step, values in rows.items():
            for writer in self._writers:
                writer.write(step, values)
            self._show(step, values)

    def close(self) -> None:
        """Write all that is left."""
        self.flush()
        self.bar.close()
        for writer in self._writers:
            writer.close()

    def _show(self, step: int, values: Mapping[str, float]) -> None:
        shown = ", ".join(f"{name} {value:.5g}" for name, value in values.items())
        self.bar.set_postfix_str(shown, refresh=False)
        if self.bar.disable and not self.quiet:
            print(f"step {step:,} of {self.steps:,}: {shown}", file=sys.stderr, flush=True)

    def _speed(self, step: int) -> dict[str, float]:
        """Images a second since the last interval's end, by the host's clock, with all that happened in between.

        Nothing for the first interval, which compiled. The host may be a few dispatches ahead, at both ends alike.
        """
        before, self._last = self._last, (step, time.perf_counter())
        if before is None:
            return {}
        return {"images_per_second": (step - before[0]) * self.batch_size / (self._last[1] - before[1])}


def means(collected: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The mean of each name over those that have it; a scalar counts once, an array once per entry."""
    found: dict[str, list[np.ndarray]] = {}
    for metrics in collected:
        for name, value in metrics.items():
            found.setdefault(name, []).append(np.ravel(np.asarray(value, np.float64)))
    with np.errstate(invalid="ignore"):  # the mean of both infinities is NaN, and told as such
        return {name: float(np.mean(np.concatenate(values))) for name, values in found.items()}
