"""What a function captured, taken apart: arrays, and parts by which functions are compared and built again.

A part is a tree of frozen records, equal where functions do the same with their arrays in the same places.
"""

import builtins
import enum
import functools
import types
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffjax.code import is_own, is_users, is_value, look

_JITTED = type(jax.jit(lambda: 0))
_PLAIN = (types.NoneType, bool, int, float, complex, str, bytes, np.dtype, np.generic, enum.Enum, slice, range)
_FOR_EVER = (types.ModuleType, type, types.BuiltinFunctionType, types.MethodDescriptorType, np.ufunc, jnp.ufunc)


class Opaque(Exception):
    """What cannot be told from its like by looking at it."""


@dataclass(frozen=True)
class _Leaf:
    """An array: number `place` of those that are passed."""

    place: int


@dataclass(frozen=True)
class _Constant:
    """A value that does the same wherever it is equal; its text tells 1 from True, and 0.0 from -0.0."""

    value: Any
    text: str


class Identity:
    """A value that is equal to itself alone, and is not kept alive. Raises TypeError where it cannot be held so."""

    def __init__(self, value: Any) -> None:
        self.ref, self._hash = weakref.ref(value), id(value)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Identity) and self.ref() is not None and self.ref() is other.ref())

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True)
class _Tree:
    """A pytree of parts."""

    structure: Any
    parts: tuple[Any, ...]


@dataclass(frozen=True)
class _Call:
    """What `make` gives of some parts: a method of a function and its owner, a partial function."""

    make: Any
    parts: tuple[Any, ...]


@dataclass(frozen=True)
class _Function:
    """A function: its code, a part for each thing that it captured, and the globals of one that is of a library.

    `read` are the globals that a user's function reads, and as `module.name` numbers that it may read of modules of the
    user's, by which it is only compared.
    """

    code: types.CodeType
    library: Any
    defaults: _Tree
    cells: tuple[Any, ...]
    read: tuple[tuple[str, Any], ...]


