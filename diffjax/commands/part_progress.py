"""Progress of a job of several parts, and the time that it will take, on a terminal and in a plain log."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from diffjax.utils.durations import format_duration

EVERY_S = {True: 0.2, False: 20.0}  # between two lines of a part: on a terminal, in a log


class Cost(NamedTuple):
    """The cost of a part, in units of its kind: evaluations of the net (`net`), products of two numbers (`pairs`)."""

    kind: str
    units: float


class PartProgress:
    """Lines on stderr: the current part, how much of it is done, and the time until all parts are done.

    The time follows from the costs of the parts and the time per unit of each kind so far; for a kind that has not run
    yet it is `seconds_per_unit`, without which no time is given.
    """

    def __init__(
        self,
        costs: Mapping[str, Cost],
        seconds_per_unit: Mapping[str, float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._costs = dict(costs)
        self._usual = seconds_per_unit
        self._clock = clock
        self._terminal = sys.stderr.isatty()
        self._spent: dict[str, tuple[float, float]] = {}  # of each kind: seconds and units
        self._done: list[str] = []
        self._name = ""
        self._begun = 0.0
        self._share = 0.0
        self._written_at = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """The context in which that part runs."""
        self._name = name
        self._begun = self._clock()
        self._share = 0.0
        self._write("")
        yield
        seconds = self._clock() - self._begun
        cost = self._costs[name]
        before, units = self._spent.get(cost.kind, (0.0, 0.0))
        self._spent[cost.kind] = before + seconds, units + cost.units
        self._done.append(name)
        self._name = ""
        self._line(f"[{len(self._done)}/{len(self._costs)}] {name}: {seconds:.1f} s", end=True)

    def report(self, done: float, whole: int) -> None:
        """Report progress of the current part."""
        self._share = done / whole
        now = self._clock()
        if now - self._written_at >= EVERY_S[self._terminal]:
            speed = f", {done / (now - self._begun):.3g}/s" if now > self._begun else ""
            self._write(f" {done:,.0f} of {whole:,}{speed}")

    def seconds_left(self) -> float | None:
        """The time until all parts are done; None where it is not known yet."""
        total = 0.0
        for name, cost in self._costs.items():
            if name in self._done:
                continue
            spent = self._clock() - self._begun if name == self._name else 0.0
            if name == self._name and self._share > 0:
                total += spent * (1 - self._share) / self._share
                continue
            rate = self._rate(cost.kind)
            if rate is None:
                return None
            total += max(0.0, cost.units * rate - spent)
        return total

    def _rate(self, kind: str) -> float | None:
        """Seconds per unit, over everything of that kind that is done."""
        seconds, units = self._spent.get(kind, (0.0, 0.0))
        if self._name and self._costs[self._name].kind == kind and self._share > 0:
            seconds += self._clock() - self._begun
            units += self._costs[self._name].units * self._share
        return seconds / units if units > 0 else self._usual.get(kind)

    def _write(self, done: str) -> None:
        left = self.seconds_left()
        remaining = "" if left is None else f", about {format_duration(left)} left"
        self._line(f"[{len(self._done) + 1}/{len(self._costs)}] {self._name}{done} …{remaining}")

    def _line(self, text: str, *, end: bool = False) -> None:
        self._written_at = self._clock()
        if self._terminal:
            text = f"\r\033[K{text}"
        print(text, end="\n" if end or not self._terminal else "", file=sys.stderr, flush=True)
