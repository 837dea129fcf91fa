"""Leaves of a tree by their names, `Block_0/Dense_0/kernel`, and patterns of such names."""

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase

import jax
from jax.tree_util import KeyPath
from jaxtyping import PyTree

from diffjax.errors import UserError


def leaf_name(path: KeyPath) -> str:
    """The name of the leaf at this path of a tree."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def leaves_by_name(tree: PyTree) -> dict[str, PyTree]:
    """The leaves by name."""
    return {leaf_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name matches one of the patterns, in which `*` stands for any characters."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def check_patterns(names: Iterable[str], patterns: Iterable[str], field: str) -> None:
    """Raise UserError where a pattern matches none of the names."""
    names = list(names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern, names, 3, cutoff=0.3) or names[:3]
            examples = f"there are, of {len(names)}, {', '.join(near)}"
            raise UserError(f"{field}: no parameter is named like {pattern!r}; {examples}")