class _Globals:
    """The globals of a module, equal to themselves alone."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Globals) and self.names is other.names

    def __hash__(self) -> int:
        return id(self.names)


def split(value: Any, arrays: list[Any], within: tuple[Any, ...] = ()) -> Any:
    """The part of a value; its arrays are added to those that are passed. Raises Opaque.

    `within` are the functions that are being taken apart.
    """
    if isinstance(value, jax.Array | np.ndarray):
        if isinstance(value, np.ndarray) and value.dtype.kind not in "biufc" and value.dtype.name != "bfloat16":
            raise Opaque
        arrays.append(value)
        return _Leaf(len(arrays) - 1)
    if isinstance(value, _PLAIN):
        return _Constant(value, repr(value))
    if isinstance(value, types.FunctionType):
        return _split_function(value, arrays, within)
    if isinstance(value, types.MethodType):
        return _split_call(types.MethodType, (value.__func__, value.__self__), arrays, within)
    if type(value) is functools.partial:
        return _split_call(_partial, (value.func, value.args, value.keywords), arrays, within)
    if isinstance(value, _FOR_EVER):
        return _Constant(value, "")
    if isinstance(value, _JITTED | jax.custom_jvp | jax.custom_vjp):
        return Identity(value)
    if not jax.tree_util.all_leaves([value]):
        return _split_tree(value, arrays, within)
    if is_value(value):
        return _Constant(_hashable(value), "")
    raise Opaque


def alone_of(method: types.MethodType) -> Any:
    """The part of a method that is known by its owner alone. Raises TypeError where that cannot be held so."""
    return _Call(types.MethodType, (_Constant(method.__func__, ""), Identity(method.__self__)))


def built(part: Any, arrays: tuple[Any, ...]) -> Any:
    """The value of a part, with these arrays."""
    match part:
        case _Leaf(place):
            return arrays[place]
        case _Constant(value, _):
            return value
        case Identity():
            return part.ref()
        case _Tree(structure, parts):
            return jax.tree.unflatten(structure, [built(each, arrays) for each in parts])
        case _Call(make, parts):
            return make(*(built(each, arrays) for each in parts))
        case _Function():
            return _built_function(part, arrays)
    raise TypeError(part)


def identities(part: Any) -> Iterator[Identity]:
    """All parts that are equal to themselves alone."""
    match part:
        case Identity():
            yield part
        case _Tree(_, parts) | _Call(_, parts):
            yield from (each for inner in parts for each in identities(inner))
        case _Function(_, _, defaults, cells, read):
            inner = (defaults, *cells, *(each for _, each in read))
            yield from (each for one in inner for each in identities(one))


def _split_call(make: Any, given: tuple[Any, ...], arrays: list[Any], within: tuple[Any, ...]) -> _Call:
    return _Call(make, tuple(split(each, arrays, within) for each in given))


def _split_tree(value: Any, arrays: list[Any], within: tuple[Any, ...]) -> _Tree:
    leaves, structure = jax.tree.flatten(value)
    if isinstance(value, list | dict) and not leaves and is_own(within[-1]):
        raise Opaque  # to be filled, as a list in which calls are counted
    return _Tree(_hashable(structure), tuple(split(leaf, arrays, within) for leaf in leaves))


def _split_function(function: Any, arrays: list[Any], within: tuple[Any, ...]) -> Any:
    """The part of a function; one that reads itself, writes what it captured, or has an empty cell is opaque."""
    own = is_own(function)
    if function in within:
        raise Opaque
    if not own and "<" not in function.__qualname__:
        return _Constant(function, "")  # by its name in a library: what it reads does not change
    facts = look(function.__code__)
    if facts.rebinds:
        raise Opaque
    within = (*within, function)
    try:
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError:
        raise Opaque from None
    known = [function.__globals__[name] for name in facts.names if own and name in function.__globals__]
    if facts.mutates and any(isinstance(each, list | dict) for each in (*cells, *known)):
        raise Opaque
    given = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    taken = len(function.__defaults__ or ()), tuple(function.__kwdefaults__ or ())
    return _Function(
        function.__code__,
        None if own else _Globals(function.__globals__),
        _Tree(taken, tuple(split(each, arrays, within) for each in given)),
        tuple(split(each, arrays, within) for each in cells),
        tuple(_read(function.__globals__, facts.names, arrays, within)) if own else (),
    )


def _read(
    known: dict[str, Any], names: tuple[str, ...], arrays: list[Any], within: tuple[Any, ...]
) -> Iterator[tuple[str, Any]]:
    """What a user's function may read of its globals, and of modules among them that are the user's."""
    for name in names:
        if name not in known:
            continue
        value = known[name]
        yield name, split(value, arrays, within)
        if isinstance(value, types.ModuleType) and is_users(value.__name__):
            yield from (
                (f"{name}.{inner}", _of_module(value, inner, within)) for inner in names if inner in vars(value)
            )


def _of_module(module: types.ModuleType, name: str, within: tuple[Any, ...]) -> Any:
    """The part of a module's value, which is only compared. Raises Opaque where it holds arrays."""
    passed: list[Any] = []
    part = split(vars(module)[name], passed, within)
    if passed:
        raise Opaque
    return part


def _built_function(part: _Function, arrays: tuple[Any, ...]) -> Any:
    count, keywords = part.defaults.structure
    given = [built(each, arrays) for each in part.defaults.parts]
    scope = {name: built(each, arrays) for name, each in part.read if "." not in name}
    known = {"__builtins__": builtins, **scope} if part.library is None else part.library.names
    cells = tuple(types.CellType(built(each, arrays)) for each in part.cells)
    function = types.FunctionType(part.code, known, part.code.co_name, tuple(given[:count]), cells)
    function.__kwdefaults__ = dict(zip(keywords, given[count:], strict=True))
    return function


def _partial(function: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    return functools.partial(function, *args, **keywords)


def _hashable(value: Any) -> Any:
    try:
        hash(value)
    except TypeError:
        raise Opaque from None
    return value
