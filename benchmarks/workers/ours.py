"""The cases of benchmarks/performance.py that have a peer, by diffjax, as a user writes them."""

from collections.abc import Callable
from functools import partial
from typing import Any

from diffjax.utils.heap import keep_heap

keep_heap()  # as train.py does, before JAX starts its threads

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree
from protocol import Call, Case, in_turns, serve

import diffjax as dj
from diffjax.loss.protocol import Loss
from diffjax.protocols import Net
from diffjax.training.optimizers import adamw
from diffjax.training.state import create
from diffjax.training.step import train_step

NOISE = dj.Gaussian(dj.schedule.cosine, dj.predict.v)
TOKENS = dj.Masking(256)
SMALL = dj.nets.UNet(width=48, multipliers=(1, 2, 2))
DEEP = dj.nets.UNet(width=48, multipliers=(1, 2, 2, 2))
STEPS = 10  # of ddim in one call


Work = tuple[Call, Callable[[], float]]  # and what counts its operations


def operations(function: jax.stages.Wrapped, *arguments: PyTree, calls: int = 1) -> float:
    """Floating-point operations of calls of a program without loops."""
    analysis: Any = function.lower(*arguments).cost_analysis()
    return calls * float(analysis["flops"])


def training(net: Net, loss: Loss, x: Array, train_step: Callable = train_step) -> Work:
    """One step of training in the form that `dj.fit` runs, and its operations."""
    optimizer = adamw(1_000)
    state = create(jax.random.key(0), net, optimizer, (0.999,), x, None)
    step = jax.jit(partial(train_step, net, loss, optimizer), donate_argnums=0)
    batch = {"x": x, "cond": None, "index": jnp.arange(len(x))}
    return repeated(step, state, batch), partial(operations, step, state, batch)


def repeated(step: Callable, state: PyTree, batch: PyTree) -> Call:
    """Each call is one step from the state that the last one left."""
    carried = [state]

    def call() -> None:
        carried[0], metrics = step(carried[0], batch)
        jax.block_until_ready((carried[0], metrics))

    return call


def denoising(net: Net, batch: int, shape: tuple[int, ...], train_step: Callable = train_step) -> Work:
    """Training by the loss of v-prediction."""
    x = jax.random.normal(jax.random.key(0), (batch, *shape))
    return training(net, dj.loss.regression(NOISE, dj.order.together), x, train_step)


def next_token(net: Net, batch: int, length: int) -> Work:
    """Training by the cross-entropy of each next token."""
    x = jax.random.randint(jax.random.key(0), (batch, length), 0, TOKENS.vocab)
    return training(net, dj.loss.causal(TOKENS, dj.order.raster), x)


def sampling(net: Net, batch: int, shape: tuple[int, ...], steps: int = STEPS) -> Work:
    """Steps of ddim."""
    x = jax.random.normal(jax.random.key(0), (batch, *shape))
    level = jnp.zeros((batch, 1, 1, 1))
    variables = jax.jit(net.init)(jax.random.key(0), x, level)
    denoise = dj.denoiser(NOISE, net, variables)
    given = (dj.keys(0, batch), NOISE, dj.order.together, denoise, shape)
    step = dj.steps.ddim()
    flops = partial(operations, jax.jit(net.apply), variables, x, level, calls=steps)
    return lambda: jax.block_until_ready(dj.sample(*given, steps=steps, step=step)), flops


def gemm() -> Work:
    """A product of two square matrices."""
    a = jax.random.normal(jax.random.key(0), (1024, 1024))
    product = jax.jit(jnp.matmul)
    return lambda: jax.block_until_ready(product(a, a)), partial(operations, product, a, a)


CASES = {
    "GEMM": gemm,
    "DiT step": lambda: denoising(dj.nets.DiT(patch=1, width=192, depth=6, heads=6), 32, (8, 8, 3)),
    "causal transformer step": lambda: next_token(
        dj.nets.Transformer(TOKENS.vocab, (64,), width=192, depth=6, heads=6, causal=True), 32, 64
    ),
    "U-Net step, 16x16x3": lambda: denoising(SMALL, 32, (16, 16, 3)),
    "U-Net step, 32x32x3": lambda: denoising(DEEP, 16, (32, 32, 3)),
    "ddim, 16x16x3, batch 1": lambda: sampling(SMALL, 1, (16, 16, 3)),
    "ddim, 16x16x3, batch 16": lambda: sampling(SMALL, 16, (16, 16, 3)),
    "ddim, 32x32x3, batch 16": lambda: sampling(DEEP, 16, (32, 32, 3)),
    "50 steps of ddim, 16x16x3, batch 1": lambda: sampling(SMALL, 1, (16, 16, 3), 50),
    "50 steps of ddim, 16x16x3, batch 16": lambda: sampling(SMALL, 16, (16, 16, 3), 50),
    "a small step": lambda: denoising(dj.nets.MLP(width=8, depth=1), 4, (2,)),
}


def case(make: Callable[[], Work]) -> Case:
    """One call in each round."""
    call, flops = make()
    return Case(in_turns(call), flops())


if __name__ == "__main__":
    serve({name: partial(case, make) for name, make in CASES.items()})
