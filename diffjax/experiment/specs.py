"""Names from the command line and from configs, with their arguments: `karras(rho=5.0)`, `shift(flow, 3.0)`.

A slot is read as a Python expression of names and plain values, and names are looked up in the `__all__` of one
module: nothing else can be reached, and nothing is evaluated.
"""

import ast
import inspect
from types import ModuleType
from typing import Any, NamedTuple

from diffjax.errors import UserError
from diffjax.utils.kinds import matches_type, type_name

_PROVIDED_ARGUMENTS = (  # arguments that the library gives
    *("net", "noise", "steps", "parent", "name", "folder", "start", "about"),
    *("denoise", "null", "scale", "strength", "grid"),
)
_MAX_LENGTH = 10_000  # characters of a slot that are read
_MAX_SHOWN = 80  # characters of an unreadable slot that a message repeats


class Spec(NamedTuple):
    """What a text says: a name and its object in the module, called with these arguments, or only named."""

    name: str
    target: Any
    args: tuple
    kwargs: dict[str, Any]
    called: bool


def parse_value(module: ModuleType, text: str, field: str, kind: Any) -> Any:
    """The module's value of that name (`flow`), or what a maker of values of that kind gives (`shift(flow, 3.0)`)."""
    return _evaluate(module, _parse_expression(text, field), field, kind)


def instantiate(module: ModuleType, text: str, field: str, **extra: Any) -> Any:
    """What the module's maker of that name gives: `ddim`, `ddim()` and `ddim(eta=0.0)` are one. `extra` is added."""
    slot = _parse_spec(module, _parse_expression(text, field), field, None)
    return _call(slot.target, slot.args, _merge_arguments(slot, extra, field), field)


def parameter_names(module: ModuleType, text: str, field: str) -> frozenset[str]:
    """The names of the arguments that the object of that name takes."""
    target = lookup(module, text, field)
    return frozenset(inspect.signature(target).parameters) if callable(target) else frozenset()


def lookup(module: ModuleType, text: str, field: str) -> Any:
    """The module's object of that name, whatever the text calls it with."""
    return _parse_spec(module, _parse_expression(text, field), field, None).target


def keyword_arguments(module: ModuleType, text: str, field: str) -> dict[str, Any]:
    """The named arguments of the text."""
    return _parse_spec(module, _parse_expression(text, field), field, None).kwargs


def call_with(module: ModuleType, text: str, field: str, *leading: Any, **extra: Any) -> Any:
    """The module's function, called with the leading arguments and then those of the text. `extra` is added."""
    slot = _parse_spec(module, _parse_expression(text, field), field, None)
    return _call(slot.target, (*leading, *slot.args), _merge_arguments(slot, extra, field), field)


def _merge_arguments(slot: Spec, extra: dict[str, Any], field: str) -> dict[str, Any]:
    """The arguments of the text, and those that only the library gives."""
    for name in extra.keys() & slot.kwargs.keys():
        raise UserError(f"{field}: {name} is not yours to set here; it follows from the data and the other fields")
    return {**slot.kwargs, **extra}


def _parse_expression(text: str, field: str) -> ast.expr:
    if len(text) > _MAX_LENGTH:
        raise _unreadable_error(text, field)
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _unreadable_error(text, field) from None


def _parse_spec(module: ModuleType, node: ast.expr, field: str, kind: Any) -> Spec:
    called = isinstance(node, ast.Call)
    name, positional, keywords = (node.func, node.args, node.keywords) if called else (node, [], [])
    keyword_names = [pair.arg for pair in keywords if pair.arg is not None]
    if not isinstance(name, ast.Name) or len(set(keyword_names)) < len(keywords):  # **unpacked, or given twice
        raise _unreadable_error(node, field)
    if name.id not in module.__all__:
        raise UserError(f"{field}: unknown {name.id!r}; choose from {', '.join(sorted(module.__all__))}")
    args = tuple(_evaluate_argument(module, argument, field, kind) for argument in positional)
    values = [_evaluate_argument(module, pair.value, field, kind) for pair in keywords]
    return Spec(name.id, getattr(module, name.id), args, dict(zip(keyword_names, values, strict=True)), called)


def _evaluate(module: ModuleType, node: ast.expr, field: str, kind: Any) -> Any:
    slot = _parse_spec(module, node, field, kind)
    if _returns_kind(slot, kind):
        return _call(slot.target, slot.args, slot.kwargs, field)
    if slot.called:
        raise UserError(f"{field}: {slot.name} takes no arguments; write the name alone")
    return slot.target


def _returns_kind(slot: Spec, kind: Any) -> bool:
    """Whether the object is a maker of that kind, as its return annotation says; without one, a call is believed."""
    if kind is None or not callable(slot.target):
        return slot.called and callable(slot.target)
    says = inspect.signature(slot.target, eval_str=True).return_annotation
    return says == kind or (slot.called and says is inspect.Signature.empty)


def _evaluate_argument(module: ModuleType, node: ast.expr, field: str, kind: Any) -> Any:
    """A plain value (lists become tuples, which can be hashed), or another value of the module."""
    try:
        plain = ast.literal_eval(node)
    except (ValueError, TypeError):
        return _evaluate(module, node, field, kind)
    return tuple(plain) if isinstance(plain, list) else plain


def _call(function: Any, args: tuple, kwargs: dict[str, Any], field: str) -> Any:
    """The call, once its arguments fit the signature, so that every message names the field."""
    if not callable(function):
        raise UserError(f"{field}: takes no arguments")
    signature = inspect.signature(function)
    takes = ", ".join(name for name in signature.parameters if name not in _PROVIDED_ARGUMENTS)
    try:
        bound = signature.bind(*args, **kwargs).arguments
    except TypeError as mistake:
        raise UserError(f"{field}: {mistake}; the arguments are: {takes or 'none'}") from None
    for name, value in bound.items():
        kind = signature.parameters[name].annotation
        if not matches_type(value, kind):
            raise UserError(f"{field}: {name} must be {type_name(kind)}, got {value!r}")
    try:
        return function(*args, **kwargs)
    except UserError as mistake:
        raise UserError(f"{field}: {mistake}") from None


def _unreadable_error(expression: str | ast.expr, field: str) -> UserError:
    try:
        text = expression if isinstance(expression, str) else ast.unparse(expression)
    except RecursionError:
        text = "so deep an expression"
    text = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
    return UserError(f"{field}: cannot read {text!r}; expected a name, or a name(argument=value, …)")
