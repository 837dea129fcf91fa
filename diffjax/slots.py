"""Names from the command line and from configs, with their arguments: `karras(rho=5.0)`, `shift(flow, 3.0)`.

A slot is read as a Python expression of names and plain values, and names are looked up in the `__all__` of one
module: nothing else can be reached, and nothing is evaluated.
"""

import ast
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from diffjax.errors import UserError


class Slot(NamedTuple):
    """What a text says: an object of the module, called with these arguments, or only named."""

    found: Any
    args: tuple
    kwargs: dict[str, Any]
    called: bool


def value(module: ModuleType, text: str, field: str, kind: Any) -> Any:
    """The module's value of that name (`flow`), or what a maker of values of that kind gives (`shift(flow, 3.0)`)."""
    return _value(module, _parsed(text, field), field, kind)


def made(module: ModuleType, text: str, field: str, **more: Any) -> Any:
    """What the module's maker of that name gives: `ddim`, `ddim()` and `ddim(eta=0.0)` are one. `more` is added."""
    slot = _slot(module, _parsed(text, field), field, None)
    for name in more.keys() & slot.kwargs.keys():
        raise UserError(f"{field}: {name} is not yours to set here; it follows from the data and the other fields")
    return _call(slot.found, slot.args, {**slot.kwargs, **more}, field)


def applied(module: ModuleType, text: str, field: str, *leading: Any) -> Any:
    """The module's function, called with the leading arguments and then those of the text."""
    slot = _slot(module, _parsed(text, field), field, None)
    return _call(slot.found, (*leading, *slot.args), slot.kwargs, field)


def _parsed(text: str, field: str) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _unreadable(text, field) from None


def _slot(module: ModuleType, node: ast.expr, field: str, kind: Any) -> Slot:
    called = isinstance(node, ast.Call)
    name = node.func if isinstance(node, ast.Call) else node
    if not isinstance(name, ast.Name):
        raise _unreadable(ast.unparse(node), field)
    if name.id not in module.__all__:
        raise UserError(f"{field}: unknown {name.id!r}; choose from {', '.join(sorted(module.__all__))}")
    args, kwargs = (), {}
    if isinstance(node, ast.Call):
        args = tuple(_argument(module, argument, field, kind) for argument in node.args)
        kwargs = {str(pair.arg): _argument(module, pair.value, field, kind) for pair in node.keywords}
    return Slot(getattr(module, name.id), args, kwargs, called)


def _value(module: ModuleType, node: ast.expr, field: str, kind: Any) -> Any:
    slot = _slot(module, node, field, kind)
    maker = inspect.isroutine(slot.found) or callable(slot.found)
    if slot.called or (maker and inspect.signature(slot.found).return_annotation == kind):
        return _call(slot.found, slot.args, slot.kwargs, field)
    return slot.found


def _argument(module: ModuleType, node: ast.expr, field: str, kind: Any) -> Any:
    """A plain value (lists become tuples, which can be hashed), or another value of the module."""
    try:
        plain = ast.literal_eval(node)
    except (ValueError, TypeError):
        return _value(module, node, field, kind)
    return tuple(plain) if isinstance(plain, list) else plain


def _call(function: Callable, args: tuple, kwargs: dict[str, Any], field: str) -> Any:
    """The call, once its arguments fit the signature, so that the message can name the field."""
    if not callable(function):
        raise UserError(f"{field}: takes no arguments")
    signature = inspect.signature(function)
    takes = ", ".join(name for name in signature.parameters if name not in ("noise", "steps", "parent", "name"))
    try:
        bound = signature.bind(*args, **kwargs).arguments
    except TypeError as mistake:
        raise UserError(f"{field}: {mistake}; the arguments are: {takes or 'none'}") from None
    for name, given in bound.items():
        kind = signature.parameters[name].annotation
        if kind in (int, float, bool, str) and not _is(given, kind):
            raise UserError(f"{field}: {name} must be {kind.__name__}, got {given!r}")
    return function(*args, **kwargs)


def _is(given: Any, kind: type) -> bool:
    if isinstance(given, bool):
        return kind is bool
    return isinstance(given, (int, float) if kind is float else kind)


def _unreadable(text: str, field: str) -> UserError:
    return UserError(f"{field}: cannot read {text!r}; expected a name, or a name(argument=value, …)")
