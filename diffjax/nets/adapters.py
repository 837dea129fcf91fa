"""Low-rank adapters (LoRA)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite, prod

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import unflatten_dict
from jaxtyping import Array, Float, Key, PyTree

from diffjax.errors import UserError
from diffjax.nets.controlnet import ControlledNet, control
from diffjax.nets.interface import check_net, clone
from diffjax.traits import ConditionalNet, NetTraits, net_traits, traits_over_base
from diffjax.utils.tree_paths import check_patterns, leaf_name, leaves_by_name, matches

__all__ = ["control", "lora"]

FIELD = "model.adapters"


@dataclass(frozen=True)
class AdaptedNet:
    """A net whose dense kernels W, those with names like `on`, are W + (alpha / rank) down up (Hu et al. 2022, eq. 3).

    Its parameters are {"base": the net's own, "lora": the same tree, with {"down": [in, rank], "up": [rank, out]} where
    such a kernel is}; `up` is 0 at the start, where the whole is the net itself.
    """

    net: ConditionalNet
    rank: int
    """Rank of the changes. Range: [1, ∞); at most the smaller side of each matrix.
    When: raise it where the data differ much from those of the base."""
    alpha: float
    """Scale of the changes, which are multiplied by alpha / rank. Range: any finite number but 0.
    When: leave it when `rank` changes; raise it in place of the learning rate."""
    on: str
    """Kernels that are changed. Range: a pattern of names of kernels, such as `*Attention*`.
    When: narrow it to train fewer parameters."""

    @property
    def traits(self) -> NetTraits:
        """Those of the net, whose own parameters are fixed."""
        return traits_over_base(self.net)

    @property
    def null_cond(self) -> PyTree:
        """The null condition of the net."""
        return self.net.null_cond

    def init(self, key: Key[Array, ""], *args: PyTree, **more: PyTree) -> PyTree:
        """The variables. Raises UserError where no kernel matches `on`, or one is smaller than the rank."""
        base = self.net.init(key, *args, **more)["params"]
        kernels = {name: leaf for name, leaf in leaves_by_name(base).items() if _dense(name, leaf)}
        check_patterns(kernels, (self.on,), FIELD)
        chosen = [name for name in kernels if matches(name, (self.on,))]
        keys = jax.random.split(jax.random.fold_in(key, 1), len(chosen))
        changes = {name: self._change(name, kernels[name], key) for name, key in zip(chosen, keys, strict=True)}
        return {"params": {"base": base, "lora": unflatten_dict(changes, sep="/")}}

    def apply(self, variables: PyTree, *args: PyTree, **more: PyTree) -> PyTree:
        """The output of the net with the changes in its weights."""
        return self.net.apply({"params": self.merged(variables["params"])}, *args, **more)

    def merged(self, params: PyTree) -> PyTree:
        """The parameters of the plain net with the changes added."""
        changes = leaves_by_name(params["lora"])
        kernels = {change.rpartition("/")[0] for change in changes}

        def changed(path: PyTree, kernel: Array) -> Array:
            if (name := leaf_name(path)) not in kernels:
                return kernel
            change = changes[f"{name}/down"] @ changes[f"{name}/up"]
            return kernel + (self.alpha / self.rank * change).reshape(kernel.shape)

        return jax.tree_util.tree_map_with_path(changed, params["base"])

    def _change(self, name: str, kernel: Array, key: Key[Array, ""]) -> dict[str, Float[Array, "_ _"]]:
        inner = kernel.shape[0]
        outer = prod(kernel.shape[1:])
        if self.rank > min(inner, outer):
            raise UserError(
                f"{FIELD}: {name} is a matrix of {inner} by {outer}, which has no rank of {self.rank}; lower it, or "
                "name others with on="
            )
        down = nn.initializers.lecun_normal()(key, (inner, self.rank))
        return {"down": down, "up": jnp.zeros((self.rank, outer))}

    def clone(self, **changes: PyTree) -> "AdaptedNet":
        """The same around a clone of the net with these fields changed."""
        return replace(self, net=clone(self.net, **changes))


def lora(net: ConditionalNet, rank: int = 4, alpha: float = 4.0, on: str = "*") -> AdaptedNet:
    """The net with low-rank changes to its dense layers, those of attention included, which alone are trained.

    `on` is a pattern of names of kernels, such as `*Attention*`. Raises UserError for a rank below 1, an alpha that
    is 0 or not finite, for what is not a net, and for one with stacked parameters.
    """
    check_net(net)
    if net_traits(net).stacked:
        raise UserError(f"{FIELD}: lora needs a net with scan=False, got {type(net).__name__}(scan=True)")
    if rank < 1 or not alpha or not isfinite(alpha):
        raise UserError(f"expected a rank of at least 1 and a finite alpha that is not 0, got {rank} and {alpha}")
    return AdaptedNet(net, rank, alpha, on)


def merge_adapters(net: ConditionalNet, params: PyTree) -> tuple[ConditionalNet, PyTree]:
    """The net without adapters, and its parameters with the changes added."""
    return (net.net, net.merged(params)) if isinstance(net, AdaptedNet) else (net, params)


def map_base(net: object, params: PyTree, change: Callable[[PyTree], PyTree]) -> PyTree:
    """The parameters with `change` applied to those of the base net."""
    added = isinstance(net, (AdaptedNet, ControlledNet))
    return {**params, "base": change(params["base"])} if added else change(params)


def _dense(name: str, leaf: Array) -> bool:
    """Whether a parameter is the kernel of a dense layer: a matrix, or the tensor of a DenseGeneral.

    Equinox names matrices `weight`, those of its embeddings too.
    """
    *_, module, last = ("", *name.split("/"))
    return (last == "kernel" and (leaf.ndim == 2 or module.startswith("Dense"))) or (
        last == "weight" and leaf.ndim == 2
    )
