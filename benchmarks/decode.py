"""How much sooner the cache samples than the whole net at every step: python benchmarks/decode.py (half a minute)"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from timing import seconds

import diffjax as dj

BATCH, SHAPE, WIDTH, DEPTH, VOCAB, REPEATS = 64, (8, 8), 128, 4, 17, 5


def main() -> None:
    """Both ways draw the same tokens; their calls are interleaved, and ratios taken within each round."""
    n = SHAPE[0] * SHAPE[1]
    noise, net = dj.Masking(VOCAB), dj.nets.Transformer(VOCAB, SHAPE, WIDTH, DEPTH, causal=True)
    variables = net.init(jax.random.key(0), jnp.zeros((1, n), jnp.int32), jnp.zeros((1, 1)))
    given = (dj.keys(0, BATCH), noise, dj.order.raster, dj.denoiser(noise, net, variables), (n,))
    ways: dict[str, Callable[[], Any]] = {
        "sample": lambda: dj.sample(*given, steps=n),
        "decode.sample": lambda: dj.decode.sample(*given),
    }
    whole, cached = (np.asarray(way()) for way in ways.values())  # compiles both
    rounds = np.array([[seconds(way) for way in ways.values()] for _ in range(REPEATS)])
    print(f"batch {BATCH}, {n} tokens, width {WIDTH}, depth {DEPTH}, {jax.default_backend()}")
    print("| way | seconds | times faster | equal tokens |\n|---|---|---|---|")
    for name, column, tokens in zip(ways, rounds.T, (whole, cached), strict=True):
        ratio = np.median(rounds[:, 0] / column)
        print(f"| {name} | {np.median(column):.3f} | {ratio:.1f} | {np.mean(tokens == whole):.2%} |")


if __name__ == "__main__":
    main()
