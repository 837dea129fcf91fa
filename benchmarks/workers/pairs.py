"""The cases of benchmarks/performance.py that compare two calls of diffjax: a path, and what it is measured against."""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise, repeat
from pathlib import Path
from unittest.mock import patch

from ours import NOISE, SMALL, TOKENS, denoising, repeated  # isort: skip: it keeps the heap before JAX starts

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from overhead import over_calls
from protocol import Call, Case, Seconds, clocks, in_turns, seconds, serve

import diffjax as dj
from diffjax.commands.training_plan import plan_training
from diffjax.commands.training_summary import run_steps
from diffjax.data import pipeline
from diffjax.experiment.config import Config, Data, Model
from diffjax.loss.protocol import Loss
from diffjax.protocols import Net
from diffjax.sampling.driver import sample_for
from diffjax.training import step as training
from diffjax.training.data_parallel import shard_batches
from diffjax.training.progress import Log, RunLength
from diffjax.training.state import State
from diffjax.training.step import Metrics, train_step

sys.path.extend(map(str, Path(__file__).parents[1:3]))

from evaluation import write_pictures

from configs import digits

STEPS = 10
WARM_ROUNDS = 3  # of steps in the trainer, one of them before the first event
TRAINED_ROUNDS = 9
DIT = dj.nets.DiT(patch=1, width=192, depth=6, heads=6, classes=10)
CAUSAL = dj.nets.Transformer(TOKENS.vocab, (64,), width=128, depth=4, causal=True)
MAR = dj.nets.MAR(width=64, depth=4, heads=2, head_width=64, head_depth=3, octaves=4)
PICTURES = Config(Data(batch_size=16), Model("UNet(width=48, multipliers=(1, 2, 2))"))


def initialized(net: Net, x: jax.Array, level: jax.Array) -> PyTree:
    """Variables, none of which is 0."""
    variables = jax.jit(net.init)(jax.random.key(0), x, level)
    return jax.tree.map(lambda leaf: leaf + 0.01, variables)


def ready(function: Callable[..., PyTree], *arguments: PyTree, **options: PyTree) -> Call:
    """The call, until its arrays are there."""
    return lambda: jax.block_until_ready(function(*arguments, **options))


def decoding(batch: int) -> Case:
    """64 tokens, one after the other: the whole net at each step, and the cache."""
    variables = initialized(CAUSAL, jnp.zeros((1, 64), jnp.int32), jnp.zeros((1, 1)))
    given = (dj.keys(0, batch), TOKENS, dj.order.raster, dj.denoiser(TOKENS, CAUSAL, variables), (64,))
    return Case(in_turns(ready(dj.sample, *given, steps=64), ready(dj.sampling.cached.sample, *given)))


def blockwise(batch: int) -> Case:
    """16 blocks of 4 pixels, each in 10 steps: the whole net at each step, and the head alone within a block."""
    noise = dj.Gaussian(dj.schedule.cosine, dj.predict.v, 0.75)
    variables = initialized(MAR, jnp.zeros((1, 8, 8, 1)), jnp.ones((1, 8, 8, 1)))
    order = dj.order.blocks(16, shuffled=True)
    given = (dj.keys(0, batch), noise, order, dj.denoiser(noise, MAR, variables), (8, 8, 1))
    options = {"grid": dj.grids.repeat_per_block(dj.grids.uniform(noise, 10), 16), "step": dj.steps.ddim()}
    return Case(in_turns(ready(dj.sample, *given, **options), ready(dj.sampling.blockwise.sample, *given, **options)))


def guided(net: dj.nets.DiT | dj.nets.UNet, batch: int, shape: tuple[int, ...]) -> Case:
    """Steps of ddim with guidance, and without it at twice the batch."""
    x = jnp.zeros((1, *shape))
    plain = dj.denoiser(NOISE, net, initialized(net, x, jnp.zeros((1, 1, 1, 1))))
    guidance = dj.guidance.cfg(plain, scale=2.0, null=net.null_cond)

    def call(denoise: Callable, count: int) -> Call:
        given = (dj.keys(0, count), NOISE, dj.order.together, denoise, shape)
        labels = jnp.arange(count) % 10
        return ready(sample_for(net), *given, cond=labels, steps=STEPS, step=dj.steps.ddim())

    return Case(in_turns(call(guidance, batch), call(plain, 2 * batch)))


def host_loop(batch: int, shape: tuple[int, ...]) -> Case:
    """Sampling by a convolutional net as it is chosen on a CPU, and as many calls of the net."""
    x = jax.random.normal(jax.random.key(0), (batch, *shape))
    denoise = dj.denoiser(NOISE, SMALL, initialized(SMALL, x, jnp.ones((batch, 1, 1, 1))))
    return over_calls(sample_for(SMALL), NOISE, x, denoise, dj.steps.ddim())


def unchecked_step(net: Net, loss: Loss, *others: PyTree) -> tuple[State, Metrics]:
    """`train_step` where all is known to be finite, so that the compiler leaves nothing of the check."""
    optimizer, state, batch = others
    with patch.object(training, "all_finite", lambda tree: jnp.ones((), bool)):
        return train_step(net, loss, optimizer, replace(state, halted=jnp.zeros((), bool)), batch)


