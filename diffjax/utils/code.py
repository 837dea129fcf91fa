"""Facts about functions and their code: user or library, what is read, whether captured values are changed."""

import dis
import functools
import inspect
import sys
import types
from typing import NamedTuple

_MUTATORS = frozenset(("append", "clear", "extend", "insert", "pop", "popleft", "remove", "setdefault", "update"))


def is_user_function(function: object) -> bool:
    """Whether it is a function that a user wrote, whose globals may change, or a method of such a function."""
    if isinstance(function, types.MethodType):
        return is_user_function(function.__func__)
    return isinstance(function, types.FunctionType) and library_module(function) is None


def library_module(function: types.FunctionType) -> types.ModuleType | None:
    """The module of a library's function; None for a user's function. `__module__` may be that of a wrapped one."""
    module = sys.modules.get(function.__globals__.get("__name__", ""))
    if module is None or vars(module) is not function.__globals__ or is_user_module(module.__name__):
        return None
    return module


@functools.cache
def is_user_module(name: str) -> bool:
    """Whether a module is not of this package, of Python or of an installed package."""
    top = name.partition(".")[0]
    if top == __name__.partition(".")[0] or (top in sys.stdlib_module_names and top != "__main__"):
        return False
    try:
        file = inspect.getfile(sys.modules[name])
    except (KeyError, TypeError):
        return True
    return "site-packages" not in file and "dist-packages" not in file


class CodeFacts(NamedTuple):
    """The globals and attributes that code reads; whether it rebinds captured variables or mutates a container."""

    names: tuple[str, ...]
    attributes: tuple[str, ...]
    rebinds: bool
    mutates: bool


@functools.lru_cache(maxsize=4096)
def inspect_code(code: types.CodeType) -> CodeFacts:
    """The facts of the code and of its inner functions. A call named like a mutating method of a list counts."""
    inner = [inspect_code(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)]
    steps = list(dis.get_instructions(code))
    stored = {step.opname for step in steps}
    names = {step.argval for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    attributes = {step.argval for step in steps if step.opname in ("LOAD_ATTR", "LOAD_METHOD")}
    rebinds = any(step.opname in ("STORE_DEREF", "DELETE_DEREF") and step.argval in code.co_freevars for step in steps)
    return CodeFacts(
        tuple(sorted(names.union(*(facts.names for facts in inner)))),
        tuple(sorted(attributes.union(*(facts.attributes for facts in inner)))),
        rebinds or not stored.isdisjoint(("STORE_GLOBAL", "DELETE_GLOBAL")) or any(facts.rebinds for facts in inner),
        not stored.isdisjoint(("STORE_SUBSCR", "DELETE_SUBSCR"))
        or not _MUTATORS.isdisjoint(code.co_names)
        or any(facts.mutates for facts in inner),
    )


def is_value(value: object) -> bool:
    """Whether it is a dataclass compared by its fields: frozen, or hashed by them, as Flax modules are."""
    params = getattr(type(value), "__dataclass_params__", None)
    return params is not None and params.eq and (params.frozen or params.unsafe_hash)
