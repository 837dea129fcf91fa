"""Names with their arguments, from configs and flags: `karras(rho=5.0)`, `shift(flow, 3.0)`, `my.steps:leap(order=2)`.

A text is read as a Python expression of names and plain values; nothing is evaluated. A bare name is looked up in the
`__all__` of one module of the library, and `package.module:name` is imported (`user_parts`).
"""

import ast
import inspect
from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

from diffjax.errors import UserError
from diffjax.experiment import user_parts
from diffjax.utils.kinds import matches_type, type_name
from diffjax.utils.values import describe_value

_PROVIDED_ARGUMENTS = (  # passed by the library, never written in a text
    *("net", "noise", "steps", "parent", "name", "folder", "start", "about"),
    *("denoise", "null", "scale", "strength", "grid"),
)
FURTHER = "FURTHER"  # in a module: names beside those of __all__ that a text may have, and no message offers
_MAX_LENGTH = 10_000  # characters of a text that is parsed
_MAX_SHOWN = 80  # characters of an unreadable text that a message repeats


class Spec(NamedTuple):
    """A name, the object that it stands for, and the arguments of the text; `called` is whether it had brackets."""

    name: str
    target: object
    args: tuple[object, ...]
    kwargs: dict[str, object]
    called: bool


def parse_value(module: ModuleType, text: str, field: str, kind: object) -> Any:
    """A value of that kind: the module's own (`flow`), or what a maker of such values returns (`shift(flow, 3.0)`)."""
    return _require_kind(_evaluate(module, _parse_expression(text, field), field, kind), kind, text, field)


def instantiate(
    module: ModuleType,
    text: str,
    field: str,
    *leading: object,
    kind: object = object,
    offered: Mapping[str, object] = MappingProxyType({}),
    **extra: object,
) -> Any:
    """What the named maker returns: `ddim`, `ddim()` and `ddim(eta=0.0)` are equal.

    It is called with `leading` arguments before those of the text, with `extra` ones, and with those of the `offered`
    ones that it takes. Raises UserError, naming the field, for an unknown name, for arguments that do not fit, and for
    a result that is not of that kind.
    """
    spec = parse_spec(module, text, field)
    takes = parameter_names(module, text, field)
    provided = {**extra, **{name: value for name, value in offered.items() if name in takes}}
    for name in provided.keys() & spec.kwargs.keys():
        raise UserError(f"{field}: {name} is not yours to set here; it follows from the data and the other fields")
    result = _call(spec.target, (*leading, *spec.args), {**spec.kwargs, **provided}, field)
    return _require_kind(result, kind, text, field)


def parameter_names(module: ModuleType, text: str, field: str) -> frozenset[str]:
    """The names of the parameters of the named object."""
    target = parse_spec(module, text, field).target
    return frozenset(inspect.signature(target).parameters) if callable(target) else frozenset()


def parse_spec(module: ModuleType, text: str, field: str) -> Spec:
    """The parts of a text. Raises UserError for one that cannot be read, and for an unknown name."""
    return _parse_node(module, _parse_expression(text, field), field, None)


def _require_kind(value: object, kind: object, text: str, field: str) -> object:
    """The value, once it is of that kind, which a part of the library is, and a user's own may not be."""
    if not (isinstance(value, kind) if isinstance(kind, type) else kind is None or matches_type(value, kind)):
        expected = kind.__name__ if isinstance(kind, type) else "a function"
        raise UserError(f"{field}: expected {expected}, and {text} gives {describe_value(value)}")
    return value


def _parse_expression(text: str, field: str) -> ast.expr:
    if len(text) > _MAX_LENGTH:
        raise _unreadable_error(text, field)
    try:
        return ast.parse(user_parts.mark_imports(text.strip()), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _unreadable_error(text, field) from None


def _parse_node(module: ModuleType, node: ast.expr, field: str, kind: object) -> Spec:
    source = None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):  # a marked import path
        source = ast.unparse(node.left)
        node = node.right
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    keyword_names = [pair.arg for pair in call.keywords if pair.arg is not None]
    if not isinstance(call.func, ast.Name) or len(set(keyword_names)) < len(call.keywords):  # **unpacked, or repeated
        raise _unreadable_error(node, field)
    name = call.func.id
    if source is None and name not in (*module.__all__, *vars(module).get(FURTHER, ())):
        raise UserError(f"{field}: unknown {name!r}; choose from {', '.join(sorted(module.__all__))}")
    target = vars(module)[name] if source is None else user_parts.import_part(source, name, field)
    args = tuple(_evaluate_argument(module, argument, field, kind) for argument in call.args)
    values = [_evaluate_argument(module, pair.value, field, kind) for pair in call.keywords]
    return Spec(name, target, args, dict(zip(keyword_names, values, strict=True)), call is node)


def _evaluate(module: ModuleType, node: ast.expr, field: str, kind: object) -> object:
    spec = _parse_node(module, node, field, kind)
    if _returns_kind(spec, kind):
        return _call(spec.target, spec.args, spec.kwargs, field)
    if spec.called:
        raise UserError(f"{field}: {spec.name} takes no arguments; write the name alone")
    return spec.target


def _returns_kind(spec: Spec, kind: object) -> bool:
    """Whether the object makes values of that kind, by its return annotation; without one, if the text calls it."""
    if kind is None or not callable(spec.target):
        return spec.called and callable(spec.target)
    try:
        returned = inspect.signature(spec.target, eval_str=True).return_annotation
    except NameError:  # of a user's module, which imports what it annotates with for type checkers alone
        return spec.called
    return returned == kind or (spec.called and returned is inspect.Signature.empty)


def _evaluate_argument(module: ModuleType, node: ast.expr, field: str, kind: object) -> object:
    """A plain value (lists become tuples, which can be hashed), or another value of the module."""
    try:
        plain = ast.literal_eval(node)
    except (ValueError, TypeError):
        return _evaluate(module, node, field, kind)
    return tuple(plain) if isinstance(plain, list) else plain


def _call(function: object, args: tuple[object, ...], kwargs: dict[str, object], field: str) -> object:
    """The call, once its arguments fit the signature, so that every message names the field."""
    if not callable(function):
        raise UserError(f"{field}: takes no arguments")
    signature = inspect.signature(function)
    parameters = ", ".join(name for name in signature.parameters if name not in _PROVIDED_ARGUMENTS)
    try:
        bound = signature.bind(*args, **kwargs).arguments
    except TypeError as mistake:
        raise UserError(f"{field}: {mistake}; the arguments are: {parameters or 'none'}") from None
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
