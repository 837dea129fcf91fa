"""From the tensors of a file to the parameters of a net: which tensor, and in which layout."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from jaxtyping import PyTree

from diffjax.errors import UserError
from diffjax.protocols import Net
from diffjax.published.stored_tensors import FLOATS, WeightFile
from diffjax.utils.tree_paths import leaves_by_name, matches

Shape = tuple[int, ...]
Layout = Callable[[np.ndarray], np.ndarray]


class Source(NamedTuple):
    """Where a parameter comes from: the name of a tensor, and the change of its layout, which may not copy."""

    tensor: str
    layout: Layout


def as_stored(tensor: np.ndarray) -> np.ndarray:
    """The tensor itself."""
    return tensor


def transposed(tensor: np.ndarray) -> np.ndarray:
    """The kernel of a dense layer or a convolution, [*sides, in, out], of a torch weight [out, in, *sides]."""
    return tensor.transpose(*range(2, tensor.ndim), 1, 0)


def pointwise(tensor: np.ndarray) -> np.ndarray:
    """The kernel [in, out] of a dense layer of the weight of a convolution of one position, [out, in, 1, …]."""
    return tensor.reshape(tensor.shape[:2]).T


TORCH_NAMES = {"kernel": ("weight", transposed), "scale": ("weight", as_stored), "embedding": ("weight", as_stored)}


def sources_by_name(names: Iterable[str], prefix: str = "") -> dict[str, Source]:
    """The sources of parameters of a net with the file's names of modules: `a/b.0/kernel` is `a.b.0.weight`."""
    return {name: _source_by_name(name, prefix) for name in names}


def _source_by_name(name: str, prefix: str) -> Source:
    *modules, leaf = name.split("/")
    torch_leaf, layout = TORCH_NAMES.get(leaf, (leaf, as_stored))
    return Source(prefix + ".".join([*modules, torch_leaf]), layout)


def net_shapes(net: Net, shape: Shape, cond: PyTree) -> dict[str, Shape]:
    """The shape of each parameter of a net for x of this shape, without a batch, by name; nothing is computed."""
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    level = jax.ShapeDtypeStruct((1,) * len(x.shape), jnp.float32)
    variables = jax.eval_shape(net.init, jax.random.key(0), x, level, cond)
    return {name: leaf.shape for name, leaf in leaves_by_name(variables["params"]).items()}


def place_tensors(
    file: WeightFile, shapes: Mapping[str, Shape], sources: Mapping[str, Source], ignored: Iterable[str] = ()
) -> PyTree:
    """The parameters in float32, each read as it is placed.

    `ignored` are patterns of names of tensors that the net does not need. Raises UserError for a tensor that is
    missing, is left over, has another shape than the net's, or numbers that are no floats.
    """
    used = {source.tensor for source in sources.values()}
    extra = [name for name in file.tensors if name not in used and not matches(name, ignored)]
    if extra:
        names = ", ".join(map(repr, extra[:3])) + " and others" * (len(extra) > 3)
        raise UserError(
            f"{file.path}: has tensors that this model has no place for, {names}; use the weights as published"
        )
    return unflatten_dict({tuple(name.split("/")): _place(file, name, shapes[name], sources[name]) for name in shapes})


def _place(file: WeightFile, name: str, shape: Shape, source: Source) -> jax.Array:
    file.shape(source.tensor)  # an error where it is missing
    stored = file.tensors[source.tensor]
    if stored.dtype not in FLOATS:
        raise UserError(f"{file.path}: {source.tensor!r} has numbers of type {stored.dtype}, and weights are floats")
    # Shapes first: an array of another one may not allow the layout.
    placeholder = np.broadcast_to(np.zeros((), np.int8), stored.shape)
    try:
        fits = source.layout(placeholder).shape == shape
    except (ValueError, IndexError):
        fits = False
    if not fits:
        problem = f"of shape {stored.shape} does not fit the net's {name} of shape {shape}"
        raise UserError(f"{file.path}: {source.tensor!r} {problem}; use the weights as published")
    values = source.layout(stored.read())
    # Waiting frees the copy of the file's numbers before the next tensor is read.
    return jax.block_until_ready(jnp.asarray(np.asarray(values, np.float32, order="C")))
