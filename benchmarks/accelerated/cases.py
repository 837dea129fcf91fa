"""The cases of benchmarks/accelerator.py by diffjax: each yields the rows of a table, by the names of their columns."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, jaxprs_in_params
from jaxtyping import Array
from report import seconds

import diffjax as dj
from accelerated.models import NOISE, TOKENS, Model, Sizes, denoiser, examples, train_program
from diffjax.profiling.flops import count_flops
from diffjax.profiling.hlo_operations import read_program
from diffjax.profiling.operation_times import newest_trace, operation_times
from diffjax.profiling.sources import operation_source

ROUNDS, TRACED = 5, 3
Row = Mapping[str, Any]


def cases(sizes: Sizes) -> dict[str, Callable[[], Iterator[Row]]]:
    """By name."""
    trained = {name: partial(training, name, model, sizes.round_s) for name, model in sizes.models.items()}
    others = {"device": device, "decoding": decoding, "sampling": sampling, "convolutions": convolutions}
    largest = {"operations": partial(operations, sizes.models["DiT-XL/2"])}
    return {**trained, **{name: partial(case, sizes) for name, case in others.items()}, **largest}


def call_seconds(call: Callable[[], Any], round_s: float) -> float:
    """The median over rounds of several calls that do not wait for each other, after some that compile."""
    count = max(1, min(50, int(round_s / [seconds(call) for _ in range(2)][-1])))
    return statistics.median(seconds(lambda: [call() for _ in range(count)][-1]) / count for _ in range(ROUNDS))


def random(index: int, *shape: int) -> Array:
    """Normal numbers in bfloat16."""
    return jax.random.normal(jax.random.key(index), shape, jnp.bfloat16)


def device(sizes: Sizes) -> Iterator[Row]:
    """What it does at best, in bfloat16: a product of two matrices, and numbers read and written."""
    first = jax.local_devices()[0]
    side = sizes.matrix
    product_s = call_seconds(partial(jax.jit(jnp.matmul), random(0, side, side), random(1, side, side)), sizes.round_s)
    copy_s = call_seconds(partial(jax.jit(jnp.negative), random(2, sizes.copied)), sizes.round_s)
    rates = {"TFLOP/s": 2e-12 * side**3 / product_s, "GB/s": 4e-9 * sizes.copied / copy_s}
    yield {"case": f"{first.device_kind}, JAX {jax.__version__}", "platform": first.platform, **rates}


class Steps:
    """Steps of training, one after the other, each a call."""

    def __init__(self, model: Model) -> None:
        self.batch = examples(model)
        step, self.state, self.flops = train_program(model, self.batch)
        start = time.perf_counter()
        self.program: Any = step.lower(self.state, self.batch).compile()
        self.compile_s = time.perf_counter() - start

    def __call__(self) -> Any:
        self.state, metrics = self.program(self.state, self.batch)
        return metrics


def training(name: str, model: Model, round_s: float) -> Iterator[Row]:
    """Memory is the most that the device held, or the compiler's account of it."""
    steps = Steps(model)
    spent, memory, batch = call_seconds(steps, round_s), steps.program.memory_analysis(), len(steps.batch["x"])
    held = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    held = held or memory.argument_size_in_bytes + memory.temp_size_in_bytes
    rates = {"batch": batch, "ms": 1e3 * spent, "examples/s": batch / spent, "TFLOP/s": 1e-12 * steps.flops / spent}
    yield {"case": name, **rates, "GB": 1e-9 * held, "s to compile": steps.compile_s}


def operations(model: Model) -> Iterator[Row]:
    """The ten that take most of a step of training."""
    steps = Steps(model)
    jax.block_until_ready([steps() for _ in range(TRACED)])
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            traced_s = seconds(lambda: [steps() for _ in range(TRACED)])
        program = read_program(steps.program.as_text())
        times = operation_times(newest_trace(Path(folder)), program, traced_s)
    for name, spent in sorted(times.items(), key=lambda item: -item[1])[:10]:
        operation = program.operations.get(name)
        source = operation and operation_source(operation.op_name)
        about = f", {operation.kind}, {source.module}{', backward' * source.backward}" if operation and source else ""
        yield {"case": f"{name}{about}", "ms": 1e3 * spent / TRACED, "share": spent / sum(times.values())}


