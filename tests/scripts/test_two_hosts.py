"""Two processes of train.py are one run: they stop and save together where one of them is told to, and one goes on."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import quickly

from diffjax.experiment import run_record
from diffjax.parallel.hosts import LOST
from diffjax.training import identity, manifest, metrics_file, retention

ROOT = Path(__file__).parents[2]
STEP = ["--config.train.writers=('jsonl',)", "--config.train.log_every_steps=1", "--config.train.save_every_steps=5"]


def hosts(count: int, *argv: object, only: int | None = None) -> list[subprocess.Popen]:
    """So many processes of one run, each with one device; or one of them alone."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "XLA_FLAGS": quickly.FLAGS, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "train.py", *map(str, argv)]
    return [
        subprocess.Popen(
            [*command, "--hosts", f"localhost:{port},{count},{rank}"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (range(count) if only is None else [only])
    ]


def test_a_signal_to_one_host_stops_all_and_one_process_goes_on(call, tiny, tmp_path) -> None:
    argv = ["--config", tiny.config, "--workdir", tmp_path / "run", *STEP]
    log, folder = tmp_path / "run" / metrics_file.NAME, tmp_path / "run" / "checkpoints"
    first, second = hosts(2, *argv, "--config.train.steps=1000000")
    begun = time.monotonic()
    while not log.exists() or len(log.read_text().splitlines()) < 8:
        assert first.poll() is None, first.communicate()
        assert time.monotonic() - begun < 300, "the hosts do not get on"
        time.sleep(0.05)
    second.send_signal(signal.SIGTERM)
    told = [host.communicate(timeout=180)[1] for host in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], told
    newest = retention.complete_checkpoints(folder)[0]
    step = int(newest.name)
    assert not manifest.find_damage(newest)
    identity.check_checkpoint(newest, run_record.read_record(tmp_path / "run").identity)
    assert "SIGTERM: saving" not in told[0]
    assert "SIGTERM: saving" in told[1]
    assert all(f"stopped at step {step:,} " in each for each in told)
    assert not [*folder.glob(".*")]
    went_on = call("train.py", *argv, f"--config.train.steps={step + 3}")
    assert went_on.code == 0, went_on.err
    told_of = [row.step for row in metrics_file.read(log) if "loss" in row.values]
    assert told_of == list(range(1, step + 4)), "no step is missing, and none was told twice"


@pytest.mark.parametrize("hosts", ["two", "localhost:1,2,2", "localhost,2,0", "localhost:1,2"])
def test_hosts_that_cannot_be_are_refused(hosts, call, tiny, tmp_path) -> None:
    told = call("train.py", "--config", tiny.config, "--workdir", tmp_path / "run", "--hosts", hosts)
    assert told.code == 2
    assert "--hosts: " in told.err
    assert not (tmp_path / "run").exists()


@pytest.mark.long  # between programs that only meet it is tested in tests/training/test_hosts_meet.py
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_host_that_is_lost_ends_the_other_with_a_line(number, tiny, tmp_path) -> None:
    argv = ["--config", tiny.config, "--workdir", tmp_path / "run", *STEP]
    first, second = hosts(2, *argv, "--config.train.steps=1000000", "--hosts_timeout=20")
    folder, begun = tmp_path / "run" / "checkpoints", time.monotonic()
    while not retention.complete_checkpoints(folder):
        assert first.poll() is None, first.communicate()
        assert time.monotonic() - begun < 300, "the hosts do not get on"
        time.sleep(0.05)
    second.send_signal(number)
    told = first.communicate(timeout=60)[1]
    second.kill()
    second.communicate()
    assert first.returncode == LOST, told
    assert "host 1 of 2" in told
    assert "Traceback" not in told
    assert retention.newest_valid(folder) is not None


@pytest.mark.parametrize("host", [0, 1])
def test_hosts_that_do_not_come_are_named_in_one_line(host, call, tiny, tmp_path) -> None:
    """In this process, which has met no other host: the meeting is before all that could not be done twice."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]},2,{host}"
    argv = ["--config", tiny.config, "--workdir", tmp_path / "run", "--hosts", address, "--hosts_timeout=1"]
    told = call("train.py", *argv)
    assert told.code == 2, told.err
    assert f"host {1 - host} of 2" in told.err
    assert len(told.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.long
@pytest.mark.parametrize("host", [0, 1])
def test_hosts_that_do_not_come_are_named(host, tiny, tmp_path) -> None:
    argv = ["--config", tiny.config, "--workdir", tmp_path / "run", "--hosts_timeout=1"]
    alone = hosts(2, *argv, only=host)[0]
    told = alone.communicate(timeout=60)[1]
    assert alone.returncode == 2, told
    assert f"host {1 - host} of 2" in told.splitlines()[-1]
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "run").exists()