def check(net: Net, batch: int, shape: tuple[int, ...]) -> Case:
    """A step with the finite check, and one without."""
    return Case(in_turns(*(denoising(net, batch, shape, step)[0] for step in (train_step, unchecked_step))))


def sizes(large: tuple[int, ...], small: tuple[int, ...], batch: int) -> Case:
    """A step at 64x64x3 and one at 32x32x3, of U-Nets of these multipliers."""
    nets = [(dj.nets.UNet(width=48, multipliers=multipliers), side) for multipliers, side in ((large, 64), (small, 32))]
    return Case(in_turns(*(denoising(net, batch, (side, side, 3))[0] for net, side in nets)))


def trained(config: Config, steps: int) -> Case:
    """Steps of train.py, with its data and its logs, and as many bare ones, which an event of the run takes."""
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_training(config, Path(folder))
        setup, train, size = plan.setup, plan.config.train, plan.config.data.batch_size
        step = jax.jit(partial(train_step, setup.net, setup.loss, setup.optimizer), donate_argnums=0)
        batch = jax.tree.map(lambda leaf: leaf[0, 0], shard_batches([next(plan.stream)], 1, 1))
        bare = repeated(step, jax.tree.map(jnp.copy, plan.start), batch)
        log = Log(plan.writers, RunLength(0, train.steps, train.log_every_steps, size), quiet=True)
        ends: list[Seconds] = []

        def event(step: int, state: State, metrics: Metrics) -> None:
            ends.append(clocks())
            for _ in range(steps):
                bare()
            ends.append(clocks())

        run_steps(plan, (WARM_ROUNDS + TRAINED_ROUNDS) * steps, events=[(steps, event)], watch=log.log_steps)
        log.close()
    spent = [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(ends)]
    return Case(zip(spent[2 * WARM_ROUNDS - 1 :: 2], spent[2 * WARM_ROUNDS :: 2], strict=False))


def pictures(count: int, steps: int, resident: bool) -> Case:
    """`trained` on a folder of pictures, which are kept in memory or read at each step."""
    pipeline.RESIDENT_BYTES *= resident
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder), 32, count)
        return trained(replace(PICTURES, data=replace(PICTURES.data, name=f"folder:{folder}")), steps)


def state_bytes() -> Case:
    """MB of the arrays on the device while `dj.fit` runs, and of parameters, AdamW's moments and averages."""
    net = dj.nets.MLP(width=512, depth=4)
    found: list[float] = []

    def event(step: int, state: State, metrics: Metrics) -> None:
        parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        found.extend((sum(array.nbytes for array in jax.live_arrays()), 4 * parameters * (3 + len(state.emas))))

    batches = iter(lambda: {"x": np.zeros((8, 2), np.float32)}, None)
    loss = dj.loss.regression(NOISE, dj.order.together)
    dj.fit(dj.keys(0, 1), net, loss, batches, 3, events=[(0, event)])
    return Case(repeat([(size / 1e9, size / 1e9) for size in found]))  # a thousandth of MB, as of seconds


def compilation(scan: bool) -> Case:
    """Seconds in which state, optimizer and step of a DiT of 28 blocks compile."""
    jax.config.update("jax_enable_compilation_cache", False)
    net = dj.nets.DiT(patch=1, width=192, depth=28, heads=6, scan=scan)
    return Case(repeat([seconds(lambda: denoising(net, 4, (8, 8, 3))[0]())]))


LABELLED = dj.nets.UNet(width=48, multipliers=(1, 2, 2), classes=10)
CASES = {
    "uncached over cached decoding, batch 1": lambda: decoding(1),
    "uncached over cached decoding, batch 64": lambda: decoding(64),
    "sample over blockwise.sample, batch 64": lambda: blockwise(64),
    "guided step over a plain one of twice the batch, DiT": lambda: guided(DIT, 8, (8, 8, 3)),
    "guided step over a plain one of twice the batch, U-Net": lambda: guided(LABELLED, 8, (16, 16, 3)),
    "host loop over calls of the net, U-Net, batch 1": lambda: host_loop(1, (16, 16, 3)),
    "host loop over calls of the net, U-Net, batch 16": lambda: host_loop(16, (16, 16, 3)),
    "train.py over bare steps, configs/digits.py": lambda: trained(digits.get_config(), 50),
    "train.py over bare steps, 32x32x3, folder in memory": lambda: pictures(512, 8, True),
    "train.py over bare steps, 32x32x3, folder read": lambda: pictures(512, 8, False),
    "finite check over none, DiT": lambda: check(DIT, 32, (8, 8, 3)),
    "finite check over none, U-Net": lambda: check(SMALL, 32, (16, 16, 3)),
    "64x64x3 over 32x32x3, attention at one depth": lambda: sizes((1, 2), (1, 2), 8),
    "64x64x3 over 32x32x3, attention at 64 tokens": lambda: sizes((1, 2, 2, 2), (1, 2, 2), 8),
    "MB on the device over MB of the state": state_bytes,
    "compilation, 28 blocks, scan=True": lambda: compilation(True),
    "compilation, 28 blocks, scan=False": lambda: compilation(False),
    "a small finite check": lambda: check(dj.nets.MLP(width=8, depth=1), 4, (2,)),
}

if __name__ == "__main__":
    serve(CASES)
