"""The weights that `fit` returned, in one file, and back: for nets that are described by code and not by a config."""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from diffjax.errors import UserError
from diffjax.nets.interface import check_net, check_variables, explain_flax_errors
from diffjax.training import ema as averages
from diffjax.training import safetensors_io
from diffjax.training.ema import initial_averages
from diffjax.training.state import State
from diffjax.utils.kinds import describe_value
from diffjax.utils.tree_paths import leaf_name, leaves_by_name

KIND = "variables"  # in the header of a file: weights alone, without the config of a run
MAX_SHOWN = 3  # parameters that a message names


def save(state: State, path: str | Path, *, ema: float | str | None = None) -> None:
    """Write an average of the weights of a training state into one file, NAME.safetensors, which can run no code.

    `ema` is the decay or the name of one of the state's averages, by default the one of the longest decay, `state.ema`.
    The file is written whole or not at all, replaces an older one, and holds a SHA-256 of its contents; missing folders
    are made. `load_variables` reads it. Of several hosts, let one save.

    Raises UserError for what is no state, for an average that it does not have, for weights that are not finite, and
    where the file cannot be written.
    """
    if not isinstance(state, State):
        raise UserError(f"save: state must be what dj.fit returned, got {describe_value(state)}")
    path = _path("save", path)
    if path.suffix != safetensors_io.SUFFIX or path.is_dir():
        raise UserError(f"save: path must be a file such as weights{safetensors_io.SUFFIX}, got {str(path)!r}")
    name = averages.select_average(tuple(state.emas), None if ema is None else averages.average_names((ema,))[0])
    params = {leaf: np.asarray(value) for leaf, value in leaves_by_name(state.emas[name]).items()}
    for leaf, value in params.items():
        if not np.isfinite(value.astype(np.float64)).all():
            raise UserError(f"save: parameter {leaf} of average {name} is not finite; save an earlier state")
    safetensors_io.write(path, params, {"kind": KIND, "step": int(state.step), "ema": name})


def load_variables(path: str | Path, net: Any, x: Any, cond: PyTree = None) -> dict[str, PyTree]:
    """The Flax variables in a file that `save` or export.py wrote, `{"params": …}`, for `denoiser(noise, net, …)`.

    `net` is the net that was trained. `x` and `cond` are a batch like those of its training, x [b, *shape], as arrays
    or as `jax.ShapeDtypeStruct`; their values are not used, and `cond` may be left out where the net can do without.

    Raises UserError for a file that cannot be read, has changed since it was written, or whose parameters differ from
    those of the net in a name, shape or dtype.
    """
    check_net(net)
    path = _path("load_variables", path)
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give a file that dj.save wrote, or read a run's folder with dj.load")
    expected_shapes = _net_shapes(net, x, cond)
    stored = leaves_by_name(safetensors_io.read(path)[0])
    if different := _differences(stored, leaves_by_name(expected_shapes)):
        others = f", and {len(different) - MAX_SHOWN} more" if len(different) > MAX_SHOWN else ""
        raise UserError(
            f"{path}: holds the parameters of another net: {'; '.join(different[:MAX_SHOWN])}{others}; give the net "
            "and an x "
            "of the shape that it was trained with"
        )
    return {
        "params": jax.tree_util.tree_map_with_path(lambda at, _: jnp.asarray(stored[leaf_name(at)]), expected_shapes)
    }


def _path(function: str, path: Any) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise UserError(
            f"{function}: path must be a file such as 'weights{safetensors_io.SUFFIX}', got {describe_value(path)}"
        )
    return Path(path)


def _net_shapes(net: Any, x: Any, cond: PyTree) -> PyTree:
    """The shape and dtype of an average of each parameter of a net for such a batch; none is made."""
    if not isinstance(x, jax.Array | np.ndarray | jax.ShapeDtypeStruct) or not x.shape:
        raise UserError(
            "load_variables: x must be a batch as in training, such as jnp.zeros((1, 8, 8, 1)), got "
            f"{describe_value(x)}"
        )
    x, cond = jax.eval_shape(partial(jax.tree.map, lambda leaf: jnp.asarray(leaf)[:1]), (x, cond))
    with explain_flax_errors(net):
        variables = jax.eval_shape(net.init, jax.random.key(0), x, jnp.zeros((1,) * x.ndim), cond)
    check_variables(net, variables)
    return jax.eval_shape(lambda params: initial_averages(("",), params)[""], variables["params"])


def _differences(stored: Mapping[str, Any], expected_shapes: Mapping[str, Any]) -> list[str]:
    """In what parameters differ, those in the file and those of the net, one text for each that does."""
    differences = []
    for name in sorted(stored.keys() | expected_shapes.keys()):
        if name not in stored:
            differences.append(f"{name} is missing in the file")
        elif name not in expected_shapes:
            differences.append(f"{name} is not in the net")
        elif (stored_format := _format(stored[name])) != (expected_format := _format(expected_shapes[name])):
            differences.append(f"{name} is {stored_format} in the file and {expected_format} in the net")
    return differences


def _format(leaf: Any) -> str:
    return f"{leaf.dtype} {list(leaf.shape)}"
