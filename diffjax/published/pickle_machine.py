"""The stack machine of pickles, with its instructions for data alone.

A pickle is a program that builds an object on a stack; `pickletools` of the standard library lists its instructions.
Here they build dictionaries, lists, tuples, texts and numbers, and call the functions that `resolve` returns for names.
Keys are texts and small integers, and nothing is copied or hashed but them, so that time and memory grow with the
length of a pickle alone. The machine of the `pickle` module grants neither: ten bytes may take gigabytes of it, and
tuples within tuples as a key end the process.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from io import BufferedIOBase
from pickletools import genops
from typing import Any

MAX_BITS = 128  # of an integer; the magic number of torch.save has 77
MAX_KEY_BITS = 60  # of an integer as a key: of larger ones any number may have the same hash
MAX_ARGUMENTS = 16  # of a function


@dataclass(frozen=True)
class Function:
    """What a name stands for: `call` makes a value of the arguments."""

    call: Callable[..., object]


@dataclass(frozen=True)
class Bytes:
    """A string of bytes, as its place in the file of the pickle."""

    offset: int
    size: int


class Record:
    """An object of a class that is not imported: the name of the class, and the object's attributes."""

    def __init__(self, class_name: str, attributes: object = None) -> None:
        self.class_name = class_name
        self.attributes: dict[object, object] = attributes if isinstance(attributes, dict) else {}


@dataclass
class _Machine:
    """`stack` holds the values since the last mark, and `outer` those before each mark."""

    file: BufferedIOBase
    resolve: Callable[[str, str], object]
    dereference: Callable[[object], object]
    stack: list[object] = field(default_factory=list)
    outer: list[list[object]] = field(default_factory=list)
    memo: dict[int, object] = field(default_factory=dict)


def run_pickle(
    file: BufferedIOBase, resolve: Callable[[str, str], object], dereference: Callable[[object], object]
) -> object:
    """The next object of a file, which is left behind it.

    `resolve(module, name)` is what a name stands for, and `dereference(id)` an object beside the pickle. Raises an
    error of any type for a damaged pickle, and ValueError for an instruction that data do not need.
    """
    machine = _Machine(file, resolve, dereference)
    for instruction, argument, _ in genops(file):  # pyright: ignore[reportArgumentType]: it reads any file of bytes
        if instruction.name == "STOP":
            break
        if instruction.name not in ACTIONS:
            raise ValueError(f"it has the instruction {instruction.name}, which weights do not need")
        ACTIONS[instruction.name](machine, argument)
    return machine.stack.pop()


def _skip(machine: _Machine, argument: object) -> None:
    pass


def _push(machine: _Machine, value: object) -> None:
    machine.stack.append(value)


def _push_constant(value: object, machine: _Machine, argument: object) -> None:
    machine.stack.append(value)


def _push_new(kind: Callable[[], object], machine: _Machine, argument: object) -> None:
    machine.stack.append(kind())


def _push_integer(machine: _Machine, value: int) -> None:
    if value.bit_length() > MAX_BITS:
        raise ValueError(f"it has an integer of {value.bit_length():,} bits")
    machine.stack.append(value)


def _push_bytes(machine: _Machine, value: bytes) -> None:
    machine.stack.append(Bytes(machine.file.tell() - len(value), len(value)))


def _mark(machine: _Machine, argument: object) -> None:
    machine.outer.append(machine.stack)
    machine.stack = []


def _pop_to_mark(machine: _Machine, argument: object = None) -> list[object]:
    values, machine.stack = machine.stack, machine.outer.pop()
    return values


def _pop(machine: _Machine, argument: object) -> None:
    """Of the value, or of a mark above it."""
    if machine.stack:
        machine.stack.pop()
    else:
        _pop_to_mark(machine)


def _duplicate(machine: _Machine, argument: object) -> None:
    machine.stack.append(machine.stack[-1])


def _tuple_of(count: int, machine: _Machine, argument: object) -> None:
    values = [machine.stack.pop() for _ in range(count)]
    machine.stack.append(tuple(reversed(values)))


def _tuple(machine: _Machine, argument: object) -> None:
    values = tuple(_pop_to_mark(machine))
    machine.stack.append(values)


