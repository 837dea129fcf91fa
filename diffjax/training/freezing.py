"""Frozen parameters: those that match a pattern keep every bit in training."""

from collections.abc import Hashable
from dataclasses import dataclass, replace

import jax
import optax
from jax.tree_util import KeyPath
from jaxtyping import Array, Key, PyTree

from diffjax.errors import UserError
from diffjax.nets.interface import check_net, clone, net_null_condition
from diffjax.protocols import Net
from diffjax.traits import NetTraits, net_traits
from diffjax.utils.tree_paths import check_patterns, leaf_name, leaves_by_name, matches


@dataclass(frozen=True)
class FrozenNet:
    """A net whose parameters that match `patterns` get no gradient, and none is computed."""

    net: Net
    patterns: tuple[str, ...]

    @property
    def traits(self) -> NetTraits:
        """Those of the net, without `fixed`, which `patterns` include."""
        return replace(net_traits(self.net), controllable=False, fixed=())

    @property
    def null_cond(self) -> PyTree:
        """The null condition of the net."""
        return net_null_condition(self.net)

    def init(self, key: Key[Array, ""], *args: PyTree, **kwargs: PyTree) -> PyTree:
        """The net's variables. Raises UserError for a pattern that matches nothing, and where all is frozen."""
        variables = self.net.init(key, *args, **kwargs)
        names = leaves_by_name(variables["params"])
        check_patterns(names, self.patterns, "train.freeze")
        if all(matches(name, self.patterns) for name in names):
            raise UserError(f"train.freeze: {', '.join(self.patterns)} leave nothing to train; leave something out")
        return variables

    def apply(self, variables: PyTree, *args: PyTree, **kwargs: PyTree) -> PyTree:
        """The net's output."""

        def stop_frozen(path: KeyPath, leaf: Array) -> Array:
            return jax.lax.stop_gradient(leaf) if matches(leaf_name(path), self.patterns) else leaf

        params = jax.tree_util.tree_map_with_path(stop_frozen, variables["params"])
        return self.net.apply({**variables, "params": params}, *args, **kwargs)

    def clone(self, **changes: PyTree) -> "FrozenNet":
        """The same around a clone of the net with these fields changed."""
        return replace(self, net=clone(self.net, **changes))


def freeze(
    net: Net, optimizer: optax.GradientTransformation, patterns: tuple[str, ...] = ()
) -> tuple[Net, optax.GradientTransformation]:
    """Net and optimizer with the parameters frozen whose names match a pattern, such as `Embedding_0/*`.

    Also those of the net's own patterns (`net.traits.fixed`), as of one with adapters. Frozen parameters have no
    optimizer state and no weight decay, and do not count in the norm by which gradients are clipped. Raises UserError
    for what is no net.
    """
    check_net(net)
    patterns = (*patterns, *net_traits(net).fixed)
    if not patterns:
        return net, optimizer

    def label(path: KeyPath, _: Array | jax.ShapeDtypeStruct) -> str:
        return "frozen" if matches(leaf_name(path), patterns) else "trained"

    def labels(params: PyTree) -> PyTree:
        return jax.tree_util.tree_map_with_path(label, params)

    transforms: dict[Hashable, optax.GradientTransformation] = {"trained": optimizer, "frozen": optax.set_to_zero()}
    return FrozenNet(net, patterns), optax.partition(transforms, labels)


def frozen_patterns(net: object) -> tuple[str, ...]:
    """The patterns of the frozen parameters of a net that `freeze` returned; else none."""
    return net.patterns if isinstance(net, FrozenNet) else ()
