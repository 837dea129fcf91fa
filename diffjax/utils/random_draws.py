"""The random bits of a whole traced function as one draw.

XLA compiles a random number generator of its own for each shape that a function draws: for the parameters of a small
net that takes five times as long as everything else. Here the bits are drawn first, by one program that nets of similar
size share, and the function takes its slices. They are the bits that it would have drawn.
"""

from collections.abc import Callable, Iterator
from functools import cache, partial
from math import prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray, eval_jaxpr
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var
from jax.extend.core.primitives import jit_p, random_bits_p
from jax.typing import ArrayLike
from jaxtyping import Array, Int32, Key, UInt32

MAX_BITS = 2**24  # numbers drawn at once; beyond, memory counts for more than a compilation

Value = ArrayLike  # of an equation
Lazy = Callable[[], Value]  # a value, computed when it is asked for
Draw = Callable[[Lazy, JaxprEqn], Lazy]


class Request(NamedTuple):
    """The keys of one draw, and the numbers that each of them draws."""

    keys: Key[Array, " k"]
    numbers: int


def draw_bits(traced: ClosedJaxpr, consts: list[Value], arguments: list[Value]) -> UInt32[Array, " n"] | None:
    """The bits that `evaluate_with_bits` takes, for keys among the arguments.

    None for keys of another generator than JAX's default or that depend on drawn numbers, and beyond MAX_BITS.
    """
    requests: list[Request] = []

    def record(key: Lazy, equation: JaxprEqn) -> Lazy:
        if _is_joint(equation):
            requests.append(Request(jnp.ravel(key()), prod(equation.params["shape"])))
        return _raise_drawn

    try:
        _evaluate(traced.jaxpr, map(_constant, consts), map(_constant, arguments), record)
    except _DependsOnDrawn:
        return None
    sizes = [request.numbers for request in requests for _ in range(len(request.keys))]
    if not sizes or sum(sizes) > MAX_BITS:
        return None
    keys = jnp.concatenate([jax.random.key_data(request.keys) for request in requests])
    starts = np.cumsum([0, *sizes[:-1]], dtype=np.int32)
    padding = _round_up(len(sizes)) - len(sizes)
    keys = jnp.pad(keys, ((0, padding), (0, 0)))
    starts = np.pad(starts, (0, padding), constant_values=np.iinfo(np.int32).max)
    return _joint_bits(keys, starts, _round_up(sum(sizes)))


def evaluate_with_bits(
    traced: ClosedJaxpr, bits: UInt32[Array, " n"] | None, consts: list[Value], arguments: list[Value]
) -> list[Value]:
    """The outputs of a traced function that draws these bits; where they are None it draws its own."""
    if bits is None:
        return eval_jaxpr(traced.jaxpr, consts, *arguments)
    drawn = 0

    def take(key: Lazy, equation: JaxprEqn) -> Lazy:
        nonlocal drawn
        if not _is_joint(equation):
            return lambda: random_bits_p.bind(key(), **equation.params)
        shape = _array_type(equation.outvars[0]).shape
        start, drawn = drawn, drawn + prod(shape)
        return lambda: bits[start : start + prod(shape)].reshape(shape)

    return [value() for value in _evaluate(traced.jaxpr, map(_constant, consts), map(_constant, arguments), take)]


def _evaluate(jaxpr: Jaxpr, consts: Iterator[Lazy], arguments: Iterator[Lazy], draw: Draw) -> list[Lazy]:
    """The outputs, each of which computes what it depends on when it is asked for; `draw` is called for every draw."""
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *arguments], strict=True))

    def read(atom: Var | Literal) -> Lazy:
        return _constant(atom.val) if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        if equation.primitive is random_bits_p:
            outputs = [draw(inputs[0], equation)]
        elif equation.primitive is jit_p:
            inner = equation.params["jaxpr"]
            outputs = _evaluate(inner.jaxpr, map(_constant, inner.consts), iter(inputs), draw)
        else:
            outputs = _apply(jaxpr, equation, inputs)
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _apply(jaxpr: Jaxpr, equation: JaxprEqn, inputs: list[Lazy]) -> list[Lazy]:
    """The outputs of one equation of a function."""
    free = [i for i, atom in enumerate(equation.invars) if not isinstance(atom, Literal)]
    alone = jaxpr.replace(
        constvars=[],
        invars=[equation.invars[i] for i in free],
        outvars=equation.outvars,
        eqns=[equation],
        effects=equation.effects,
        debug_info=jaxpr.debug_info.with_unknown_names(),
    )

    @cache
    def outputs() -> list[Value]:
        return eval_jaxpr(alone, [], *(inputs[i]() for i in free))

    return [lambda i=i: outputs()[i] for i in range(len(equation.outvars))]


def _constant(value: Value) -> Lazy:
    return lambda: value


class _DependsOnDrawn(Exception):
    """A key is computed from random numbers."""


def _raise_drawn() -> Array:
    raise _DependsOnDrawn


def _is_joint(equation: JaxprEqn) -> bool:
    """Whether a draw is of 32-bit numbers of which number i is a function of the key and i alone."""
    threefry = jax.eval_shape(partial(jax.random.key, impl="threefry2x32"), 0).dtype
    same_kind = _array_type(equation.invars[0]).dtype == threefry and equation.params["bit_width"] == 32
    return same_kind and jax.config.values["jax_threefry_partitionable"]


def _array_type(atom: Var | Literal) -> ShapedArray:
    assert isinstance(atom.aval, ShapedArray)
    return atom.aval


def _round_up(count: int) -> int:
    """The next power of two, so that few programs serve all sizes."""
    return 1 << (count - 1).bit_length()


@partial(jax.jit, static_argnums=2)
def _joint_bits(keys: UInt32[Array, "k 2"], starts: Int32[Array, " k"], count: int) -> UInt32[Array, " n"]:
    """Number i - starts[j] of key j for all i from starts[j] to starts[j + 1], for `jax.random.bits` of each key."""
    place = jnp.arange(count)
    owner = jnp.searchsorted(starts, place, side="right") - 1
    hashed = jax.vmap(jax.random.fold_in)(
        jax.random.wrap_key_data(keys[owner], impl="threefry2x32"), place - starts[owner]
    )
    return jnp.bitwise_xor(*jnp.moveaxis(jax.random.key_data(hashed), -1, 0))
