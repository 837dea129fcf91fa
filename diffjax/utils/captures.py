"""Functions as pytrees: the arrays that a function captured are leaves, its code and all else is structure.

`split` makes a tree of arrays, tuples, dicts and the nodes `Constant`, `Identity` and `Call`; `build` makes the value
of such a tree, whatever arrays are its leaves. Functions have trees of one structure where they do the same with their
arrays.
"""

import builtins
import enum
import functools
import types
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from diffjax.utils.code import CodeFacts, inspect_code, is_user_function, is_user_module, is_value, library_module
from diffjax.utils.kinds import is_hashable

_JITTED = type(jax.jit(lambda: 0))
_PLAIN = (types.NoneType, bool, int, float, complex, str, bytes, np.dtype, np.generic, enum.Enum, slice, range)
_PERMANENT = (types.ModuleType, type, types.BuiltinFunctionType, types.MethodDescriptorType, np.ufunc, jnp.ufunc)

Functions = tuple[types.FunctionType, ...]


class Opaque(Exception):
    """A value of which nothing tells whether it may change, or equals another."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class Constant:
    """A value that is replaced by any equal one. The text is compared first: it tells 1 from True and 0.0 from -0.0."""

    text: str
    value: object


@jax.tree_util.register_static
class Identity:
    """A value that equals itself alone, by a weak reference. Raises TypeError where there can be none."""

    def __init__(self, value: object) -> None:
        self.ref = weakref.ref(value)
        self._hash = id(value)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Identity) and self.ref() is not None and self.ref() is other.ref())

    def __hash__(self) -> int:
        return self._hash


@functools.partial(jax.tree_util.register_dataclass, data_fields=["parts"], meta_fields=["make"])
@dataclass(frozen=True)
class Call:
    """The value of `make(*parts)`: a function of its captured values, a method of its owner, a tree of its leaves."""

    make: Callable[..., object]
    parts: tuple[PyTree, ...]


@jax.tree_util.register_pytree_node_class
class PytreeFunction:
    """A function as a pytree of the arrays that it captured.

    `content` is its tree, and `original` the function itself; None in a copy of other arrays.
    """

    def __init__(self, content: PyTree, original: Callable[..., object] | None = None) -> None:
        self.content = content
        self.original = original

    def __call__(self, *args: object, **kwargs: object) -> PyTree:
        return build(self.content)(*args, **kwargs)

    def tree_flatten(self) -> tuple[tuple[PyTree], None]:
        """The content, which is all."""
        return (self.content,), None

    @classmethod
    def tree_unflatten(cls, _: None, children: tuple[PyTree]) -> "PytreeFunction":
        """The function with this content."""
        return cls(*children)


def split(value: object, within: Functions = ()) -> PyTree:
    """The tree of a value, which may be part of the functions `within`, the innermost last. Raises Opaque."""
    if isinstance(value, jax.Array | np.ndarray):
        if not _is_numeric(value):
            raise Opaque
        return value
    if isinstance(value, _PLAIN):
        return Constant(repr(value), value)
    if isinstance(value, types.FunctionType):
        return _split_function(value, within)
    if isinstance(value, types.MethodType):
        return Call(types.MethodType, (split(value.__func__, within), split(value.__self__, within)))
    if type(value) is functools.partial:
        return Call(
            _make_partial,
            (split(value.func, within), _split_all(value.args, within), _split_values(value.keywords, within)),
        )
    if isinstance(value, _JITTED | jax.custom_jvp | jax.custom_vjp):
        return Identity(value)
    if not jax.tree_util.all_leaves([value]):
        return _split_tree(value, within)
    if isinstance(value, _PERMANENT) or (is_value(value) and is_hashable(value)):
        return Constant("", value)
    raise Opaque


def build(tree: PyTree) -> PyTree:
    """The value of a tree."""

    def value(node: PyTree) -> PyTree:
        match node:
            case Constant():
                return node.value
            case Identity():
                return node.ref()
            case Call():
                return node.make(*build(node.parts))
        return node

    nodes = Constant | Identity | Call | PytreeFunction  # a captured PytreeFunction stays one
    return jax.tree.map(value, tree, is_leaf=lambda node: isinstance(node, nodes))


def split_method(method: types.MethodType) -> Call:
    """The tree of a method whose owner equals itself alone. Raises TypeError where no weak reference to it can be."""
    return Call(types.MethodType, (Constant("", method.__func__), Identity(method.__self__)))


def _split_all(values: tuple[object, ...], within: Functions) -> tuple[PyTree, ...]:
    return tuple(split(value, within) for value in values)


def _split_values(values: Mapping[str, object], within: Functions) -> dict[str, PyTree]:
    return {name: split(value, within) for name, value in values.items()}


def _is_numeric(value: object) -> bool:
    """Whether a program can take the value as an argument."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufc" or value.dtype.name == "bfloat16"
    return isinstance(value, jax.Array)


