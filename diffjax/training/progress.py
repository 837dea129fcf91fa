"""What a run tells: a progress bar, or lines where there is no terminal; and metrics, to whatever writes them."""

import time
from collections.abc import Mapping, Sequence

from tqdm import tqdm

from diffjax.errors import tell
from diffjax.training.metric_writers import RetryingWriter, Writer
from diffjax.training.running_means import Sums, add_metrics, means
from diffjax.training.step import Metrics


class Log:
    """Writes, at each step that divides by `every`, the mean of each metric over the steps since the one before it.

    At the last step of the run, the only one where `every` is 0, it writes the mean so far. `sums` are the sums behind
    these means: save them with a checkpoint, and set them where the run goes back to one.
    """

    def __init__(
        self,
        writers: Sequence[Writer],
        start: int,
        steps: int,
        every: int,
        batch_size: int,
        quiet: bool,
        sums: Sums | None = None,
    ) -> None:
        """Go on from step `start`, with the `sums` saved there; `quiet`, as all hosts but the first, prints nothing."""
        self.steps, self.every, self.batch_size, self.quiet = steps, every, batch_size, quiet
        self._writers = [RetryingWriter(writer) for writer in writers]
        self.sums: Sums = sums or {}
        self._last: tuple[int, float] | None = None  # where the interval began, and when
        self.bar = tqdm(  # disable=None: no bar where stderr is no terminal
            total=steps * batch_size,
            initial=start * batch_size,
            unit="img",
            unit_scale=True,
            disable=quiet or None,
            leave=False,
        )

    def log_steps(self, step: int, metrics: Metrics) -> None:
        """Take the metrics of the steps up to this one, and write each interval that ends among them."""
        count = len(metrics["loss"])
        self.bar.update(count * self.batch_size)
        for i in range(count):
            self.sums = add_metrics(self.sums, {name: float(metric[i]) for name, metric in metrics.items()})
            at = step - count + 1 + i
            ends = self.every > 0 and at % self.every == 0
            if ends or at == self.steps:
                self.log_values(at, {**means(self.sums), **self._speed(at)})
            if ends:
                self.sums = {}

    def log_values(self, step: int, values: Mapping[str, float]) -> None:
        """Write these values of a step, also those from elsewhere, such as the loss of validation.

        On the screen are those alone that are no part of another, as `validation_loss/0.123` is.
        """
        for writer in self._writers:
            writer.write(step, values)
        text = ", ".join(f"{name} {value:.5g}" for name, value in values.items() if "/" not in name)
        self.bar.set_postfix_str(text, refresh=False)
        if self.bar.disable and not self.quiet:
            tell(f"step {step:,} of {self.steps:,}: {text}")

    def close(self) -> None:
        """End all of it."""
        self.bar.close()
        for writer in self._writers:
            writer.close()

    def _speed(self, step: int) -> dict[str, float]:
        """Images a second since the last interval's end, by the host's clock, with all that happened in between.

        Nothing for the first interval, which compiled, nor where the run went back.
        """
        before, self._last = self._last, (step, time.perf_counter())
        if before is None or step <= before[0]:
            return {}
        return {"images_per_second": (step - before[0]) * self.batch_size / (self._last[1] - before[1])}
