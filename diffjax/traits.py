"""Traits of nets: all that the library knows of a net beside `init` and `apply`."""

import functools
from dataclasses import dataclass, replace
from typing import Protocol, get_type_hints, runtime_checkable

from jaxtyping import PyTree

from diffjax.errors import UserError
from diffjax.protocols import Cond, Net
from diffjax.utils.kinds import matches_type, type_name
from diffjax.utils.values import describe_value, python_scalar


@runtime_checkable
class ConditionalNet(Net, Protocol):
    """A net with `null_cond`, the null condition without a batch axis; None for an unconditional net."""

    @property
    def null_cond(self) -> Cond: ...


@runtime_checkable
class ClonableNet(Net, Protocol):
    """A net with `clone`, which returns the net with these fields changed, as modules of Flax linen have."""

    def clone(self, **changes: PyTree) -> "ClonableNet": ...


@runtime_checkable
class ConditionEncoder(Protocol):
    """An encoder of one part of a condition (`nets.condition_encoders`)."""

    @property
    def part(self) -> str: ...

    @property
    def drop(self) -> float: ...


@dataclass(frozen=True)
class NetTraits:
    """The value of a net's attribute `traits`. Raises UserError for a field of the wrong type.

    `vocab`: its number of tokens, without the mask; None for a net of real numbers.
    `convolutional`: its sampling and training loops run step by step on a CPU (`parallel.dispatch`).
    `any_size`: its parameters do not depend on the sides of x, so that it serves others than it was trained on.
    `needs_rank`: it predicts each next token, and `apply` takes `rank`, the ranks of the positions `[b, n]`. With the
    methods `init_cache` and `decode_step` of `nets.Transformer` it samples with a key-value cache.
    `has_head`: it has the methods `context`, `head` and `places` of `nets.MAR`, for block-wise sampling.
    `perturbable`: it has a field `perturbed`, the blocks whose attention is the identity, and `clone`.
    `controllable`: `apply` takes `inside` and `added` as `nets.UNet` does, for `nets.control`.
    `stacked`: its blocks' parameters are stacked along a first axis, so `nets.lora` cannot tell their matrices.
    `learned_variance`: its output has twice the channels of x; the second half is for the posterior's variance.
    `attention_kernel`: that of `nets.DiT`; a net with another than 'xla' has that field, and `clone`.
    `fixed`: patterns of the names of the parameters that training leaves alone, such as `"base/*"`.
    `conditions`: its encoders of the parts of a condition.
    """

    vocab: int | None = None
    convolutional: bool = False
    any_size: bool = False
    needs_rank: bool = False
    has_head: bool = False
    perturbable: bool = False
    controllable: bool = False
    stacked: bool = False
    learned_variance: bool = False
    attention_kernel: str = "xla"
    fixed: tuple[str, ...] = ()
    conditions: tuple[ConditionEncoder, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "vocab", python_scalar(self.vocab))
        for name, kind in _field_types().items():
            if not matches_type(vars(self)[name], kind):
                raise UserError(f"NetTraits: {name} must be {type_name(kind)}, got {vars(self)[name]!r}")


@functools.cache
def _field_types() -> dict[str, object]:
    return get_type_hints(NetTraits)


@runtime_checkable
class _HasTraits(Protocol):
    @property
    def traits(self) -> NetTraits: ...


def net_traits(net: object) -> NetTraits:
    """The traits of a net, the defaults where it has none. Raises UserError where `traits` is something else."""
    traits = net.traits if isinstance(net, _HasTraits) else NetTraits()
    if not isinstance(traits, NetTraits):
        raise UserError(f"net: {type(net).__name__}.traits must be dj.NetTraits(…), got {describe_value(traits)}")
    return traits


def traits_over_base(net: object) -> NetTraits:
    """The traits of a wrapper that trains parameters beside those of the net, which are fixed as `base`."""
    return replace(net_traits(net), controllable=False, fixed=("base/*",))
