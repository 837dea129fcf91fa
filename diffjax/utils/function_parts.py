"""The parts that a function is taken apart into, and functions built of them again."""

import builtins
import types
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax


@dataclass(frozen=True)
class Leaf:
    """An array, or a tree of arrays: number `place` of those that are passed."""

    place: int


@dataclass(frozen=True)
class Constant:
    """A value that does the same wherever it is equal; its text tells 1 from True, and 0.0 from -0.0."""

    value: Any
    text: str


class Identity:
    """A value that is equal to itself alone, and is not kept alive. Raises TypeError where it cannot be held so."""

    def __init__(self, value: Any) -> None:
        self.ref = weakref.ref(value)
        self._hash = id(value)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Identity) and self.ref() is not None and self.ref() is other.ref())

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True)
class Tree:
    """A pytree of parts."""

    structure: Any
    parts: tuple[Any, ...]


@dataclass(frozen=True)
class Call:
    """What `make` gives of some parts: a method of a function and its owner, a partial function."""

    make: Any
    parts: tuple[Any, ...]


@dataclass(frozen=True)
class Function:
    """A function: its code, a part for each thing that it captured, and the globals of one that is of a library.

    `reads` are the globals that a user's function reads, and as `module.name` what it may read of the user's modules,
    by which it is only compared. `attributes` are those that were set on the function.
    """

    code: types.CodeType
    library: Any
    defaults: Tree
    cells: tuple[Any, ...]
    reads: tuple[tuple[str, Any], ...]
    attributes: tuple[tuple[str, Any], ...]


class Globals:
    """The globals of a module, equal to themselves alone."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Globals) and self.names is other.names

    def __hash__(self) -> int:
        return id(self.names)


def build_value(part: Any, arrays: tuple[Any, ...]) -> Any:
    """The value of a part, with these arrays."""
    match part:
        case Leaf(place):
            return arrays[place]
        case Constant(value, _):
            return value
        case Identity():
            return part.ref()
        case Tree(structure, parts):
            return jax.tree.unflatten(structure, [build_value(inner, arrays) for inner in parts])
        case Call(make, parts):
            return make(*(build_value(inner, arrays) for inner in parts))
        case Function():
            return _build_function(part, arrays)
    raise TypeError(part)


def identities(part: Any) -> Iterator[Identity]:
    """All parts that are equal to themselves alone."""
    match part:
        case Identity():
            yield part
        case Tree(_, parts) | Call(_, parts):
            yield from (identity for inner in parts for identity in identities(inner))
        case Function(_, _, defaults, cells, read, attributes):
            inner = (defaults, *cells, *(identity for _, identity in (*read, *attributes)))
            yield from (identity for one in inner for identity in identities(one))


def _build_function(part: Function, arrays: tuple[Any, ...]) -> Any:
    count, keywords = part.defaults.structure
    defaults = [build_value(inner, arrays) for inner in part.defaults.parts]
    scope = {name: build_value(inner, arrays) for name, inner in part.reads if "." not in name}
    namespace = {"__builtins__": builtins, **scope} if part.library is None else part.library.names
    cells = tuple(types.CellType(build_value(inner, arrays)) for inner in part.cells)
    function = types.FunctionType(part.code, namespace, part.code.co_name, tuple(defaults[:count]), cells)
    function.__kwdefaults__ = dict(zip(keywords, defaults[count:], strict=True))
    vars(function).update({name: build_value(inner, arrays) for name, inner in part.attributes})
    return function
