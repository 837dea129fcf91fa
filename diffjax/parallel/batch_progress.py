"""Progress of images that are computed in batches: what is waited for, how many are done, the speed, the time left."""

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TypeVar

import jax
from tqdm import tqdm

from diffjax.errors import tell
from diffjax.utils.durations import format_duration
from diffjax.utils.waiting import FIRST_WAIT_S, Waiting

Report = Callable[[float, int], object]  # called with the images that are done, and all; a batch counts by its steps
FIRST_IMAGES = "compiling, and the first images"  # the wait of a host loop that nobody watches
BAR_S = 0.2  # between two states of the bar
LINES_S = 60.0  # between two lines of a log, at most
AHEAD = 2  # steps of a host loop that are under way while an earlier one is waited for, so that no device is idle
State = TypeVar("State")


class BatchProgress:
    """A bar on a terminal, or lines in a log, for `count` images in all; nothing in the first two seconds.

    `report` takes the place of bar and lines, and `quiet` shows nothing at all. `wait` is the name of what is waited
    for before the first images.
    """

    def __init__(
        self,
        count: int,
        report: Report | None = None,
        wait: str = "compiling",
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count = count
        self._report = report
        self._wait = wait
        self._quiet = quiet
        self._clock = clock
        self._waiting = Waiting(wait, quiet=True)
        self._done = 0
        self._size = 0
        self._seconds = 0.0  # in which images were computed, the compilation left out
        self._begun: float | None = None  # when the batch that is under way began
        self._next_s = math.inf if quiet else FIRST_WAIT_S
        self._bar: tqdm | None = None

    def __enter__(self) -> "BatchProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.end()
        if self._bar is not None:
            self._bar.close()

    def begin(self, size: int, compiles: bool) -> None:
        """A batch of so many images begins, or the compilation of its program."""
        self._size = size
        self._begun = None
        if compiles:
            self._waiting = Waiting(self._wait, self._quiet)
        else:
            self.run()

    def run(self) -> None:
        """The batch is compiled, and runs."""
        if self._begun is None:
            self._waiting.end()
            self._begun = self._clock()

    def end(self) -> None:
        """The batch is done."""
        self._seconds = self._elapsed_s()
        self._begun = None
        self._done += self._size
        self._size = 0
        if self._report is not None or self._seconds >= self._next_s:
            self._show("", self._done)

    def watch(self, states: Iterable[State], steps: int) -> Iterator[State]:
        """The states of a host loop over `steps` steps, the start first; what is shown waits for none but old ones."""
        recent: deque[State] = deque(maxlen=AHEAD + 1)
        for step, state in enumerate(states):
            yield state
            recent.append(state)
            if step > 0:
                self.run()
            if step > AHEAD and self._elapsed_s() >= self._next_s:
                jax.block_until_ready(recent[0])
                done = step - AHEAD
                self._show(f", step {done} of {steps} of {self._size:,} more", self._done + self._size * done / steps)

    def _elapsed_s(self) -> float:
        return self._seconds + (0.0 if self._begun is None else self._clock() - self._begun)

    def _show(self, steps: str, done: float) -> None:
        """Show how much is done; `steps` is about the batch that is under way."""
        elapsed_s = self._elapsed_s()
        if self._report is not None:
            self._report(done, self._count)
            self._next_s = elapsed_s + BAR_S
            return
        speed = done / max(elapsed_s, 1e-9)
        left = f", {format_duration((self._count - done) / speed)} left" if done < self._count else ""
        text = f"{self._done:,} of {self._count:,} images{steps}, {speed:.3g} images/s{left}"
        if sys.stderr.isatty():
            self._next_s = elapsed_s + BAR_S
            self._show_bar(text, done)
        else:
            self._next_s = elapsed_s + min(elapsed_s, LINES_S)
            tell(text)

    def _show_bar(self, text: str, done: float) -> None:
        if self._bar is None:
            style = "{percentage:3.0f}%|{bar:24}| {desc}"
            self._bar = tqdm(total=self._count, bar_format=style, leave=False)
        self._bar.n = done
        self._bar.set_description_str(text)
