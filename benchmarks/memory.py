"""What closures and repeated fits keep: python benchmarks/memory.py [closures[=200] | alone[=200] | fits[=20]] …

Each part makes a new function, or a new run, again and again in one process, and prints how often something was
compiled and by how much the process grew after the first few.
"""

import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

import diffjax as dj

NOISE, ORDER = dj.Gaussian(dj.schedule.cosine, dj.predict.v), dj.order.together
BEGUN = 5  # calls before the process is measured


def closure(number: int) -> Callable:
    """A denoiser of the same code each time, over arrays of its own."""
    weights = [jax.random.normal(jax.random.key(number), (256, 256)) / 16 for _ in range(4)]

    def denoise(x: Any, t: Any, cond: Any) -> Any:
        h = jnp.tile(x, (1, 32))
        for weight in weights:
            h = jax.nn.gelu(h @ weight)
        return h[:, :8]

    return denoise


def alone(number: int) -> Callable:
    """A denoiser that holds an object of a user's class, and so is equal to itself alone."""

    class Scale:
        value = 1.0 + number

    scale, inner = Scale(), closure(number)
    return lambda x, t, cond: inner(x, t, cond) * scale.value


def sampled(make: Callable) -> Callable[[int], None]:
    return lambda number: jax.block_until_ready(
        dj.sample(dj.keys(0, 8), NOISE, ORDER, make(number), (8,), steps=20, step=dj.steps.heun())
    )


def fitted(number: int) -> None:
    net, loss = dj.nets.MLP(width=128, depth=4), dj.loss.regression(NOISE, ORDER)
    x = jax.random.normal(jax.random.key(number), (64, 8))
    dj.fit(jax.random.key(number), net, loss, iter(lambda: {"x": x}, None), 5, optimizer=optax.adam(1e-3))


PARTS = {"closures": (sampled(closure), 200), "alone": (sampled(alone), 200), "fits": (fitted, 20)}


def resident() -> float:
    """Megabytes of this process in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def measured(name: str, count: int) -> str:
    call, times, before = PARTS[name][0], [time.process_time()], 0.0
    for number in range(count):
        call(number)
        times.append(time.process_time())
        if number + 1 == BEGUN:
            before = resident()
    first, each = times[1] - times[0], (times[-1] - times[BEGUN]) / (count - BEGUN)
    return f"| {name} | {count} | {first:.2f} | {each:.3f} | {resident() - before:+.1f} |"


if __name__ == "__main__":
    print("| what | calls | s of CPU, the first | each later | MB grown |\n|---|---|---|---|---|")
    for part in sys.argv[1:] or PARTS:
        name, _, count = part.partition("=")
        print(measured(name, int(count or PARTS[name][1])), flush=True)
