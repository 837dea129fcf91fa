"""Convolutions whose gradient in the kernel is made of products: equal to XLA's, in every mode and rank."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from diffjax.nets import convolution
from diffjax.nets.convolution import ROWS, by_products, convolve
from diffjax.utils import processor

CHANNELS = 16
SHAPES = {1: (3, 6, CHANNELS), 2: (4, 5, 6, CHANNELS), 3: (2, 3, 4, 3, CHANNELS)}
Convolution = Callable[[Array, Array], Array]


@pytest.fixture(autouse=True)
def no_avx512(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "lacks_avx512", lambda: True)


@pytest.fixture(params=SHAPES)
def arguments(request: pytest.FixtureRequest) -> tuple[Array, Array]:
    rank = request.param
    x = jax.random.normal(jax.random.key(0), SHAPES[rank])
    return x, jax.random.normal(jax.random.key(1), (*(3,) * rank, CHANNELS, 5)) / CHANNELS


def ours(x: Array, kernel: Array) -> Array:
    return convolve(x, kernel, (1,) * (x.ndim - 2), "SAME", dimension_numbers=numbers(x.ndim))


def xla(x: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(x, kernel, (1,) * (x.ndim - 2), "SAME", dimension_numbers=numbers(x.ndim))


def numbers(ndim: int) -> tuple[str, str, str]:
    space = "DHW"[5 - ndim :]
    return f"N{space}C", f"{space}IO", f"N{space}C"


def assert_equal(left: object, right: object) -> None:
    """Up to rounding, by the largest number of an array."""

    def compare(a: Array, b: Array) -> None:
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6 * float(jnp.max(jnp.abs(b))))

    jax.tree.map(compare, left, right)


def test_values_and_all_derivatives_are_those_of_the_convolution(arguments: tuple[Array, Array]) -> None:
    """Backwards, forwards, one over the other, by batches of examples, compiled and computed anew."""
    directions = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(2), leaf.shape), arguments)

    def energy(function: Convolution) -> Convolution:
        return lambda x, kernel: jnp.sum(jnp.sin(function(x, kernel)))

    def derivatives(function: Convolution) -> tuple[object, ...]:
        scalar = energy(jax.checkpoint(function))
        push = lambda x, kernel: jax.jvp(scalar, (x, kernel), directions)[1]  # noqa: E731
        gradient = jax.grad(scalar, (0, 1))
        return (
            function(*arguments),
            gradient(*arguments),
            jax.jvp(function, arguments, directions)[1],
            jax.grad(push, (0, 1))(*arguments),
            jax.jvp(gradient, arguments, directions)[1],
            jax.vmap(lambda x: jax.grad(scalar, 1)(x[None], arguments[1]))(arguments[0]),
        )

    assert_equal(jax.jit(lambda: derivatives(ours))(), jax.jit(lambda: derivatives(xla))())


@pytest.mark.parametrize("examples", [1, 7, 4 * ROWS // 64])
def test_groups_of_examples_change_nothing(examples: int) -> None:
    """One example, a prime number of them, and several groups."""
    x = jax.random.normal(jax.random.key(0), (examples, 8, 8, CHANNELS))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, CHANNELS, 2)) / CHANNELS
    cotangent = jax.random.normal(jax.random.key(2), (examples, 8, 8, 2)) / examples
    assert_equal(by_products(x, kernel), xla(x, kernel))
    gradients = [jax.jit(jax.vjp(function, x, kernel)[1])(cotangent)[1] for function in (by_products, xla)]
    assert_equal(*gradients)


def test_the_processor_and_the_device_decide(monkeypatch: pytest.MonkeyPatch, arguments: tuple[Array, Array]) -> None:
    """Products only in a gradient, on a CPU without AVX-512, in float32 and of enough channels."""
    x, kernel = arguments

    def products(x: Array, kernel: Array, device: str = "cpu") -> int:
        gradient = jax.jit(jax.grad(lambda x, kernel: jnp.sum(ours(x, kernel) ** 2), 1))
        return gradient.trace(x, kernel).lower(lowering_platforms=(device,)).as_text().count("dot_general")

    assert products(x, kernel) >= 1
    assert products(x, kernel, "tpu") == 0
    assert products(x[..., :3], kernel[..., :3, :]) == 0
    assert products(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)) == 0
    assert "dot_general" not in jax.jit(ours).lower(x, kernel).as_text()
    push_x = jax.jit(lambda x: jax.jvp(lambda x: ours(x, kernel), (x,), (x,))[1])
    assert "dot_general" not in push_x.lower(x).as_text()
    monkeypatch.setattr(convolution, "lacks_avx512", lambda: False)
    assert products(x, kernel) == 0


@pytest.mark.parametrize(
    ("machine", "flags", "expected"), [("x86_64", "fpu avx2", True), ("x86_64", "avx2 avx512f", False)]
)
def test_flags_of_the_processor(monkeypatch, tmp_path, machine: str, flags: str, expected: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr(processor, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(processor.platform, "machine", lambda: machine)
    assert processor.lacks_avx512.__wrapped__() is expected
    monkeypatch.setattr(processor, "CPU_INFO", tmp_path / "none")
    assert processor.lacks_avx512.__wrapped__() is False
