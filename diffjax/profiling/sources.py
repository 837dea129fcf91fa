"""The part of a program that an operation comes from: a module of a net, forward or backward, or another scope."""

import re
from typing import NamedTuple

MODULE_DEPTH = 2  # of the paths that are told apart: UNet/Block_0, but not UNet/Block_0/Conv_1
LOSS = "noise and loss"  # what is differentiated outside the net's modules
REST = "the rest"
_TRANSFORMED = re.compile(r"(\w+)\((.*)\)")
_JITTED = ("jit", "pjit")
_STRUCTURE = {
    "while", "body", "cond", "scan", "closed_call", "checkpoint", "remat", "rematted_computation",
    "custom_jvp_call", "custom_vjp_call", "custom_jvp", "custom_vjp", "shard_map",
}  # fmt: skip


class Source(NamedTuple):
    """A part of a program: its path of scopes, cut at `MODULE_DEPTH`; `backward` for its share in the gradient."""

    module: str
    backward: bool


def operation_source(op_name: str) -> Source:
    """The source of an operation with that `op_name`, such as `jit(f)/transpose(jvp(UNet))/Block_0/Conv_1/add`.

    What is computed again in the backward pass (`remat`) is backward.
    """
    *scopes, _ = op_name.split("/")  # the last is the primitive
    path = [name for name in map(_scope_name, scopes) if name and name not in _STRUCTURE and "." not in name]
    backward = "transpose(" in op_name or "rematted_computation" in op_name
    if path:
        return Source("/".join(path[:MODULE_DEPTH]), backward)
    return Source(LOSS if backward or "jvp(" in op_name else REST, backward)


def _scope_name(scope: str) -> str:
    """The scope without the transformations around it; empty for a function that was compiled on its own."""
    while (match := _TRANSFORMED.fullmatch(scope)) is not None:
        scope = "" if match[1] in _JITTED else match[2]
    return scope
