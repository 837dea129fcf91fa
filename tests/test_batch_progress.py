"""What is said while images are computed in batches, by a clock that the test sets."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.parallel import batch_progress
from diffjax.parallel.batch_progress import BatchProgress
from diffjax.parallel.dispatch import map_in_batches
from diffjax.utils import waiting
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


def batches(progress: BatchProgress, clock: Clock, seconds: float, count: int, size: int = 10) -> None:
    """So many batches, each of `size` images, in so many seconds."""
    for number in range(count):
        progress.begin(size, compiles=number == 0)
        progress.run()
        clock.now += seconds
        progress.end()


def test_a_log_has_a_line_after_two_seconds_and_at_each_doubling(clock, capsys) -> None:
    with BatchProgress(200, clock=clock) as progress:
        batches(progress, clock, 1.0, 20)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "20 of 200 images, 10 images/s, 18 s left"
    assert [line.split()[0] for line in lines] == ["20", "40", "80", "160"]


def test_a_quick_job_says_nothing(clock, capsys) -> None:
    with BatchProgress(30, clock=clock) as progress:
        batches(progress, clock, 0.5, 3)
    with BatchProgress(30, quiet=True, clock=clock) as progress:
        batches(progress, clock, 500.0, 3)
    assert capsys.readouterr().err == ""


def test_the_speed_leaves_out_the_compilation(clock, capsys) -> None:
    with BatchProgress(20, clock=clock) as progress:
        progress.begin(10, compiles=True)
        clock.now = 100.0
        progress.run()
        clock.now = 105.0
        progress.end()
    assert capsys.readouterr().err == "10 of 20 images, 2 images/s, 5 s left\n"


def test_steps_of_a_host_loop_are_shown_and_count_as_a_part_of_their_batch(clock, capsys) -> None:
    """The first state is the start; the steps that are shown are done, two before the one that was dispatched."""
    with BatchProgress(20, clock=clock) as progress:
        progress.begin(10, compiles=True)
        for step, _ in enumerate(progress.watch(jnp.arange(11.0), steps=10)):
            clock.now = 100.0 + step
    assert capsys.readouterr().err.splitlines() == [
        "0 of 20 images, step 1 of 10 of 10 more, 0.5 images/s, 38 s left",
        "0 of 20 images, step 3 of 10 of 10 more, 0.75 images/s, 23 s left",
        "0 of 20 images, step 7 of 10 of 10 more, 0.875 images/s, 15 s left",
    ]


def test_a_report_takes_the_place_of_lines(clock, capsys) -> None:
    seen: list[tuple[float, int]] = []
    with BatchProgress(30, lambda *done: seen.append(done), clock=clock) as progress:
        batches(progress, clock, 9.0, 3)
    assert seen == [(10, 30), (20, 30), (30, 30)]
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar_that_goes_away(clock, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with BatchProgress(40, clock=clock) as progress:
        batches(progress, clock, 3.0, 3)
    text = capsys.readouterr().err
    assert "10 of 40 images, 3.33 images/s, 9 s left" in text
    assert "75%|" in text
    assert "\n" not in text


def test_batches_on_devices_are_counted_without_their_padding(clock, capsys, monkeypatch) -> None:
    """A compilation that takes long is told, as the last line of it says how long it was."""
    monkeypatch.setattr(waiting, "FIRST_WAIT_S", 0.0)
    monkeypatch.setattr(batch_progress, "FIRST_WAIT_S", 0.0)

    def call(keys: jax.Array, x: jax.Array) -> jax.Array:
        clock.now += 1.0
        return x + 1

    with BatchProgress(19, clock=clock) as progress:
        y = map_in_batches(call, jax.random.key(0), 19, 8, np.arange(19), progress=progress)
    np.testing.assert_array_equal(y, np.arange(19) + 1)
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("compiling: ") for line in lines)
    assert lines[-1].startswith("19 of 19 images, ")
