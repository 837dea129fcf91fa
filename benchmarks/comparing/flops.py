"""Floating-point operations of compiled programs: of one step, since the body of a loop is counted once."""

from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from diffjax.commands import training_plan
from diffjax.commands.image_sampler import ImageSampler, count_evaluations
from diffjax.denoising import needs_rank
from diffjax.experiment import run_record
from diffjax.sampling import cached
from diffjax.sampling.arguments import ClockStep, Inputs, Sampler
from diffjax.sampling.loop import init_state, sampling_step, step_coefficients
from diffjax.training import data_parallel
from diffjax.training.step import train_step
from diffjax.utils.closures import as_pytree
from diffjax.utils.prng import keys

BATCH = 8  # examples that share what a program does once


def of(function: Callable[..., Any], *args: Any) -> float:
    """What the compiled program says of itself; `function` must hold no loop."""
    leaves, tree = jax.tree.flatten(args)
    program = jax.jit(lambda *leaves: jax.tree.leaves(function(*jax.tree.unflatten(tree, leaves))))
    analysis: Any = program.lower(*leaves).compile().cost_analysis()
    return float(analysis["flops"])


def of_sample(painter: ImageSampler) -> float:
    """Of one picture: one step of the sampler, as it is drawn, times their number."""
    steps = len(painter.grid) - 1
    blocks, head_calls = count_evaluations(painter)
    if head_calls:
        context, head = _parts(painter)
        return blocks * context + head_calls * head
    by_cache = needs_rank(painter.net) and cached.is_one_per_step(painter.grid, prod(painter.data.shape))
    return steps * (_next(painter) if by_cache else _step(painter))


def of_training_step(workdir: Path) -> float:
    """Of one step of a run's training, over the whole batch."""
    config = run_record.read_record(workdir).config
    made = training_plan.plan_training(config, workdir)
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf[0, 0]), data_parallel.shard_batches([next(made.stream)], 1, 1))
    setup = made.setup
    return of(partial(train_step, setup.net, setup.loss, setup.optimizer), made.start, batch)


def _step(p: ImageSampler) -> float:
    """One step from each of `BATCH` states, for each."""
    sampler = Sampler(p.noise, p.order, p.step, tuple(p.data.encoding.shape(p.data.shape)))
    inputs = Inputs(keys(0, BATCH), as_pytree(p.denoise), _labels(p))
    x, rank, carry = init_state(inputs.keys, None, p.noise, p.order, p.step, sampler.shape)
    row = jax.tree.map(lambda rows: jnp.asarray(rows[0]), step_coefficients(p.step, p.noise, p.grid))
    stop = ClockStep(jnp.asarray(0), p.grid[0], p.grid[1], row)
    return of(partial(sampling_step, sampler=sampler), inputs, rank, stop, (x, carry)) / BATCH


def _parts(p: ImageSampler) -> tuple[float, float]:
    """The large part of a net for each of `BATCH` pictures, and its head for the pixels of one block."""
    net: Any = p.net
    denoise: Any = p.denoise
    x = jnp.zeros((BATCH, *p.data.encoding.shape(p.data.shape)))
    level = jnp.ones((*x.shape[:-1], 1))
    places = jnp.zeros((BATCH, -(-prod(x.shape[1:-1]) // p.order.blocks)), jnp.int32)
    context = partial(net.apply, method="context")
    z = jnp.zeros(jax.eval_shape(context, denoise.variables, x, level, _labels(p)).shape)
    head = of(partial(net.apply, method="head"), denoise.variables, x, level, z, places)
    return of(context, denoise.variables, x, level, _labels(p)) / BATCH, head / BATCH


def _next(p: ImageSampler) -> float:
    """One token of each of `BATCH` sequences with their caches, for each."""
    net: Any = p.net
    first = jnp.zeros(BATCH, jnp.int32)

    def one(variables: Any, token: Any, here: Any, there: Any, cond: Any, caches: Any) -> Any:
        return net.apply(variables, token, here, there, cond, caches, method="decode_step")

    denoise: Any = p.denoise
    return of(one, denoise.variables, first, first, first, _labels(p), net.init_cache(BATCH)) / BATCH


def _labels(p: ImageSampler) -> Any:
    return None if p.net.null_cond is None else jnp.zeros(BATCH, jnp.int32)
