"""Plain values and the annotations that they must fit: values read from text, and arguments of makers.

Nothing here imports JAX: a mistake in a flag or a field is found before it is loaded.
"""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from types import NoneType, UnionType
from typing import TypeGuard, TypeVar, Union, get_args, get_origin, overload

Value = TypeVar("Value")


@overload
def matches_type(value: object, kind: type[Value]) -> TypeGuard[Value]: ...
@overload
def matches_type(value: object, kind: object) -> bool: ...
def matches_type(value: object, kind: object) -> bool:
    """Whether a value fits an annotation; annotations that are not plain (object, arrays) take every value."""
    if get_origin(kind) in (Union, UnionType):
        return any(matches_type(value, option) for option in get_args(kind))
    if get_origin(kind) in (tuple, Sequence):
        return isinstance(value, tuple) and all(matches_type(item, get_args(kind)[0]) for item in value)
    if get_origin(kind) is Callable:
        return callable(value)
    if kind is float:
        return _is_plain_number(value) and abs(value) <= sys.float_info.max  # which also an integer may exceed
    if kind in (bool, int, str, NoneType):
        return type(value) is kind
    return isinstance(value, kind) if dataclasses.is_dataclass(kind) and isinstance(kind, type) else True


def _is_plain_number(value: object) -> TypeGuard[float]:
    return type(value) in (int, float)


def type_name(kind: object) -> str:
    """An annotation that `matches_type` knows, in words."""
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(type_name(option) for option in get_args(kind))
    if get_origin(kind) is Callable:
        return "a name"
    if get_args(kind):
        return f"a tuple, each {type_name(get_args(kind)[0])}"
    name = kind.__name__ if isinstance(kind, type) else str(kind)
    return {float: "a finite number", NoneType: "None"}.get(kind, name)


def is_hashable(value: object) -> bool:
    """Whether `hash` takes the value."""
    try:
        hash(value)
    except TypeError:
        return False
    return True
