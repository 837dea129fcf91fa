"""The operations of a compiled program, read from its HLO text: of what kind each is, and what it was compiled from."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

_MODULE = re.compile(r"HloModule ([\w.\-]+)")
_COMPUTATION = re.compile(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (?:\(.*?\) |\S+ )([\w\-]+)\(([^)]*)\)(.*)")
_CALLED = re.compile(r"\b(?:calls|to_apply)=%?([\w.\-]+)")
_TARGET = re.compile(r'custom_call_target="([^"]*)"')
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_PHASE = re.compile(r"-(start|update|done)$")  # of an operation that runs beside others
_RANDOM = re.compile(r"threefry|random_bits|_uniform|_normal\b")

ENCLOSING = frozenset({"while", "conditional", "call"})  # opcodes of operations that run others
_MOVING = {
    "bitcast", "broadcast", "concatenate", "constant", "copy", "dynamic-slice", "dynamic-update-slice",
    "get-tuple-element", "iota", "pad", "parameter", "reshape", "reverse", "slice", "transpose", "tuple",
}  # fmt: skip
_KINDS = {  # the first with one of the opcodes of an operation, those inside a fusion among them
    "convolution": {"convolution"},
    "matrix product": {"dot", "ragged-dot"},
    "communication": {
        "all-gather", "all-reduce", "all-to-all", "collective-broadcast", "collective-permute", "reduce-scatter",
    },
    "random numbers": {"rng", "rng-bit-generator", "rng-get-and-update-state"},
    "gather, scatter, sort": {"gather", "scatter", "sort", "topk"},
    "reduction": {"reduce", "reduce-window", "select-and-scatter"},
    "loop control": {"while", "conditional"},
    "infeed, outfeed": {"infeed", "outfeed", "send", "recv"},
}  # fmt: skip
_PRODUCTS = _KINDS["convolution"] | _KINDS["matrix product"]
_LIBRARY_CALLS = {"conv": "convolution", "gemm": "dot", "matmul": "dot", "topk": "topk"}  # by a part of the target


class Operation(NamedTuple):
    """An operation of a compiled program.

    `op_name` is the path that JAX recorded for it, such as `jit(f)/transpose(jvp(UNet))/Block_0/Conv_1/add`, of a
    fusion that of the product or convolution in it, if there is one; where there is no path, that of the operation that
    reads its result, or else of its operand. `encloses`: it runs others.
    """

    kind: str
    op_name: str
    encloses: bool = False


class Program(NamedTuple):
    """The name of a compiled program, and its operations by name."""

    name: str
    operations: Mapping[str, Operation]


class _Instruction(NamedTuple):
    name: str
    opcodes: frozenset[str]
    operands: list[str]
    op_name: str
    encloses: bool


class _Whole(NamedTuple):
    """All opcodes of a computation, and the `op_name` of its first product or convolution."""

    opcodes: frozenset[str]
    op_name: str


def read_program(text: str) -> Program:
    """The program of an HLO text, as `jax.stages.Compiled.as_text` returns it."""
    module = _MODULE.match(text)
    operations: dict[str, Operation] = {}
    for instructions in _computations(text):
        op_names = _complete_op_names(instructions)
        for instruction in instructions:
            op_name = op_names[instruction.name]
            kind = operation_kind(instruction.opcodes, op_name)
            operations[instruction.name] = Operation(kind, op_name, instruction.encloses)
    return Program(module[1] if module else "", operations)


def operation_kind(opcodes: frozenset[str], op_name: str) -> str:
    """The kind of an operation with these opcodes; a generator of random numbers is known by its `op_name`."""
    if _RANDOM.search(op_name):
        opcodes |= {"rng"}
    kinds = (kind for kind, members in _KINDS.items() if not opcodes.isdisjoint(members))
    return next(kinds, "copy, transpose" if opcodes <= _MOVING | {"fusion"} else "elementwise")


def _computations(text: str) -> Iterator[list[_Instruction]]:
    """The instructions of each computation; those that others call come first, as HLO prints them."""
    wholes: dict[str, _Whole] = {}
    name = ""
    instructions: list[_Instruction] = []
    for line in text.splitlines():
        if (header := _COMPUTATION.match(line)) is not None:
            name = header[1]
            instructions = []
        elif line.startswith("}"):
            products = (
                item.op_name for item in instructions if item.op_name and not item.opcodes.isdisjoint(_PRODUCTS)
            )
            wholes[name] = _Whole(frozenset().union(*(item.opcodes for item in instructions)), next(products, ""))
            yield instructions
        elif (match := _INSTRUCTION.match(line)) is not None:
            instructions.append(_instruction(match, wholes))


def _instruction(match: re.Match[str], wholes: Mapping[str, _Whole]) -> _Instruction:
    name, opcode, operands, attributes = match.groups()
    called = [wholes[computation] for computation in _CALLED.findall(attributes) if computation in wholes]
    target = _TARGET.search(attributes)
    library = (code for part, code in _LIBRARY_CALLS.items() if target and part in target[1].lower())
    own_name = _OP_NAME.search(attributes)
    op_name = next((whole.op_name for whole in called if whole.op_name), own_name[1] if own_name else "")
    opcodes = frozenset({_PHASE.sub("", opcode), *library}).union(*(whole.opcodes for whole in called))
    return _Instruction(name, opcodes, re.findall(r"%([\w.\-]+)", operands), op_name, opcode in ENCLOSING)


def _complete_op_names(instructions: Sequence[_Instruction]) -> dict[str, str]:
    """The `op_name` of each instruction; one without a path has that of the first reader, or else of an operand.

    An argument of the program has a name there that is no path.
    """
    names = {item.name: item.op_name if "/" in item.op_name else "" for item in instructions}
    unnamed = {name for name, op_name in names.items() if not op_name}
    for item in reversed(instructions):  # the first reader comes last; each has its final name before it is read here
        for operand in unnamed.intersection(item.operands):
            names[operand] = names[item.name] or names[operand]
    for item in instructions:
        names[item.name] = names[item.name] or next((names[o] for o in item.operands if names.get(o)), "")
    return names
