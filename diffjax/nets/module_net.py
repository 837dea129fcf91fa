"""Nets made of modules of other frameworks: a module's arrays are the parameters, all else is the net."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Key, PyTree

from diffjax.errors import UserError
from diffjax.nets.interface import net_null_condition
from diffjax.protocols import Keys
from diffjax.traits import NetTraits, net_traits

Name = tuple[str, ...]
Module = TypeVar("Module")


@dataclass(frozen=True)
class ModuleNet:
    """A net made of a module.

    Two are equal, and share compiled programs, where their modules differ in the values of parameters alone. The
    parameters are a nested dict, by the names of attributes and the indices of lists, `{"layers": {"0": {"kernel":
    array}}}`.
    """

    identity: "Identity"
    arrays: Mapping[Name, Array] = field(compare=False, repr=False)  # the parameters, in the order of the module
    build: Callable[[Sequence[Array]], PyTree] = field(compare=False, repr=False)  # the module with such arrays
    call: Callable[..., Array] = field(compare=False, repr=False)  # (arrays, x, level, cond, keys, **more) -> out
    traits: NetTraits = field(compare=False, repr=False)
    null_cond: PyTree = field(compare=False, repr=False)  # None for an unconditional net

    @property
    def variables(self) -> dict[str, PyTree]:
        """The module's parameters, as `denoiser` takes them."""
        return {"params": unflatten_dict(dict(self.arrays))}

    def init(self, key: Key[Array, ""], *args: PyTree, **more: PyTree) -> dict[str, PyTree]:
        """A copy of the module's parameters, whatever the key."""
        return jax.tree.map(jnp.copy, self.variables)

    def apply(
        self, variables: PyTree, x: Array, level: Array, cond: PyTree = None, keys: Keys | None = None, **more: PyTree
    ) -> Array:
        """The output of the module with these parameters, `level` broadcast to the batch."""
        level = jnp.broadcast_to(level, (len(x), *level.shape[1:]))
        return self.call(self._ordered(variables), x, level, cond, keys, **more)

    def module(self, variables: PyTree) -> PyTree:
        """A new module like the original, with these parameters, such as those of `state.ema`."""
        return self.build(self._ordered(variables))

    def _ordered(self, variables: PyTree) -> list[Array]:
        """The parameters in the module's order. Raises UserError where one is missing."""
        params: PyTree = flatten_dict(variables["params"])
        missing = [name for name in self.arrays if name not in params]
        if missing:
            raise UserError(f"net: variables have no parameter {'/'.join(missing[0])}; give those of this net")
        return [params[name] for name in self.arrays]


class Identity:
    """The equality of two nets; its hash is computed once, since every call of a compiled function needs it."""

    def __init__(self, *parts: Hashable) -> None:
        self._parts = parts
        self._hash = hash(parts)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Identity) and self._hash == other._hash and self._parts == other._parts
        )

    def __repr__(self) -> str:
        return f"{self._parts[0]}({self._parts[1].__name__})"  # type: ignore[attr-defined]


def make_identity(maker: str, module: object, *parts: Hashable) -> Identity:
    """The identity of a module. Raises UserError where a part of it cannot be hashed."""
    try:
        return Identity(maker, type(module), *parts)
    except TypeError as error:
        raise UserError(
            f"{maker}: module {type(module).__name__} has an attribute that can't be hashed ({error}), and nets are "
            "looked up among what was compiled; make it a tuple, a number, a string or an array"
        ) from error


def hashable_content(tree: PyTree) -> Hashable:
    """The tree as a hashable value, its arrays as bytes."""
    leaves, treedef = jax.tree.flatten(tree)
    return treedef, tuple(map(_bytes, leaves))


def _bytes(leaf: object) -> Hashable:
    if not isinstance(leaf, (jax.Array, np.ndarray)):
        return type(leaf), leaf
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return str(leaf.dtype), _bytes(jax.random.key_data(leaf))
    array = np.asarray(leaf)
    return array.shape, str(array.dtype), array.tobytes()


def shapes(tree: PyTree) -> PyTree:
    """The tree with the shape and dtype of each array in its place."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def path_names(path: tuple[PyTree, ...]) -> Name:
    """The names along a path in a tree."""
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)


def read_traits(maker: str, module: object) -> tuple[NetTraits, PyTree]:
    """Traits and null condition of a module. Raises UserError for traits that only nets of linen have."""
    traits = net_traits(module)
    if traits.has_head or traits.perturbable or traits.controllable:
        raise UserError(
            f"{maker}: {type(module).__name__}.traits: has_head, perturbable and controllable serve modules of "
            "flax.linen alone; leave them out"
        )
    return traits, net_null_condition(module)


def check_module(maker: str, module: object, base: type[Module] | tuple[()], framework: str) -> Module:
    """The module. Raises UserError for anything but an instance of the framework's modules."""
    if isinstance(module, type):
        raise UserError(f"{maker}: expected an instance, got the class {module.__name__}; write {module.__name__}(...)")
    if not isinstance(module, base):
        raise UserError(
            f"{maker}: module must be a module of {framework}, got {type(module).__name__}; modules of flax.linen are "
            "nets as they are, for others there are dj.nets.from_nnx and dj.nets.from_equinox"
        )
    return module


def check_parameters(maker: str, module: object, arrays: Mapping[Name, Array]) -> None:
    """Raise UserError for a module without parameters."""
    if not arrays:
        raise UserError(f"{maker}: module {type(module).__name__} has no parameters; make its layers in __init__")
