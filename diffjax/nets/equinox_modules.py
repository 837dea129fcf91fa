"""Modules of Equinox as nets. Equinox is not a dependency: a caller with a module has imported it."""

import importlib
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType

import jax
from jaxtyping import Array, PyTree

from diffjax.errors import UserError
from diffjax.nets.interface import ARGUMENTS, check_arguments
from diffjax.nets.module_net import (
    ModuleNet,
    check_module,
    check_parameters,
    hashable_content,
    make_identity,
    path_names,
    read_traits,
    shapes,
)
from diffjax.protocols import Keys

__all__ = ["from_equinox"]

SIGNATURE = "def __call__(self, x, level, cond=None, *, key=None)"


def from_equinox(module: object) -> ModuleNet:
    """A net of an Equinox module, called as `module(x, level, cond, key=key)` on each example, by `jax.vmap`.

    There x (channels last), the level, which broadcasts against x, and the condition have no batch axis. The module's
    floating-point arrays are the parameters, as for `eqx.filter_grad`, and training starts from their values; all else
    is constant. `key` is the example's key for dropout; without one, as in sampling, the module is in inference mode.

    Raises UserError where it is no such module, does not take these arguments, has no parameters, or keeps a state, as
    `eqx.nn.BatchNorm` does.
    """
    imported = sys.modules.get("equinox")
    check_module("from_equinox", module, imported.Module if imported else (), "Equinox")
    equinox = importlib.import_module("equinox")
    check_arguments(module, ARGUMENTS[:3], ("key",), SIGNATURE)
    _check_stateless(equinox, module)
    params, rest = equinox.partition(module, equinox.is_inexact_array)
    paths, treedef = jax.tree_util.tree_flatten_with_path(params)
    arrays = {path_names(path): leaf for path, leaf in paths}
    check_parameters("from_equinox", module, arrays)

    def build(arrays: Sequence[Array]) -> PyTree:
        return equinox.combine(jax.tree.unflatten(treedef, arrays), rest)

    def call(arrays: Sequence[Array], x: Array, level: Array, cond: PyTree, keys: Keys | None, **more: PyTree) -> Array:
        trained = build(arrays)
        built = equinox.nn.inference_mode(trained) if keys is None else trained

        def one(x: Array, level: Array, cond: PyTree, key: Array | None, more: Mapping[str, PyTree]) -> Array:
            return built(x, level, cond, key=key, **more)

        return jax.vmap(one)(x, level, cond, keys, more)

    identity = make_identity("from_equinox", module, hashable_content((shapes(params), rest)))
    return ModuleNet(identity, arrays, build, call, *read_traits("from_equinox", module))


def _check_stateless(equinox: ModuleType, module: object) -> None:
    """Raise UserError where a layer has state."""

    def is_state(leaf: object) -> bool:
        return isinstance(leaf, equinox.nn.StateIndex)

    for path, leaf in jax.tree_util.tree_leaves_with_path(module, is_leaf=is_state):
        if is_state(leaf):
            raise UserError(
                f"from_equinox: {type(module).__name__} keeps a state at {'/'.join(path_names(path))}, and a net is a "
                "function of its parameters alone; use eqx.nn.GroupNorm or eqx.nn.LayerNorm for eqx.nn.BatchNorm"
            )
