"""What the sampler costs beyond its denoiser, and how its memory grows with the steps: python benchmarks/overhead.py"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from timing import seconds

import diffjax as dj

STEPS = 50
NETS = {
    "DiT, width 128, depth 4, 64 tokens": (dj.nets.DiT(patch=1, width=128, depth=4), (8, 8, 1), 16, 24, 1.02),
    "MLP, width 64, depth 2": (dj.nets.MLP(width=64, depth=2), (2,), 16, 200, 1.06),
}


def main() -> None:
    """Sampler and bare calls in turn, each one compiled scan; ratios within each round."""
    print("| net | ms a call | sampler / bare calls, median | limit | temporary bytes, 10 steps | 100 steps |")
    print("|---|---|---|---|---|---|")
    noise = dj.Gaussian(dj.schedule.cosine, dj.predict.v)
    for name, (net, shape, batch, count, limit) in NETS.items():
        x = jnp.zeros((batch, *shape))
        variables = jax.jit(net.init)(jax.random.key(0), x, jnp.zeros((batch,) + (1,) * len(shape)))
        denoise = dj.denoiser(noise, net, variables)
        keys = dj.keys(0, batch)
        start = jax.random.normal(jax.random.key(1), x.shape)
        ways = (sampler(noise, keys, denoise, start, STEPS), bare(denoise, start, STEPS))
        rounds = np.array([timed(ways, turn) for turn in range(count + 2)])[2:]
        small, large = (buffers(noise, keys, denoise, start, steps) for steps in (10, 100))
        ratio, call = np.median(rounds[:, 0] / rounds[:, 1]), 1000 * np.median(rounds[:, 1]) / STEPS
        print(f"| {name} | {call:.3f} | {ratio:.3f} | {limit} | {small:,} | {large:,} |", flush=True)
        if len(shape) == 1:
            each = min(stepped(noise, keys, denoise, start, 200) for _ in range(5))
            print(f"\ndj.stepwise: {1000 * each:.3f} ms a step in all, of which the limit is 0.5 for dispatch")


def sampler(noise: Any, keys: Any, denoise: Any, start: jax.Array, steps: int) -> Callable[[], Any]:
    """That many steps of ddim, grid and plan made before."""
    call = jax.jit(lambda keys, denoise, start: drawn(noise, keys, denoise, start, steps))
    return lambda: call(keys, denoise, start)


def drawn(noise: Any, keys: Any, denoise: Any, start: jax.Array, steps: int) -> jax.Array:
    """The sample itself."""
    options = {"steps": steps, "start": start, "step": dj.steps.ddim()}
    return dj.sample(keys, noise, dj.order.together, denoise, start.shape[1:], **options)


def bare(denoise: Any, start: jax.Array, steps: int) -> Callable[[], Any]:
    """The same calls of the denoiser, each on what the last one gave."""

    @jax.jit
    def call(denoise: Any, start: jax.Array) -> jax.Array:
        def body(x: jax.Array, t: jax.Array) -> tuple[jax.Array, None]:
            return denoise(x, jnp.full((len(x),) + (1,) * (x.ndim - 1), t), None), None

        return jax.lax.scan(body, start, jnp.linspace(1.0, 0.0, steps + 1)[:-1])[0]

    return lambda: call(denoise, start)


def buffers(noise: Any, keys: Any, denoise: Any, start: jax.Array, steps: int) -> int:
    """Bytes of memory that the compiled sampler needs beyond its arguments and its result."""
    call = jax.jit(lambda keys, denoise, start: drawn(noise, keys, denoise, start, steps))
    return call.lower(keys, denoise, start).compile().memory_analysis().temp_size_in_bytes


def stepped(noise: Any, keys: Any, denoise: Any, start: jax.Array, steps: int) -> float:
    """Seconds of one step of a host loop."""
    options = {"steps": steps, "start": start, "step": dj.steps.ddim()}
    loop = lambda: list(dj.stepwise(keys, noise, dj.order.together, denoise, start.shape[1:], **options))[-1]  # noqa: E731
    return seconds(loop) / steps


def timed(ways: tuple[Callable[[], Any], ...], turn: int) -> list[float]:
    """Seconds of each way; every other turn begins with the last, for the first may find caches otherwise."""
    order = range(len(ways)) if turn % 2 else reversed(range(len(ways)))
    found = {i: seconds(ways[i]) for i in order}
    return [found[i] for i in range(len(ways))]


if __name__ == "__main__":
    main()
