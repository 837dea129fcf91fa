"""How much sooner the two fast paths sample than the whole net at every step: python benchmarks/decode.py (a minute)

A key-value cache where tokens come one by one, and a small head where blocks are diffused one after the other.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from timing import seconds

import diffjax as dj

BATCH, SHAPE, REPEATS = 64, (8, 8), 5
Ways = dict[str, Callable[[], Any]]


def cached() -> Ways:
    """64 tokens in raster order."""
    n, vocab = SHAPE[0] * SHAPE[1], 17
    noise, net = dj.Masking(vocab), dj.nets.Transformer(vocab, SHAPE, 128, 4, causal=True)
    variables = net.init(jax.random.key(0), jnp.zeros((1, n), jnp.int32), jnp.zeros((1, 1)))
    given = (dj.keys(0, BATCH), noise, dj.order.raster, dj.denoiser(noise, net, variables), (n,))
    return {"sample": lambda: dj.sample(*given, steps=n), "decode.sample": lambda: dj.sampling.cached.sample(*given)}


def nested() -> Ways:
    """16 blocks of 4 pixels, each in 10 steps of the head of configs/digits_continuous.py's net."""
    noise, which = dj.Gaussian(dj.schedule.cosine, dj.predict.v, 0.75), dj.order.blocks(16, shuffled=True)
    net = dj.nets.MAR(width=64, depth=4, heads=2, head_width=64, head_depth=3, octaves=4)
    variables = net.init(jax.random.key(0), jnp.zeros((1, *SHAPE, 1)), jnp.ones((1, *SHAPE, 1)))
    variables = jax.tree.map(lambda leaf: leaf + 0.01, variables)  # some of it begins as zeros
    given = (dj.keys(0, BATCH), noise, which, dj.denoiser(noise, net, variables), (*SHAPE, 1))
    options = {"grid": dj.grids.repeat_per_block(dj.grids.uniform(noise, 10), 16), "step": dj.steps.ddim()}
    return {
        "sample": lambda: dj.sample(*given, **options),
        "nested.sample": lambda: dj.sampling.blockwise.sample(*given, **options),
    }


def main() -> None:
    """Both ways draw the same; their calls are interleaved, and ratios taken within each round."""
    print(f"batch {BATCH}, {SHAPE[0]} x {SHAPE[1]}, {jax.default_backend()}")
    print("| way | seconds | times faster | equal to 1e-3 |\n|---|---|---|---|")
    for ways in (cached(), nested()):
        drawn = [np.asarray(way()) for way in ways.values()]  # compiles both
        rounds = np.array([[seconds(way) for way in ways.values()] for _ in range(REPEATS)])
        for name, column, x in zip(ways, rounds.T, drawn, strict=True):
            ratio = np.median(rounds[:, 0] / column)
            print(f"| {name} | {np.median(column):.3f} | {ratio:.1f} | {np.mean(np.abs(x - drawn[0]) < 1e-3):.2%} |")


if __name__ == "__main__":
    main()
