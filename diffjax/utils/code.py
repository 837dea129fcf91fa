"""Who wrote a function, what it reads, and whether it changes what it captured."""

import dis
import functools
import inspect
import sys
import types
from typing import Any, NamedTuple

_MUTATORS = frozenset(("append", "clear", "extend", "insert", "pop", "popleft", "remove", "setdefault", "update"))


def is_user_function(function: Any) -> bool:
    """Whether it is a function that a user wrote, whose globals may change; not one of an installed package."""
    if isinstance(function, types.MethodType):
        return is_user_function(function.__func__)
    if not isinstance(function, types.FunctionType):
        return False
    module = sys.modules.get(function.__globals__.get("__name__", ""))  # what `wraps` says is of the function within
    return module is None or vars(module) is not function.__globals__ or is_user_module(module.__name__)


@functools.cache
def is_user_module(name: str) -> bool:
    """Whether a module is neither this package's, nor Python's, nor an installed one."""
    top = name.partition(".")[0]
    if top == __name__.partition(".")[0] or (top in sys.stdlib_module_names and top != "__main__"):
        return False
    try:
        file = inspect.getfile(sys.modules[name])
    except (KeyError, TypeError):
        return True
    return "site-packages" not in file and "dist-packages" not in file


class CodeFacts(NamedTuple):
    """Globals and attributes that some code reads; whether it rebinds what it captured, or changes a container."""

    names: tuple[str, ...]
    attributes: tuple[str, ...]
    rebinds: bool
    mutates: bool


@functools.lru_cache(maxsize=4096)
def inspect_code(code: types.CodeType) -> CodeFacts:
    """What can be read off the code and that of functions within it. A call of the name of a list's method counts."""
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


def is_value(value: Any) -> bool:
    """Whether a dataclass says that it is what its fields are: frozen, or hashed by them, as Flax modules are."""
    says = getattr(type(value), "__dataclass_params__", None)
    return says is not None and says.eq and (says.frozen or says.unsafe_hash)