def _list(machine: _Machine, argument: object) -> None:
    values = _pop_to_mark(machine)
    machine.stack.append(values)


def _append(machine: _Machine, argument: object) -> None:
    _extend_list(machine, [machine.stack.pop()])


def _appends(machine: _Machine, argument: object) -> None:
    _extend_list(machine, _pop_to_mark(machine))


def _extend_list(machine: _Machine, values: list[object]) -> None:
    target = machine.stack[-1]
    if not isinstance(target, list):
        raise ValueError(f"it appends to a {type(target).__name__}")
    target.extend(values)


def _dict(machine: _Machine, argument: object) -> None:
    items = _pop_to_mark(machine)
    machine.stack.append({})
    _fill_dict(machine, items)


def _set_item(machine: _Machine, argument: object) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _fill_dict(machine, [key, value])


def _set_items(machine: _Machine, argument: object) -> None:
    _fill_dict(machine, _pop_to_mark(machine))


def _fill_dict(machine: _Machine, items: list[object]) -> None:
    target = machine.stack[-1]
    if not isinstance(target, dict):
        raise ValueError(f"it sets an item of a {type(target).__name__}")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str) and not (isinstance(key, int) and key.bit_length() <= MAX_KEY_BITS):
            raise ValueError(f"it has a key that is no text or small integer, but a {type(key).__name__}")
        target[key] = value


def _store(machine: _Machine, index: int) -> None:
    machine.memo[index] = machine.stack[-1]


def _memoize(machine: _Machine, argument: object) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _recall(machine: _Machine, index: int) -> None:
    machine.stack.append(machine.memo[index])


def _global(machine: _Machine, argument: str) -> None:
    module, _, name = argument.partition(" ")
    machine.stack.append(machine.resolve(module, name))


def _stack_global(machine: _Machine, argument: object) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("it has a name that is no text")
    machine.stack.append(machine.resolve(module, name))


def _call(machine: _Machine, argument: object) -> None:
    arguments, function = machine.stack.pop(), machine.stack.pop()
    if not isinstance(function, Function) or not isinstance(arguments, tuple) or len(arguments) > MAX_ARGUMENTS:
        raise ValueError(f"it calls a {type(function).__name__}")
    machine.stack.append(function.call(*arguments))


def _build(machine: _Machine, argument: object) -> None:
    """The attributes of a record; those of other values, such as an ordered dictionary's, are left out."""
    match machine.stack.pop(), machine.stack[-1]:
        case (dict(attributes), Record() as record) | ((dict(attributes), _), Record() as record):
            record.attributes = attributes


def _reference(machine: _Machine, argument: object) -> None:
    machine.stack.append(machine.dereference(machine.stack.pop()))


INTEGERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4")
TEXTS = ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
# A set is a list here: its values are not hashed.
CONTAINERS = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": list}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}

ACTIONS: dict[str, Callable[[_Machine, Any], object]] = {
    **dict.fromkeys(("PROTO", "FRAME"), _skip),
    **dict.fromkeys(INTEGERS, _push_integer),
    **dict.fromkeys((*TEXTS, "FLOAT", "BINFLOAT"), _push),
    **dict.fromkeys(("SHORT_BINBYTES", "BINBYTES", "BINBYTES8"), _push_bytes),
    **{name: partial(_push_constant, value) for name, value in CONSTANTS.items()},
    **{name: partial(_push_new, kind) for name, kind in CONTAINERS.items()},
    **{name: partial(_tuple_of, count) for name, count in TUPLES.items()},
    **{"MARK": _mark, "POP": _pop, "POP_MARK": _pop_to_mark, "DUP": _duplicate, "TUPLE": _tuple, "LIST": _list},
    **{"APPEND": _append, "APPENDS": _appends, "ADDITEMS": _appends, "FROZENSET": _list},
    **{"DICT": _dict, "SETITEM": _set_item, "SETITEMS": _set_items},
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _store),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _recall),
    **{"MEMOIZE": _memoize, "GLOBAL": _global, "STACK_GLOBAL": _stack_global, "BINPERSID": _reference},
    **{"REDUCE": _call, "NEWOBJ": _call, "BUILD": _build},
}
