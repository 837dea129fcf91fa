"""A worker of benchmarks/performance.py: it builds cases and times rounds of them, as lines on stdin ask it to.

The name of a case builds it, and is answered by the floating-point operations of its first call, 0 where they are not
counted; an empty line is one round, answered by the seconds of each call; `?` is answered by the names. Answers are
JSON, one a line. This file is shared by the environments of all peers, so it imports nothing but Python.
"""

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

IDLE_S = 1.5  # in which loaders that are not asked have read all that they may
LONG_CALL_S = 1.0  # is called once less before it is timed
Call = Callable[[], object]  # returns when its results are there
Seconds = tuple[float, float]  # of CPU and of wall time


class Case(NamedTuple):
    """The seconds of its calls, round after round, and the operations of the first."""

    rounds: Iterator[Sequence[Seconds]]
    flops: float = 0.0


def in_turns(*calls: Call) -> Iterator[Sequence[Seconds]]:
    """Rounds of one call after the other, once all are warm."""
    for call in calls:
        call()
        if seconds(call)[1] < LONG_CALL_S:
            call()
    return ([seconds(call) for call in calls] for _ in itertools.count())


def steady(call: Call, ahead: int, count: int) -> Iterator[Sequence[Seconds]]:
    """Rounds of `count` calls of a loader that reads `ahead`, once what it has ready is used up and others idle."""
    while True:
        time.sleep(IDLE_S)
        for _ in range(2 * ahead):
            call()
        yield [seconds(lambda: [call() for _ in range(count)])]


def seconds(call: Call) -> Seconds:
    """Of one call."""
    before = clocks()
    call()
    after = clocks()
    return after[0] - before[0], after[1] - before[1]


def clocks() -> Seconds:
    """Seconds of this process's CPU time, and of the wall clock."""
    return time.process_time(), time.perf_counter()


def serve(cases: Mapping[str, Callable[[], Case]]) -> None:
    """Answer until stdin ends."""
    rounds: Iterator[Sequence[Seconds]] = iter(())
    for line in sys.stdin:
        name = line.strip()
        if name == "?":
            print(json.dumps(list(cases)), flush=True)
        elif name:
            rounds, flops = cases[name]()
            print(json.dumps(flops), flush=True)
        else:
            print(json.dumps(next(rounds)), flush=True)
