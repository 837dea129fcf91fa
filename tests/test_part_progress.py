"""Time left, by a clock that the test sets."""

import pytest

from diffjax.commands.part_progress import Cost, PartProgress
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(clock, capsys) -> PartProgress:
    costs = {"first": Cost("net", 100), "second": Cost("pairs", 50), "third": Cost("net", 200)}
    return PartProgress(costs, {"pairs": 0.1}, clock)


def test_the_time_left_is_of_what_each_kind_has_taken(progress, clock) -> None:
    with progress.part("first"):
        assert progress.seconds_left() is None  # no evaluation is timed yet
        clock.now = 5.0
        progress.report(50, 100)
        assert progress.seconds_left() == pytest.approx(5 + 50 * 0.1 + 200 * 0.1)
        clock.now = 20.0
    assert progress.seconds_left() == pytest.approx(50 * 0.1 + 200 * 0.2)
    with progress.part("second"):
        clock.now = 22.0
        assert progress.seconds_left() == pytest.approx(3 + 200 * 0.2)
        clock.now = 40.0
        assert progress.seconds_left() == pytest.approx(200 * 0.2)  # late, but never less than nothing
    with progress.part("third"):
        clock.now = 50.0
    assert progress.seconds_left() == 0


def test_a_log_has_a_line_for_each_part_and_few_within_it(progress, clock, capsys) -> None:
    with progress.part("first"):
        for done in range(1, 101):
            clock.now += 1.0
            progress.report(done, 100)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "[1/3] first …"
    assert lines[1] == "[1/3] first 20 of 100, 1/s …, about 4 min 45 s left"  # 80, 5 and 200 s
    assert len(lines) == 1 + 5 + 1
    assert lines[-1] == "[1/3] first: 100.0 s"
