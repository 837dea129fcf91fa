"""The cases of benchmarks/performance.py by diffjax, as a user writes them."""

import sys
from functools import partial

from diffjax.utils.heap import keep_heap

keep_heap()  # as train.py does, before JAX starts its threads

import jax
import jax.numpy as jnp
from protocol import Call, serve

import diffjax as dj
from diffjax.protocols import Net
from diffjax.training.optimizers import adamw
from diffjax.training.state import create
from diffjax.training.step import train_step

NOISE = dj.Gaussian(dj.schedule.cosine, dj.predict.v)
SMALL = dj.nets.UNet(width=48, multipliers=(1, 2, 2))
STEPS = 10  # of ddim in one call


def training(net: Net, batch: int, shape: tuple[int, ...]) -> Call:
    """One step of training in the form that `dj.fit` runs: gradient, AdamW, an average, the finite check."""
    optimizer = adamw(1_000)
    x = jax.random.normal(jax.random.key(0), (batch, *shape))
    state = create(jax.random.key(0), net, optimizer, (0.999,), x, None)
    loss = dj.loss.regression(NOISE, dj.order.together)
    step = jax.jit(partial(train_step, net, loss, optimizer), donate_argnums=0)
    carried = [state]

    def call() -> None:
        carried[0], metrics = step(carried[0], {"x": x, "cond": None, "index": jnp.arange(batch)})
        jax.block_until_ready((carried[0], metrics))

    return call


def sampling(net: Net, batch: int, shape: tuple[int, ...]) -> Call:
    """STEPS steps of ddim."""
    x = jax.random.normal(jax.random.key(0), (batch, *shape))
    variables = jax.jit(net.init)(jax.random.key(0), x, jnp.zeros((batch, 1, 1, 1)))
    denoise = dj.denoiser(NOISE, net, variables)
    keys = dj.keys(0, batch)
    options = {"steps": STEPS, "step": dj.steps.ddim()}
    return lambda: jax.block_until_ready(dj.sample(keys, NOISE, dj.order.together, denoise, shape, **options))


CASES = {
    "DiT step": lambda: training(dj.nets.DiT(patch=1, width=192, depth=6, heads=6), 32, (8, 8, 3)),
    "U-Net step, 16x16x3": lambda: training(SMALL, 32, (16, 16, 3)),
    "U-Net step, 32x32x3": lambda: training(dj.nets.UNet(width=48, multipliers=(1, 2, 2, 2)), 16, (32, 32, 3)),
    "ddim, 16x16x3, batch 1": lambda: sampling(SMALL, 1, (16, 16, 3)),
    "ddim, 16x16x3, batch 16": lambda: sampling(SMALL, 16, (16, 16, 3)),
}

if __name__ == "__main__":
    sys.argv[0] = "ours"
    serve(CASES)