def decoding(sizes: Sizes) -> Iterator[Row]:
    """The causal transformer, with its key-value cache and by whole passes."""
    model = sizes.models["transformer"]
    noise, steps = TOKENS(), prod(model.shape)
    denoise = denoiser(model, noise)
    for batch in sizes.batches:
        given = (dj.keys(0, batch), noise, dj.order.raster, denoise, model.shape)
        cached_s = call_seconds(partial(dj.sampling.cached.sample, *given), sizes.round_s)
        whole_s = call_seconds(partial(dj.sample, *given, steps=steps), sizes.round_s)
        rates = {"cached tokens/s": batch * steps / cached_s, "whole passes": batch * steps / whole_s}
        yield {"case": "transformer", "batch": batch, **rates, "times faster": whole_s / cached_s}


def sampling(sizes: Sizes) -> Iterator[Row]:
    """Plain steps, and guided ones of half the batch, which call the net with as many examples."""
    model, plain_s = sizes.models["DiT-XL/2"], 0.0
    plain = denoiser(model, NOISE())
    guided = dj.guidance.cfg(plain, 4.0, null=model.net.null_cond)
    options: dict[str, Any] = {"steps": sizes.steps, "step": dj.steps.ddim()}
    for name, denoise, batch in (("plain", plain, 2 * sizes.sampled), ("guided", guided, sizes.sampled)):
        given = (dj.keys(0, batch), NOISE(), dj.order.together, denoise, model.shape)
        spent = call_seconds(partial(dj.sample, *given, cond=examples(model, batch)["cond"], **options), sizes.round_s)
        plain_s = plain_s or spent
        rates = {"batch": batch, "ms": 1e3 * spent / sizes.steps, "examples/s": batch / spent}
        yield {"case": name, **rates, "over plain": spent / plain_s}


def convolutions(sizes: Sizes) -> Iterator[Row]:
    """Every shape of the U-Net's, forward and both gradients, in bfloat16."""
    model = sizes.models["U-Net"]
    x, level = examples(model)["x"], jnp.zeros((1, 1, 1, 1))
    variables = jax.eval_shape(model.net.init, jax.random.key(0), x, level)
    traced = jax.make_jaxpr(model.net.apply)(variables, x, level)
    for shape in dict.fromkeys(convolution_shapes(traced.jaxpr)):
        yield from convolution(*shape, round_s=sizes.round_s)


def convolution_shapes(jaxpr: Jaxpr) -> Iterator[tuple[Any, ...]]:
    """Image, kernel, strides and padding of each."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            variables: list[Any] = equation.invars
            shapes = (variable.aval.shape for variable in variables)
            yield *shapes, equation.params["window_strides"], equation.params["padding"]
        for inner in jaxprs_in_params(equation.params):
            yield from convolution_shapes(inner)


def convolution(image: tuple[int, ...], kernel: tuple[int, ...], strides: Any, padding: Any, round_s: float) -> Any:
    """Of images [b, h, w, i] by a kernel [h, w, i, o]; each gradient has as many FLOPs."""
    layout = ("NHWC", "HWIO", "NHWC")
    forward = partial(jax.lax.conv_general_dilated, window_strides=strides, padding=padding, dimension_numbers=layout)
    x, w = random(0, *image), random(1, *kernel)
    out = random(2, *jax.eval_shape(forward, x, w).shape)
    flops = count_flops(forward, x, w).total()
    ways = {
        "forward": lambda x, w, out: forward(x, w),
        "input": lambda x, w, out: jax.vjp(lambda x: forward(x, w), x)[1](out),
        "kernel": lambda x, w, out: jax.vjp(lambda w: forward(x, w), w)[1](out),
    }
    about = {"image": image, "kernel": kernel, "strides": strides, "padding": padding}
    for direction, way in ways.items():
        spent = call_seconds(partial(jax.jit(way), x, w, out), round_s)
        case = f"{direction}, {'x'.join(map(str, image))} by {'x'.join(map(str, kernel))}"
        yield {"case": case, **about, "direction": direction, "ms": 1e3 * spent, "TFLOP/s": 1e-12 * flops / spent}
