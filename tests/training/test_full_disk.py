"""A disk that is full at any moment of a save costs that save, one line on stderr, and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import quickly

ROOT = Path(__file__).parents[2]

PROGRAM = '''
"""For each moment, a number of a call of the system or a limit on the size of files: a save before, one at the moment,
one after, and the close. Prints what came of it, as JSON."""

import contextlib, errno, io, json, os, resource, sys, tempfile, threading
from pathlib import Path
from diffjax.commands.command_line import quiet_libraries
quiet_libraries()
import jax, jax.numpy as jnp, optax
from diffjax.nets import MLP
from diffjax.training import manifest, retention
from diffjax.training.checkpoint import Saver
from diffjax.training.state import create

moments, lasting = json.loads(sys.argv[1]), sys.argv[2] == "lasting"
state = create(jax.random.key(0), MLP(width=64, depth=2), optax.adamw(1e-3), (0.9,), jnp.zeros((1, 3)), None)
CALLS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.truncate", "fsync"}
lock, armed, count = threading.Lock(), None, 0

def fail(event, args):
    global count
    if armed is None or event not in CALLS or (event == "open" and not args[2] & (os.O_WRONLY | os.O_RDWR)):
        return
    with lock:
        count += 1
        now = count - 1
    if now == armed or (lasting and now > armed):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(args[0]))

sys.addaudithook(fail)
fsync = os.fsync
os.fsync = lambda descriptor: (fail("fsync", (descriptor,)), fsync(descriptor))[1]

def good(folder):
    return [path.name for path in retention.complete_checkpoints(folder) if not manifest.find_damage(path)]

soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for moment in moments:
    folder, said, ended = Path(tempfile.mkdtemp(dir=".")), io.StringIO(), ""
    with contextlib.redirect_stderr(said):
        try:
            saver, count = Saver(folder, retention.RetentionPolicy(last=1)), 0
            saver.save(10, state, {})
            saver.wait()
            if isinstance(moment, dict):
                resource.setrlimit(resource.RLIMIT_FSIZE, (moment["limit"], hard))
            else:
                armed = moment
            saver.save(20, state, {})
            saver.wait()
            armed = None
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            saved, between = saver.contains(20), good(folder)
            saver.save(30, state, {})
            saver.close()
        except BaseException as error:
            ended = repr(error)
    print(json.dumps([moment, count, saved, between, good(folder), sorted(os.listdir(folder)), said.getvalue(), ended]))
'''
LIMITS = [{"limit": size} for size in (0, 100, 3_000, 20_000, 50_000)]  # below the largest file that a save writes
LAST = 80  # calls of one save, at most


def outcomes(moments: list, how: str, folder) -> list[list]:
    """What a program of its own says of each moment; its stderr, in which threads of the libraries print, is empty."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": quickly.FLAGS}
    command = [sys.executable, "-W", "default", "-c", PROGRAM, json.dumps(moments), how]
    found = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=500, check=True, env=environment
    )
    assert not found.stderr
    return [json.loads(line) for line in found.stdout.splitlines()]


MOMENTS = [
    0,
    2,
    3,
    12,
    35,
    40,
]  # a folder, a file of Orbax's main thread and of its own one, a sync, a name, a deletion


@pytest.mark.parametrize(
    ("moments", "how"),
    [
        ([*MOMENTS, *LIMITS[1:4]], "once"),
        pytest.param([*range(LAST), *LIMITS], "once", marks=pytest.mark.long),
        pytest.param([*range(LAST), *LIMITS], "lasting", marks=pytest.mark.long),
    ],
)
def test_a_save_that_fails_at_any_moment_costs_that_save_alone(moments, how, tmp_path) -> None:
    found = outcomes(moments, how, tmp_path)
    assert len(found) == len(moments)
    for moment, calls, saved, between, after, left, said, ended in found:
        assert not ended, moment
        assert between[0] == ("00000020" if saved else between[0]), moment
        assert between, f"{moment}: something good is there at all times"
        assert after == ["00000030"], moment
        assert left == after, f"{moment}: nothing is left of what failed"
        assert len(said.splitlines()) <= 1, said
        if not saved:
            assert "step 20 could not be saved" in said, moment
        if isinstance(moment, int) and moment >= calls:
            assert saved, moment
            assert not said, moment
    assert not all(saved for _, _, saved, *_ in found), "a failure was among them"
