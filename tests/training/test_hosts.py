"""Two processes, each with its own device and its half of every batch, train and save as one process does."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import quickly

from diffjax.training import checkpoint, identity, manifest

PROGRAM = """
import json, sys
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
rank, hosts, port, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
if hosts > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", hosts, rank)
import diffjax as dj
from diffjax.training import identity
from diffjax.training.checkpoint import Saver, restore, to_orbax
from diffjax.training.retention import RetentionPolicy
from diffjax.training.data_parallel import barrier

noise, net = dj.Gaussian(dj.schedule.cosine, dj.predict.v), dj.nets.MLP(width=16, depth=1, dropout=0.2)
share = slice(rank * 32 // hosts, (rank + 1) * 32 // hosts)

def batches():
    for step in range(9):
        yield {"x": np.random.default_rng(step).normal(size=(32, 4)).astype(np.float32)[share]}

losses = []
event = (1, lambda step, state, metrics: losses.append(float(metrics["loss"][-1])))
loss = dj.loss.regression(noise, dj.order.together)
state = dj.fit(jax.random.key(0), net, loss, batches(), 5, events=[event], dispatch=1)
whose = identity.Identity(identity.draw_identity(), "0" * 64)
saver = Saver(folder, RetentionPolicy(last=1), whose.about)
for step in (4, 5):
    saver.save(step, state, {"loss": losses[-1]})
saver.close()
barrier("saved")
back = restore(folder, state, whose)
pairs = zip(jax.tree.leaves(to_orbax(state)), jax.tree.leaves(to_orbax(back)), strict=True)
equal = all(np.array_equal(a.addressable_shards[0].data, b.addressable_shards[0].data) for a, b in pairs)
weights = [float(jnp.sum(leaf)) for leaf in jax.tree.leaves(state.params)]
print(json.dumps([losses, weights, equal, whose.run]), flush=True)
"""


def trained(hosts: int, folder: Path) -> list:
    """What each host of so many says of losses and weights, and of a checkpoint that they save there together."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    environment = {"XLA_FLAGS": quickly.FLAGS, "JAX_PLATFORMS": "cpu", "PATH": "", "HOME": "/nonexistent"}
    command = [sys.executable, "-c", PROGRAM]
    running = [
        subprocess.Popen(
            [*command, str(rank), str(hosts), port, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
        )
        for rank in range(hosts)
    ]
    return [json.loads(process.communicate(timeout=180)[0].splitlines()[-1]) for process in running]


@pytest.mark.long
def test_two_hosts_train_and_save_as_one(tmp_path) -> None:
    (alone,), (first, second) = trained(1, tmp_path / "one"), trained(2, tmp_path / "two")
    assert first == second
    np.testing.assert_allclose(first[0], alone[0], rtol=1e-5)
    np.testing.assert_allclose(first[1], alone[1], rtol=1e-4, atol=1e-5)
    assert len(first[3]) == 2 * identity.ID_BYTES, (
        "one identity on both hosts, by which each takes what both have saved"
    )
    assert [alone[2], first[2], second[2]] == [True] * 3, "all that was saved comes back, bit for bit, on every host"
    for folder in (tmp_path / "one", tmp_path / "two"):
        assert [path.name for path in folder.iterdir()] == ["00000005"]
        assert not manifest.find_damage(folder / "00000005")
    emas = checkpoint.read(tmp_path / "two", None, tuple)[1]["0.999"]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(emas)), "and is read by a single process"
