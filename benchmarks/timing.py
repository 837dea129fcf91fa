"""Time: a training step, the sampler beside its net, and the fast paths: python benchmarks/timing.py [NAME …]

NAME is one or more of step, overhead, paths; by default all, in three minutes. Figures are in docs/results.md.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from report import Table, publish, seconds, table, timed_in_turns

import diffjax as dj
from configs.digits import get_config
from diffjax.commands.training_plan import plan_training
from diffjax.training.loop import fit

WARM, ROUNDS, STEPS = 50, 10, 50  # of training
SAMPLED = 50  # steps of ddim
NETS = {
    "DiT, width 128, depth 4, 64 tokens": (dj.nets.DiT(patch=1, width=128, depth=4), (8, 8, 1), 24, 1.02),
    "MLP, width 64, depth 2": (dj.nets.MLP(width=64, depth=2), (2,), 200, 1.06),
}
BATCH, SHAPE, REPEATS = 64, (8, 8), 5  # of the fast paths
Call = Callable[[], Any]


def training_step() -> Table:
    """A step of configs/digits.py in the trainer, timed at the ends of rounds of steps."""
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_training(get_config(), Path(folder))
    ticks: list[float] = []

    def tick(step: int, state: object, metrics: object) -> None:
        jax.block_until_ready(metrics)
        ticks.append(time.perf_counter())

    options: dict[str, Any] = {"optimizer": plan.setup.optimizer, "start": plan.start, "events": [(STEPS, tick)]}
    fit(plan.start.key, plan.setup.net, plan.setup.loss, plan.stream, WARM + ROUNDS * STEPS, **options)
    rounds = sorted(1000 * (after - before) / STEPS for before, after in pairwise(ticks))
    row = ("configs/digits.py", f"{rounds[0]:.1f}", f"{rounds[len(rounds) // 2]:.1f}", len(rounds))
    return table("Training step", ("config", "ms fastest", "ms median", "rounds"), [row])


def overhead() -> Table:
    """Sampler and bare calls in turn, each one compiled scan; ratios within each round, and the sampler's memory."""
    noise, rows = dj.Gaussian(dj.schedule.cosine, dj.predict.v), []
    for name, (net, shape, rounds, limit) in NETS.items():
        x = jnp.zeros((16, *shape))
        variables = jax.jit(net.init)(jax.random.key(0), x, jnp.zeros((16,) + (1,) * len(shape)))
        denoise = dj.denoiser(noise, net, variables)
        start = jax.random.normal(jax.random.key(1), x.shape)
        spent = timed_in_turns((sampler(noise, denoise, start, SAMPLED), bare(denoise, start, SAMPLED)), rounds)
        ratio, call = np.median(spent[:, 0] / spent[:, 1]), 1000 * np.median(spent[:, 1]) / SAMPLED
        memory = (f"{buffers(noise, denoise, start, steps):,}" for steps in (10, 100))
        rows.append((name, f"{call:.3f}", f"{ratio:.3f}", limit, *memory))
    columns = ("net", "ms a call", "sampler over bare calls", "limit", "bytes, 10 steps", "100 steps")
    return table("What sampling costs beside the net", columns, rows)


def drawn(noise: dj.Noise, denoise: Any, start: jax.Array, steps: int) -> jax.Array:
    """A sample by ddim."""
    options: dict[str, Any] = {"steps": steps, "start": start, "step": dj.steps.ddim()}
    return dj.sample(dj.keys(0, len(start)), noise, dj.order.together, denoise, start.shape[1:], **options)


def sampler(noise: dj.Noise, denoise: Any, start: jax.Array, steps: int) -> Call:
    """That many steps, grid and plan made before."""
    call = jax.jit(lambda denoise, start: drawn(noise, denoise, start, steps))
    return lambda: call(denoise, start)


def bare(denoise: Any, start: jax.Array, steps: int) -> Call:
    """The same calls of the denoiser, each on what the last one gave."""

    @jax.jit
    def call(denoise: Any, start: jax.Array) -> jax.Array:
        def body(x: jax.Array, t: jax.Array) -> tuple[jax.Array, None]:
            return denoise(x, jnp.full((len(x),) + (1,) * (x.ndim - 1), t), None), None

        return jax.lax.scan(body, start, jnp.linspace(1.0, 0.0, steps + 1)[:-1])[0]

    return lambda: call(denoise, start)


def buffers(noise: dj.Noise, denoise: Any, start: jax.Array, steps: int) -> int:
    """Bytes of memory that the compiled sampler needs beyond its arguments and its result."""
    call = jax.jit(lambda denoise, start: drawn(noise, denoise, start, steps))
    analysis: Any = call.lower(denoise, start).compile().memory_analysis()
    return analysis.temp_size_in_bytes


def paths() -> Table:
    """How much sooner the key-value cache and the small head of blocks draw the same as the whole net at every step."""
    rows = []
    for ways in (cached(), blockwise()):
        (plain, fast), (one, other) = ways.values(), (np.asarray(way()) for way in ways.values())
        spent = timed_in_turns((plain, fast), REPEATS)
        ratio, equal = np.median(spent[:, 0] / spent[:, 1]), np.mean(np.abs(one - other) < 1e-3)
        rows.append((list(ways)[1], f"{seconds(fast):.3f}", f"{ratio:.1f}", f"{equal:.2%}"))
    return table(f"Fast paths, batch {BATCH}", ("way", "seconds", "times faster than sample", "equal to 1e-3"), rows)


def cached() -> dict[str, Call]:
    """64 tokens in raster order."""
    n, vocab = SHAPE[0] * SHAPE[1], 17
    noise, net = dj.Masking(vocab), dj.nets.Transformer(vocab, SHAPE, 128, 4, causal=True)
    variables = net.init(jax.random.key(0), jnp.zeros((1, n), jnp.int32), jnp.zeros((1, 1)))
    given = (dj.keys(0, BATCH), noise, dj.order.raster, dj.denoiser(noise, net, variables), (n,))
    return {"sample": lambda: dj.sample(*given, steps=n), "cached.sample": lambda: dj.sampling.cached.sample(*given)}


def blockwise() -> dict[str, Call]:
    """16 blocks of 4 pixels, each in 10 steps of the head of configs/digits_continuous.py's net."""
    noise, which = dj.Gaussian(dj.schedule.cosine, dj.predict.v, 0.75), dj.order.blocks(16, shuffled=True)
    net = dj.nets.MAR(width=64, depth=4, heads=2, head_width=64, head_depth=3, octaves=4)
    variables = net.init(jax.random.key(0), jnp.zeros((1, *SHAPE, 1)), jnp.ones((1, *SHAPE, 1)))
    variables = jax.tree.map(lambda leaf: leaf + 0.01, variables)  # some of it begins as zeros
    given = (dj.keys(0, BATCH), noise, which, dj.denoiser(noise, net, variables), (*SHAPE, 1))
    options: dict[str, Any] = {
        "grid": dj.grids.repeat_per_block(dj.grids.uniform(noise, 10), 16),
        "step": dj.steps.ddim(),
    }
    return {
        "sample": lambda: dj.sample(*given, **options),
        "blockwise.sample": lambda: dj.sampling.blockwise.sample(*given, **options),
    }


PARTS = {"step": training_step, "overhead": overhead, "paths": paths}

if __name__ == "__main__":
    publish("timing", [PARTS[name]() for name in sys.argv[1:] or PARTS])
