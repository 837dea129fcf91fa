"""Names from the command line and from configs, with their arguments: `karras(rho=5.0)`, `shift(flow, 3.0)`.

A slot is read as a Python expression of names and plain values, and names are looked up in the `__all__` of one
module: nothing else can be reached, and nothing is evaluated.
"""

import ast
import inspect
from types import ModuleType
from typing import Any, NamedTuple

from diffjax.errors import UserError
from diffjax.utils.kinds import holds, named

_NOT_ASKED = (  # arguments that the library gives
    *("net", "noise", "steps", "parent", "name", "folder", "start", "about"),
    *("denoise", "null", "scale", "strength", "grid"),
)
_LONGEST = 10_000  # characters of a slot that are read
_SHOWN = 80  # characters of an unreadable slot that a message repeats


class Slot(NamedTuple):
    """What a text says: a name and its object in the module, called with these arguments, or only named."""

    name: str
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
    return _call(slot.found, slot.args, _together(slot, more, field), field)


def takes(module: ModuleType, text: str, field: str) -> frozenset[str]:
    """The names of the arguments that the object of that name takes."""
    named = found(module, text, field)
    return frozenset(inspect.signature(named).parameters) if callable(named) else frozenset()


def found(module: ModuleType, text: str, field: str) -> Any:
    """The module's object of that name, whatever the text calls it with."""
    return _slot(module, _parsed(text, field), field, None).found


def arguments(module: ModuleType, text: str, field: str) -> dict[str, Any]:
    """The named arguments of the text."""
    return _slot(module, _parsed(text, field), field, None).kwargs


def applied(module: ModuleType, text: str, field: str, *leading: Any, **more: Any) -> Any:
    """The module's function, called with the leading arguments and then those of the text. `more` is added."""
    slot = _slot(module, _parsed(text, field), field, None)
    return _call(slot.found, (*leading, *slot.args), _together(slot, more, field), field)


def _together(slot: Slot, more: dict[str, Any], field: str) -> dict[str, Any]:
    """The arguments of the text, and those that only the library gives."""
    for name in more.keys() & slot.kwargs.keys():
        raise UserError(f"{field}: {name} is not yours to set here; it follows from the data and the other fields")
    return {**slot.kwargs, **more}


def _parsed(text: str, field: str) -> ast.expr:
    if len(text) > _LONGEST:
        raise _unreadable(text, field)
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _unreadable(text, field) from None


def _slot(module: ModuleType, node: ast.expr, field: str, kind: Any) -> Slot:
    called = isinstance(node, ast.Call)
    name, positional, keywords = (node.func, node.args, node.keywords) if called else (node, [], [])
    given = [pair.arg for pair in keywords if pair.arg is not None]
    if not isinstance(name, ast.Name) or len(set(given)) < len(keywords):  # **unpacked, or given twice
        raise _unreadable(node, field)
    if name.id not in module.__all__:
        raise UserError(f"{field}: unknown {name.id!r}; choose from {', '.join(sorted(module.__all__))}")
    args = tuple(_argument(module, argument, field, kind) for argument in positional)
    values = [_argument(module, pair.value, field, kind) for pair in keywords]
    return Slot(name.id, getattr(module, name.id), args, dict(zip(given, values, strict=True)), called)


def _value(module: ModuleType, node: ast.expr, field: str, kind: Any) -> Any:
    slot = _slot(module, node, field, kind)
    if _makes(slot, kind):
        return _call(slot.found, slot.args, slot.kwargs, field)
    if slot.called:
        raise UserError(f"{field}: {slot.name} takes no arguments; write the name alone")
    return slot.found


def _makes(slot: Slot, kind: Any) -> bool:
    """Whether the object is a maker of that kind, as its return annotation says; without one, a call is believed."""
    if kind is None or not callable(slot.found):
        return slot.called and callable(slot.found)
    says = inspect.signature(slot.found, eval_str=True).return_annotation
    return says == kind or (slot.called and says is inspect.Signature.empty)


def _argument(module: ModuleType, node: ast.expr, field: str, kind: Any) -> Any:
    """A plain value (lists become tuples, which can be hashed), or another value of the module."""
    try:
        plain = ast.literal_eval(node)
    except (ValueError, TypeError):
        return _value(module, node, field, kind)
    return tuple(plain) if isinstance(plain, list) else plain


def _call(function: Any, args: tuple, kwargs: dict[str, Any], field: str) -> Any:
    """The call, once its arguments fit the signature, so that every message names the field."""
    if not callable(function):
        raise UserError(f"{field}: takes no arguments")
    signature = inspect.signature(function)
    takes = ", ".join(name for name in signature.parameters if name not in _NOT_ASKED)
    try:
        bound = signature.bind(*args, **kwargs).arguments
    except TypeError as mistake:
        raise UserError(f"{field}: {mistake}; the arguments are: {takes or 'none'}") from None
    for name, given in bound.items():
        kind = signature.parameters[name].annotation
        if not holds(given, kind):
            raise UserError(f"{field}: {name} must be {named(kind)}, got {given!r}")
    try:
        return function(*args, **kwargs)
    except UserError as mistake:
        raise UserError(f"{field}: {mistake}") from None


def _unreadable(given: str | ast.expr, field: str) -> UserError:
    try:
        text = given if isinstance(given, str) else ast.unparse(given)
    except RecursionError:
        text = "so deep an expression"
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return UserError(f"{field}: cannot read {text!r}; expected a name, or a name(argument=value, …)")
