"""Weights in one file: safetensors, which holds numbers and names and can run no code.

Its header has a description (`about`, as JSON) and the SHA-256 of everything, so that a changed bit is detected.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from diffjax.errors import UserError
from diffjax.utils.files import describe_error, write_atomically
from diffjax.utils.untrusted import require_file

FORMAT = "1"
SUFFIX = ".safetensors"


def write(path: Path, tree: PyTree, about: Mapping[str, object]) -> None:
    """Write a tree of dictionaries of arrays, their names joined by `/`, and its description.

    Raises UserError, and writes nothing, where that is impossible.
    """
    flat = {
        name: np.asarray(jax.device_get(leaf), order="C") for name, leaf in flatten_dict(dict(tree), sep="/").items()
    }
    metadata = json.dumps(about)
    data = save(flat, {"diffjax": FORMAT, "about": metadata, "sha256": _hash(flat, metadata)})
    write_atomically(path, lambda file: file.write(data))


def write_plain(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write tensors by name without a description, as other programs read them."""
    data = save(dict(tensors))
    write_atomically(path, lambda file: file.write(data))


def read(path: Path) -> tuple[PyTree, dict[str, Any]]:
    """The tree and its description. Raises UserError for a file of another program, or one that has changed."""
    try:
        require_file(path)
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            if header.get("diffjax") != FORMAT:
                writer = header.get("diffjax", "another program")[:40]
                raise UserError(
                    f"{path}: not weights of this version's kind (written by {writer!r}); save or export them again"
                )
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dictionary
        if header.get("sha256") != _hash(flat, header.get("about", "")):
            raise UserError(f"{path}: has changed since it was written; save or export it again")
        about = json.loads(header["about"])
    except UserError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path}: cannot be read as weights ({describe_error(error)[:200]}); save or export it again"
        ) from None
    return unflatten_dict(flat, sep="/"), about


def is_ours(path: Path) -> bool:
    """Whether a file was written by `write`, as far as its header says; no folder is."""
    if path.is_dir() or path.suffix != SUFFIX:
        return False
    try:
        with safe_open(path, framework="numpy") as file:
            return "diffjax" in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def _hash(flat: dict[str, np.ndarray], about: str) -> str:
    """SHA-256 of names, types, shapes, numbers and the description."""
    digest = hashlib.sha256(about.encode())
    for name in sorted(flat):
        digest.update(f"{name} {flat[name].dtype} {flat[name].shape} ".encode())
        digest.update(flat[name].reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
