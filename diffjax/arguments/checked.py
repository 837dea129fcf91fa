"""Validation of the arguments of public functions, before anything is traced.

An argument of a name in `expected.CHECKS_BY_NAME` is checked by name, since it means the same in all functions; other
numbers, names and booleans are checked by annotation.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar, get_origin

from jax.core import Tracer

from diffjax.arguments.expected import CHECKS_BY_NAME, require_count
from diffjax.errors import UserError
from diffjax.utils.kinds import matches_type, type_name
from diffjax.utils.values import python_scalar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def validate_arguments(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The function with validated arguments: by name where `CHECKS_BY_NAME` has it, else by annotation.

    Raises UserError, also where conditions or data do not have one entry for each key.
    """
    signature = inspect.signature(function)
    source = function.__name__

    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        bound = signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            parameter = signature.parameters[name]
            if value is parameter.default:
                continue
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                bound.arguments[name] = {key: CHECKS_BY_NAME.get(key, _unchecked)(value[key]) for key in value}
            elif name in CHECKS_BY_NAME:
                bound.arguments[name] = CHECKS_BY_NAME[name](value)
            else:
                bound.arguments[name] = _check_kind(source, name, value, parameter.annotation)
        if "keys" in bound.arguments:
            arguments = {**bound.arguments, **bound.kwargs}
            per_example = {name: arguments.get(name) for name in ("cond", "x", "x0", "start")}
            require_count(len(bound.arguments["keys"]), "keys", per_example)
        return function(*bound.args, **bound.kwargs)

    return call


def _unchecked(value: object) -> object:
    return value


def _check_kind(source: str, name: str, value: object, kind: object) -> object:
    """The value, a scalar as a Python number. Raises UserError where it does not fit a plain annotation."""
    if isinstance(value, Tracer):
        return value
    python_value = (
        tuple(value) if get_origin(kind) is Sequence and isinstance(value, Sequence) else python_scalar(value)
    )
    if not matches_type(python_value, kind):
        raise UserError(f"{source}: {name} must be {type_name(kind)}, got {value!r}")
    return python_value
