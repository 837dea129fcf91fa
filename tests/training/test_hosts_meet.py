"""Hosts that do not come are named on every host that is there, within the limit; one that is lost ends the others."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from diffjax.errors import UserError
from diffjax.parallel.hosts import LOST, Watch, meet

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, time
from diffjax.parallel.hosts import Watch, meet
port, hosts, host = map(int, sys.argv[1:4])
watch = Watch(meet("localhost", port, hosts, host, 20.0), hosts, float(sys.argv[4]))
print("here", flush=True)
sys.stdin.readline()
watch.close()
"""


@pytest.fixture
def port() -> int:
    """One that nobody listens at."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def started(port: int, hosts: int, timeout_s: float) -> list[subprocess.Popen]:
    """So many processes that have met; one that is silent for `timeout_s` seconds is lost."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(port), str(hosts), str(host), str(timeout_s)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for host in range(hosts)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
    return running


def test_a_host_that_does_not_come_is_named_on_every_host(port) -> None:
    begun = time.monotonic()
    with ThreadPoolExecutor() as pool:
        for there in [pool.submit(meet, "localhost", port, 4, host, 1.5) for host in (0, 2)]:
            with pytest.raises(UserError, match=r"hosts 1, 3 of 4 .*1\.5 s.*--hosts_timeout"):
                there.result(timeout=20)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("address", ["localhost", "no-such-name.invalid"])
def test_a_first_host_that_is_not_there_is_named(address, port) -> None:
    with pytest.raises(UserError, match=rf"host 0 of 2 .*{address}:{port}"):
        meet(address, port, 2, 1, 1.0)


def test_something_else_at_the_address_is_no_host(port) -> None:
    with socket.create_server(("localhost", port)), pytest.raises(UserError, match="host 0 of 2"):
        meet("localhost", port, 2, 1, 0.5)
    with socket.create_server(("", port)), pytest.raises(UserError, match=f"port {port}"):
        meet("localhost", port, 2, 0, 0.5)


def test_two_hosts_of_one_number_are_refused(port) -> None:
    with ThreadPoolExecutor() as pool:
        there = [pool.submit(meet, "localhost", port, 3, host, 2.0) for host in (0, 1, 1)]
        told = [str(each.exception(timeout=20)) for each in there]
    assert "host 2 of 3 " in told[0]
    assert sum("hosts 1" in each for each in told[1:]) == 1


@pytest.mark.parametrize("lost", [1, pytest.param(0, marks=pytest.mark.long)])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_host_ends_the_others_with_a_line(number, lost, port) -> None:
    running = started(port, 3 if lost else 2, 2.0)
    begun = time.monotonic()
    running[lost].send_signal(number)
    for host, process in enumerate(running):
        if host != lost:
            process.wait(timeout=20)  # before its stdin is closed, which ends it in order
            err = process.communicate()[1]
            assert process.returncode == LOST, err
            assert err.strip().startswith(f"diffjax: host {lost} of {len(running)} ")
            assert len(err.strip().splitlines()) == 1
    assert time.monotonic() - begun < 6
    running[lost].kill()
    running[lost].communicate()


@pytest.mark.parametrize("first", [0, 1])
def test_an_end_in_order_is_no_loss(first, port) -> None:
    running = started(port, 2, 30.0)
    for host in (first, 1 - first):
        assert running[host].communicate("end\n", timeout=20)[1] == ""
        assert running[host].returncode == 0


def test_an_end_with_unread_lines_resets_no_connection(port, monkeypatch) -> None:
    """Closing a connection with unread bytes resets it, and on some systems a reset drops the last line."""
    monkeypatch.setattr("diffjax.parallel.hosts._BEAT_S", 0.1)
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda host: meet("localhost", port, 2, host, 20.0), (0, 1))
    watch = Watch(second, 2, 30.0)
    watch._closed.set()  # it reads no more
    watch._thread.join()
    first[1].sendall(b"here\n" * 1_000)
    watch.close()
    with first[1].makefile() as lines:  # a reset would raise ConnectionResetError
        assert lines.read().endswith("bye\n")
    first[1].close()
