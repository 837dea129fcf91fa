"""Progress of a run: a bar, or lines where there is no terminal; and metrics, to the metric writers."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from diffjax.errors import tell
from diffjax.training.metric_writers import RetryingWriter, Writer
from diffjax.training.running_means import Sums, add_metrics, means
from diffjax.training.step import Metrics
from diffjax.utils.durations import format_duration
from diffjax.utils.waiting import Waiting

Rates = Callable[[float], Mapping[str, float]]  # from images per second


@dataclass(frozen=True)
class RunLength:
    """The steps of a run, of `batch_size` images each, from `start` (0 of a new run), and those between two log lines.

    With `log_every` 0 only the last step is logged.
    """

    start: int
    steps: int
    log_every: int
    batch_size: int


class Log:
    """Writes the mean of each metric over the steps of each interval, and at the last step the mean so far.

    `sums` are the sums of the current interval: save them with a checkpoint, and set them on resuming.
    `quiet` prints nothing, as on all hosts but the first. `rates` are further values that follow from the speed.
    """

    def __init__(self, writers: Sequence[Writer], length: RunLength, quiet: bool, sums: Sums | None = None) -> None:
        self.length = length
        self.quiet = quiet
        self.rates: Rates = lambda images_per_second: {}
        self.sums: Sums = sums or {}
        self._writers = [RetryingWriter(writer) for writer in writers]
        self._last: tuple[int, float] | None = None  # step and time of the last interval's end
        self._waiting = Waiting("compiling", quiet)
        self.bar = tqdm(
            total=length.steps * length.batch_size,
            initial=length.start * length.batch_size,
            unit="img",
            unit_scale=True,
            disable=quiet or None,  # None: where stderr is no terminal
            leave=False,
        )

    def log_steps(self, step: int, metrics: Metrics) -> None:
        """Add the metrics of the steps up to this one, and write each interval that ends among them."""
        self._waiting.end()
        count = len(metrics["loss"])
        self.bar.update(count * self.length.batch_size)
        for i in range(count):
            self.sums = add_metrics(self.sums, {name: float(metric[i]) for name, metric in metrics.items()})
            at = step - count + 1 + i
            ends = self.length.log_every > 0 and at % self.length.log_every == 0
            if ends or at == self.length.steps:
                self.log_values(at, {**means(self.sums), **self._speed(at)})
            if ends:
                self.sums = {}

    def log_values(self, step: int, values: Mapping[str, float]) -> None:
        """Write values of a step, such as a validation loss; names with `/`, parts of another, are not printed."""
        for writer in self._writers:
            writer.write(step, values)
        text = ", ".join(f"{name} {value:.5g}" for name, value in values.items() if "/" not in name)
        self.bar.set_postfix_str(text, refresh=False)
        if self.bar.disable and not self.quiet:
            tell(f"step {step:,} of {self.length.steps:,}: {text}{self._time_left(step, values)}")

    def close(self) -> None:
        """Close the bar and the writers."""
        self._waiting.end()
        self.bar.close()
        for writer in self._writers:
            writer.close()

    def _time_left(self, step: int, values: Mapping[str, float]) -> str:
        """The time to the last step at the speed of the last interval, to end a line; empty where it is unknown."""
        speed = values.get("images_per_second")
        if not speed or step >= self.length.steps:
            return ""
        return f", {format_duration((self.length.steps - step) * self.length.batch_size / speed)} left"

    def _speed(self, step: int) -> dict[str, float]:
        """Images per second since the last interval's end, in wall-clock time, and what follows from them.

        Empty for the first interval, which compiles, and where the run has rewound.
        """
        before = self._last
        now = time.perf_counter()
        self._last = (step, now)
        if before is None or step <= before[0]:
            return {}
        images_per_second = (step - before[0]) * self.length.batch_size / (now - before[1])
        return {"images_per_second": images_per_second, **self.rates(images_per_second)}
