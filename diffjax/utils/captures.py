"""What a function captured, taken apart: arrays, and parts by which functions are compared and built again.

A part is a tree of frozen records, equal where functions do the same with their arrays in the same places.
"""

import enum
import functools
import types
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffjax.utils.code import CodeFacts, inspect_code, is_user_function, is_user_module, is_value
from diffjax.utils.function_parts import Call, Constant, Function, Globals, Identity, Leaf, Tree

_JITTED = type(jax.jit(lambda: 0))
_PLAIN = (types.NoneType, bool, int, float, complex, str, bytes, np.dtype, np.generic, enum.Enum, slice, range)
_PERMANENT = (types.ModuleType, type, types.BuiltinFunctionType, types.MethodDescriptorType, np.ufunc, jnp.ufunc)


class Opaque(Exception):
    """What cannot be told from its like by looking at it."""


def split(value: Any, arrays: list[Any], within: tuple[Any, ...] = ()) -> Any:
    """The part of a value; its arrays, and trees of arrays alone, are added to those that are passed. Raises Opaque.

    `within` are the functions that are being taken apart.
    """
    if isinstance(value, jax.Array | np.ndarray):
        if not _is_numbers(value):
            raise Opaque
        arrays.append(value)
        return Leaf(len(arrays) - 1)
    if isinstance(value, _PLAIN):
        return Constant(value, repr(value))
    if isinstance(value, types.FunctionType):
        count = len(arrays)
        try:
            return _split_function(value, arrays, within)
        except Opaque:
            if is_user_function(value) or not within:
                raise
            del arrays[count:]
            return Identity(value)  # of a library, and so the same as long as it is the same object
    if isinstance(value, types.MethodType):
        return _split_call(types.MethodType, (value.__func__, value.__self__), arrays, within)
    if type(value) is functools.partial:
        return _split_call(_partial, (value.func, value.args, tuple(value.keywords.items())), arrays, within)
    if isinstance(value, _PERMANENT):
        return Constant(value, "")
    if isinstance(value, _JITTED | jax.custom_jvp | jax.custom_vjp):
        return Identity(value)
    if not jax.tree_util.all_leaves([value]):
        return _split_tree(value, arrays, within)
    if is_value(value):
        return Constant(_hashable(value), "")
    raise Opaque


def bound_method_part(method: types.MethodType) -> Any:
    """The part of a method that is known by its owner alone. Raises TypeError where that cannot be held so."""
    return Call(types.MethodType, (Constant(method.__func__, ""), Identity(method.__self__)))


def _split_call(make: Any, values: tuple[Any, ...], arrays: list[Any], within: tuple[Any, ...]) -> Call:
    return Call(make, tuple(split(value, arrays, within) for value in values))


def _is_numbers(value: Any) -> bool:
    """Whether it is an array that a program can be given."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufc" or value.dtype.name == "bfloat16"
    return isinstance(value, jax.Array)


def _split_tree(value: Any, arrays: list[Any], within: tuple[Any, ...]) -> Any:
    leaves, structure = jax.tree.flatten(value)
    _hashable(structure)
    if isinstance(value, list | dict) and not leaves and all(map(is_user_function, within[-1:])):
        raise Opaque  # to be filled, as a list in which calls are counted
    if leaves and all(map(_is_numbers, leaves)):
        arrays.append(value)  # as it is, so that a net in it is found
        return Leaf(len(arrays) - 1)
    return Tree(structure, tuple(split(leaf, arrays, within) for leaf in leaves))


def _split_function(function: Any, arrays: list[Any], within: tuple[Any, ...]) -> Any:
    """The part of a function; one that reads itself, writes what it captured, or has an empty cell is opaque."""
    is_user = is_user_function(function)
    if function in within:
        raise Opaque
    if not is_user and "<" not in function.__qualname__:
        return Constant(function, "")  # by its name in a library: what it reads does not change
    facts = inspect_code(function.__code__)
    if facts.rebinds:
        raise Opaque
    within = (*within, function)
    try:
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError:
        raise Opaque from None
    globals_read = [function.__globals__[name] for name in facts.names if is_user and name in function.__globals__]
    if facts.mutates and any(isinstance(value, list | dict) for value in (*cells, *globals_read)):
        raise Opaque
    defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    default_names = len(function.__defaults__ or ()), tuple(function.__kwdefaults__ or ())
    attributes = tuple((name, value) for name, value in vars(function).items() if name != "__wrapped__")
    return Function(
        function.__code__,
        None if is_user else Globals(function.__globals__),
        Tree(default_names, tuple(split(value, arrays, within) for value in defaults)),
        tuple(split(value, arrays, within) for value in cells),
        tuple(_read_globals(function.__globals__, facts, arrays, within)) if is_user else (),
        tuple((name, split(value, arrays, within)) for name, value in attributes),
    )


def _read_globals(
    namespace: dict[str, Any], facts: CodeFacts, arrays: list[Any], within: tuple[Any, ...]
) -> Iterator[tuple[str, Any]]:
    """What a user's function may read of its globals, and of modules among them that are the user's."""
    for name in facts.names:
        if name not in namespace:
            continue
        value = namespace[name]
        yield name, split(value, arrays, within)
        if isinstance(value, types.ModuleType) and is_user_module(value.__name__):
            inner = (attribute for attribute in facts.attributes if attribute in vars(value))
            yield from ((f"{name}.{attribute}", _module_part(value, attribute, within)) for attribute in inner)


def _module_part(module: types.ModuleType, name: str, within: tuple[Any, ...]) -> Any:
    """The part of a module's value, which is only compared. Raises Opaque where it holds arrays."""
    passed: list[Any] = []
    part = split(vars(module)[name], passed, within)
    if passed:
        raise Opaque
    return part


def _partial(function: Any, args: tuple[Any, ...], keywords: tuple[tuple[str, Any], ...]) -> Any:
    return functools.partial(function, *args, **dict(keywords))


def _hashable(value: Any) -> Any:
    try:
        hash(value)
    except TypeError:
        raise Opaque from None
    return value
