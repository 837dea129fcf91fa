"""ControlNet (Zhang et al. 2023): a condition added to a net whose weights are fixed."""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import unflatten_dict
from jaxtyping import Array, Key, PyTree

from diffjax.conditions import LABEL
from diffjax.errors import UserError
from diffjax.nets.condition_encoders import Picture
from diffjax.protocols import Cond, Keys, Net
from diffjax.traits import ConditionEncoder, NetTraits, net_traits, traits_over_base
from diffjax.utils.tree_paths import leaves_by_name

__all__ = ["control"]


@runtime_checkable
class ControllableNet(Net, Protocol):
    """A module of Flax linen whose traits are `controllable`."""

    @property
    def conditions(self) -> tuple[ConditionEncoder, ...]: ...

    @property
    def null_cond(self) -> Cond: ...

    def clone(self, **changes: PyTree) -> "ControllableNet": ...

    def init_with_output(self, *args: PyTree, **kwargs: PyTree) -> tuple[PyTree, PyTree]: ...


@dataclass(frozen=True)
class ControlledNet:
    """A base net, and a copy of its first half with one condition part more, connected by zero-initialized layers.

    `net` has encoders of all parts, `part` included; the base is the net without it. Parameters are {"base": its own,
    "copy": the differences of the copy from them, "zero": the connecting layers}, so that at the start the copy equals
    the base, whatever its weights, and the whole is the base exactly (eq. 2 and 3).
    """

    net: ControllableNet
    part: str
    """Condition part that is added. Range: the part of a `Picture(…)` in `model.conditions`.
    When: it has another name than the default."""

    @property
    def traits(self) -> NetTraits:
        """Those of the net, whose base is fixed."""
        return traits_over_base(self.net)

    @property
    def null_cond(self) -> PyTree:
        """The null condition of the net."""
        return self.net.null_cond

    @property
    def base(self) -> "ControllableNet":
        """The net without the part."""
        return self.net.clone(conditions=tuple(encoder for encoder in self.net.conditions if encoder.part != self.part))

    def init(self, key: Key[Array, ""], x: Array, level: Array, cond: PyTree = None, **more: PyTree) -> PyTree:
        """The variables."""
        base = self.base.init(key, x, level, self._base_condition(cond), **more)["params"]
        states, copied = self.net.init_with_output(jax.random.fold_in(key, 1), x, level, cond, **more, inside=True)
        shared = leaves_by_name(base)
        copy = leaves_by_name(copied["params"])
        differences = {name: jnp.zeros_like(leaf) if name in shared else leaf for name, leaf in copy.items()}
        zero = {f"Dense_{i}": _zero_layer(state).init(key, state)["params"] for i, state in enumerate(states)}
        return {"params": {"base": base, "copy": unflatten_dict(differences, sep="/"), "zero": zero}}

    def apply(
        self,
        variables: PyTree,
        x: Array,
        level: Array,
        cond: PyTree = None,
        keys: Keys | None = None,
        **more: PyTree,
    ) -> Array:
        """The output of the base with the copy's contributions added."""
        params = variables["params"]
        shared = leaves_by_name(params["base"])
        copy = {name: leaf + shared.get(name, 0) for name, leaf in leaves_by_name(params["copy"]).items()}
        states = self.net.apply({"params": unflatten_dict(copy, sep="/")}, x, level, cond, keys, **more, inside=True)
        added = [
            _zero_layer(state).apply({"params": params["zero"][f"Dense_{i}"]}, state) for i, state in enumerate(states)
        ]
        return self.base.apply(
            {"params": params["base"]}, x, level, self._base_condition(cond), keys, **more, added=added
        )

    def _base_condition(self, cond: PyTree) -> PyTree:
        """The condition without the added part."""
        null = self.base.null_cond
        if not isinstance(cond, dict):
            return cond
        return (
            {name: value for name, value in cond.items() if name in null} if isinstance(null, dict) else cond.get(LABEL)
        )

    def clone(self, **changes: PyTree) -> "ControlledNet":
        """The same around a clone of the net with these fields changed."""
        return replace(self, net=self.net.clone(**changes))


def control(net: ControllableNet, part: str = "sketch") -> ControlledNet:
    """The net without `part`, an image among its conditions, and a trained copy with it.

    Raises UserError where the net has no such encoder, or cannot be controlled (`NetTraits.controllable`).
    """
    chosen = [encoder for encoder in net_traits(net).conditions if encoder.part == part]
    if not chosen or not isinstance(chosen[0], Picture):
        raise UserError(f"control: add Picture(part={part!r}) to model.conditions, which the copy encodes")
    if not net_traits(net).controllable:
        raise UserError(
            f"control: a {type(net).__name__} like this has no blocks to add to; use UNet, DiT or Transformer"
        )
    return ControlledNet(net, part)


def _zero_layer(state: Array) -> nn.Dense:
    """From a state of the copy to what is added to the base's; zero-initialized."""
    return nn.Dense(state.shape[-1], kernel_init=nn.initializers.zeros, dtype=state.dtype)
