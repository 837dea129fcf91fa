"""Modules of flax.nnx as nets."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key, PyTree

from diffjax.errors import UserError
from diffjax.nets.interface import ARGUMENTS, SIGNATURE, check_arguments
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

__all__ = ["from_nnx"]


def from_nnx(module: object) -> ModuleNet:
    """A net of a flax.nnx module, called as `module(x, level, cond, keys)`, on batches.

    Its `nnx.Param`s are the parameters, and training starts from their values; other variables and arrays are
    constants. All are copied now. In training the module's rngs (`nnx.Dropout`) are seeded by each example's key;
    without keys, as in sampling, `deterministic` is True in every submodule. `keys` are for the module's own draws.

    Raises UserError where it is no such module, does not take these arguments or has no parameters, and, when called,
    where it changes a variable, as `nnx.BatchNorm` does without `use_running_average`.
    """
    module = check_module("from_nnx", module, nnx.Module, "flax.nnx")
    check_arguments(module, ARGUMENTS, (), SIGNATURE)
    graph, *states = nnx.split(module, nnx.Param, nnx.RngState, ...)
    params, streams, rest = _copy(states)
    paths, treedef = jax.tree_util.tree_flatten_with_path(params)
    arrays = {path_names(path[:-1]): leaf for path, leaf in paths}  # the last step is from a variable to its array
    check_parameters("from_nnx", module, arrays)

    def build(arrays: Sequence[Array], streams: PyTree = streams) -> nnx.Module:
        return nnx.merge(graph, *_copy((jax.tree.unflatten(treedef, arrays), streams, rest)))

    def call(arrays: Sequence[Array], x: Array, level: Array, cond: PyTree, keys: Keys | None, **more: PyTree) -> Array:
        if keys is None:
            built = build(arrays, _reseed(streams, jax.random.key(0)))
            built.set_attributes(deterministic=True, raise_if_not_found=False)
            return _call_unchanged(built, x, level, cond, None, **more)
        if not jax.tree.leaves(streams):
            return _call_unchanged(build(arrays), x, level, cond, keys, **more)

        def one(key: Key[Array, ""], example: PyTree) -> Array:
            (x, level, cond), more = jax.tree.map(lambda leaf: leaf[None], example)
            return _call_unchanged(build(arrays, _reseed(streams, key)), x, level, cond, key[None], **more)[0]

        return jax.vmap(one)(keys, ((x, level, cond), more))

    identity = make_identity("from_nnx", module, graph, hashable_content((shapes(params), shapes(streams), rest)))
    return ModuleNet(identity, arrays, build, call, *read_traits("from_nnx", module))


def _copy(states: PyTree) -> PyTree:
    """The same arrays in new variables: NNX mutates variables in place, those of a split state too."""
    return jax.tree.map(lambda leaf: leaf, states)


def _reseed(streams: PyTree, key: Key[Array, ""]) -> PyTree:
    """The states of random streams, the i-th reseeded by fold_in(key, i)."""
    leaves, treedef = jax.tree.flatten(streams)

    def reset(i: int, leaf: Array) -> Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.split(jax.random.fold_in(key, i), leaf.shape)
        return jnp.zeros_like(leaf)

    return jax.tree.unflatten(treedef, [reset(i, leaf) for i, leaf in enumerate(leaves)])


def _call_unchanged(module: nnx.Module, *args: PyTree, **more: PyTree) -> Array:
    """The output of a module. Raises UserError where the call changes a variable other than a random stream."""
    before = _values(module)
    out = module(*args, **more)
    after = _values(module)
    changed = [path for path, (_, value) in before.items() if path in after and after[path][1] is not value]
    if changed:
        raise UserError(
            f"from_nnx: {type(module).__name__} changes its {before[changed[0]][0]} {'/'.join(map(str, changed[0]))} "
            "when it is called, and a net is a function of its nnx.Params alone; use nnx.GroupNorm or nnx.LayerNorm in "
            "place of nnx.BatchNorm, or give that use_running_average=True"
        )
    return out


def _values(module: nnx.Module) -> dict[tuple[PyTree, ...], tuple[str, PyTree]]:
    """Kind and value of each variable that a call must not change."""
    state = nnx.state(module, nnx.Not(nnx.Any(nnx.RngState, nnx.Intermediate)))
    return {tuple(path): _kind_and_value(leaf) for path, leaf in nnx.to_flat_state(state)}


def _kind_and_value(leaf: PyTree) -> tuple[str, PyTree]:
    return (type(leaf).__name__, leaf.get_value()) if isinstance(leaf, nnx.Variable) else ("array", leaf)
