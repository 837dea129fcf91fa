"""Two processes, each with its own device and its half of every batch, train as one process does."""

import json
import socket
import subprocess
import sys

import numpy as np

PROGRAM = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
rank, hosts, port = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if hosts > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", hosts, rank)
import diffjax as dj

noise, net = dj.Gaussian(dj.schedule.cosine, dj.predict.v), dj.nets.MLP(width=16, depth=1, dropout=0.2)
share = slice(rank * 32 // hosts, (rank + 1) * 32 // hosts)

def batches():
    for step in range(9):
        yield {"x": np.random.default_rng(step).normal(size=(32, 4)).astype(np.float32)[share]}

losses = []
event = (1, lambda step, state, metrics: losses.append(float(metrics["loss"][-1])))
loss = dj.loss.regression(noise, dj.order.together)
state = dj.fit(jax.random.key(0), net, loss, batches(), 5, events=[event], dispatch=1)
print(json.dumps([losses, [float(jnp.sum(leaf)) for leaf in jax.tree.leaves(state.params)]]), flush=True)
"""


def trained(hosts: int) -> list:
    """What each host of so many says of losses and weights."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    environment = {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu", "PATH": "", "HOME": "/nonexistent"}
    command = [sys.executable, "-c", PROGRAM]
    running = [
        subprocess.Popen([*command, str(rank), str(hosts), port], stdout=subprocess.PIPE, text=True, env=environment)
        for rank in range(hosts)
    ]
    return [json.loads(process.communicate(timeout=180)[0].splitlines()[-1]) for process in running]


def test_two_hosts_train_as_one() -> None:
    (alone,), (first, second) = trained(1), trained(2)
    assert first == second
    np.testing.assert_allclose(first[0], alone[0], rtol=1e-5)
    np.testing.assert_allclose(first[1], alone[1], rtol=1e-4, atol=1e-5)
