"""The small leaves of a tree as a few vectors, for what is computed element by element.

A net has many biases and small kernels. A program with an operation for each of them takes twice as long to compile
and to load, and on a GPU each is a kernel of its own.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from diffjax.utils.tree_paths import leaf_name

MAX_SIZE = 2**18  # numbers of a leaf that is joined: larger ones would be copied for nothing
NOT_MATRICES = ("bias", "scale")  # whatever their axes
MATRICES, VECTORS = "joined matrices", "joined vectors"  # and the dtype: the names of the joined leaves

Joint = dict[str, Array]


def is_matrix(name: str, leaf: Array) -> bool:
    """Whether a leaf of this name is a kernel or a table, of its own or joined, and not a bias or scale."""
    if name.startswith((MATRICES, VECTORS)):
        return name.startswith(MATRICES)
    return leaf.ndim > 1 and name.rpartition("/")[2] not in NOT_MATRICES


def join(tree: PyTree, like: PyTree | None = None) -> Joint:
    """The leaves by name, with the small ones of a dtype in two vectors: matrices, and the others.

    They are grouped as those of `like`, whose dtypes may differ.
    """
    groups: dict[str, list[Array]] = defaultdict(list)
    for (group, _), leaf in zip(_grouped(tree if like is None else like), jax.tree.leaves(tree), strict=True):
        groups[group].append(leaf)
    return {group: _concatenate(leaves) for group, leaves in groups.items()}


def split(joined: Joint, like: PyTree) -> PyTree:
    """The tree, with the shapes of `like`, of which `joined` is the joint form."""
    starts: dict[str, int] = defaultdict(int)

    def take(group: str, leaf: Array) -> Array:
        if joined[group].shape == leaf.shape:
            return joined[group]
        start = starts[group]
        starts[group] += leaf.size
        return joined[group][start : start + leaf.size].reshape(leaf.shape)

    leaves = [take(group, leaf) for group, leaf in _grouped(like)]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def map_parts(
    function: Callable[..., PyTree], like: PyTree, *trees: PyTree, elsewhere: Callable[..., PyTree]
) -> PyTree:
    """`function` of each part of the trees that has the structure of `like`, and `elsewhere` of each other leaf."""
    structure = jax.tree.structure(like)

    def is_part(tree: PyTree) -> bool:
        return jax.tree.structure(tree) == structure

    def call(*parts: PyTree) -> PyTree:
        return function(*parts) if is_part(parts[0]) else elsewhere(*parts)

    return jax.tree.map(call, *trees, is_leaf=is_part)


def map_joined(function: Callable[..., PyTree], *trees: PyTree) -> PyTree:
    """`function`, which is of single numbers, of the leaves of trees of one structure."""
    return split(jax.tree.map(function, *(join(tree, trees[0]) for tree in trees)), trees[0])


def _grouped(tree: PyTree) -> Iterator[tuple[str, Array]]:
    """Each leaf with the name of its group."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = leaf_name(path)
        if leaf.size > MAX_SIZE or not jnp.issubdtype(leaf.dtype, jnp.inexact):
            yield name, leaf
        else:
            yield f"{MATRICES if is_matrix(name, leaf) else VECTORS} {leaf.dtype}", leaf


def _concatenate(leaves: list[Array]) -> Array:
    return leaves[0] if len(leaves) == 1 else jnp.concatenate([jnp.ravel(leaf) for leaf in leaves])
