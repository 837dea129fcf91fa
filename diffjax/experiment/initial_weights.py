"""Weights of another run as the beginning of a new one."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from diffjax.errors import UserError
from diffjax.experiment import build
from diffjax.experiment.trained_model import Weights
from diffjax.nets.adapters import merge_adapters as plain_net
from diffjax.utils.tree_paths import leaf_name, leaves_by_name


def matching_weights(params: PyTree, weights: Weights, source: str) -> tuple[PyTree, list[str]]:
    """A net's weights with those of another run in place of all that have the same name and shape; and a list.

    The list tells, for people, how many were taken, which were not, and which of the other's had no use. Raises
    UserError where nothing fits.
    """
    net = build.build_model(weights.config.model, weights.data).net
    ours = leaves_by_name(params)
    theirs = leaves_by_name(plain_net(net, weights.params)[1])
    fits = {path for path in ours if path in theirs and ours[path].shape == theirs[path].shape}
    if not fits:
        raise UserError(f"train.init_from: no weight of {source} has the name and shape of one of this net's; drop it")
    merged = jax.tree_util.tree_map_with_path(
        lambda path, leaf: (
            jnp.asarray(np.asarray(theirs[leaf_name(path)]), leaf.dtype, copy=True) if leaf_name(path) in fits else leaf
        ),
        params,
    )
    count, total = (sum(ours[path].size for path in paths) for paths in (fits, ours))
    lines = [
        f"train.init_from: {count:,} of {total:,} parameters are those of {source}, "
        f"step {weights.step:,}, {weights.ema}"
    ]
    for path in sorted(ours.keys() - fits):
        other = f"; there it is {theirs[path].shape}" if path in theirs else ""
        lines.append(f"  fresh: {path} {ours[path].shape}{other}")
    return merged, [*lines, *(f"  left: {path} {theirs[path].shape}" for path in sorted(theirs.keys() - ours.keys()))]