def _split_tree(value: PyTree, within: Functions) -> PyTree:
    """A tree of arrays as it is, so that a net in it is found; another as a call that makes it."""
    leaves, structure = jax.tree.flatten(value)
    if isinstance(value, list | dict) and not leaves and all(map(is_user_function, within[-1:])):
        raise Opaque  # a list to be filled, as one in which calls are counted
    if all(map(_is_numeric, leaves)):
        return value
    return Call(jax.tree.unflatten, (Constant("", structure), _split_all(tuple(leaves), within)))


def _split_function(function: types.FunctionType, within: Functions) -> PyTree:
    """A function of a library by its name, where it has one, or by itself, where it is opaque; others by content."""
    module = library_module(function)
    if module is not None and "<" not in function.__qualname__:
        return Constant("", function)
    try:
        return _split_captured(function, module, within)
    except Opaque:
        if module is None or not within:
            raise
        return Identity(function)


def _split_captured(function: types.FunctionType, module: types.ModuleType | None, within: Functions) -> Call:
    """The call that makes a function. Opaque: it reads itself, writes what it captured, or has an empty cell."""
    facts = inspect_code(function.__code__)
    if function in within or facts.rebinds:
        raise Opaque
    within = (*within, function)
    try:
        cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
    except ValueError:
        raise Opaque from None
    scope = {} if module else {name: function.__globals__[name] for name in facts.names if name in function.__globals__}
    if facts.mutates and any(isinstance(value, list | dict) for value in (*cells, *scope.values())):
        raise Opaque
    attributes = {name: value for name, value in vars(function).items() if name != "__wrapped__"}
    parts = (
        Constant("", (function.__code__, module)),
        _split_all(function.__defaults__ or (), within),
        _split_values(function.__kwdefaults__ or {}, within),
        _split_all(cells, within),
        {**_split_values(scope, within), **_split_modules(scope, facts, within)},
        _split_values(attributes, within),
    )
    return Call(_make_function, parts)


def _split_modules(scope: Mapping[str, object], facts: CodeFacts, within: Functions) -> dict[str, PyTree]:
    """What a function may read of a user's modules, as `module.name`: only compared. Raises Opaque for arrays."""
    values = {
        f"{name}.{attribute}": vars(module)[attribute]
        for name, module in scope.items()
        if isinstance(module, types.ModuleType) and is_user_module(module.__name__)
        for attribute in facts.attributes
        if attribute in vars(module)
    }
    parts = _split_values(values, within)
    if jax.tree.leaves(parts):
        raise Opaque
    return parts


def _make_function(
    source: tuple[types.CodeType, types.ModuleType | None],
    defaults: tuple[object, ...],
    keyword_defaults: dict[str, object],
    cells: tuple[object, ...],
    scope: Mapping[str, object],
    attributes: Mapping[str, object],
) -> types.FunctionType:
    """A function of this code, with the globals of its module where that is a library's."""
    code, module = source
    names = {name: value for name, value in scope.items() if "." not in name}
    namespace = vars(module) if module else {"__builtins__": builtins, **names}
    function = types.FunctionType(code, namespace, code.co_name, defaults, tuple(map(types.CellType, cells)))
    function.__kwdefaults__ = keyword_defaults
    vars(function).update(attributes)
    return function


def _make_partial(
    function: Callable[..., object], args: tuple[object, ...], keywords: Mapping[str, object]
) -> functools.partial[object]:
    return functools.partial(function, *args, **keywords)
