"""Weights of `fit` in one file, and back: for nets that are described by code and not by a config."""

import os
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from diffjax.errors import UserError
from diffjax.nets.interface import check_net, check_variables, explain_flax_errors
from diffjax.protocols import Net
from diffjax.training import ema as averages
from diffjax.training import safetensors_io
from diffjax.training.state import State
from diffjax.utils.tree_paths import leaf_name, leaves_by_name
from diffjax.utils.values import describe_value

KIND = "variables"  # in the header of a file: weights alone, without the config of a run
Batch = Array | np.ndarray | jax.ShapeDtypeStruct
MAX_SHOWN = 3  # parameters that a message names


def save(state: State, path: str | Path, *, ema: float | str | None = None) -> None:
    """Write an average of the weights of a training state into one file, NAME.safetensors, which can run no code.

    `ema` is the decay or the name of one of the state's averages, by default the one of the longest decay, `state.ema`.
    The file is written whole or not at all, replaces an older one, and holds a SHA-256 of its contents; missing folders
    are made. `load_variables` reads it. Of several hosts, let one save.

    Raises UserError for what is no state, an average that it does not have, weights that are not finite, and where the
    file cannot be written.
    """
    if not isinstance(state, State):
        raise UserError(f"save: state must be what dj.fit returned, got {describe_value(state)}")
    path = _as_path("save", path)
    if path.suffix != safetensors_io.SUFFIX or path.is_dir():
        raise UserError(f"save: path must be a file such as weights{safetensors_io.SUFFIX}, got {str(path)!r}")
    name = averages.select_average(tuple(state.emas), None if ema is None else averages.average_names((ema,))[0])
    params = {leaf: np.asarray(value) for leaf, value in leaves_by_name(state.emas[name]).items()}
    for leaf, value in params.items():
        if not np.isfinite(value.astype(np.float64)).all():
            raise UserError(f"save: parameter {leaf} of average {name} is not finite; save an earlier state")
    safetensors_io.write(path, params, {"kind": KIND, "step": int(state.step), "ema": name})


def load_variables(path: str | Path, net: Net, x: Batch, cond: PyTree = None) -> dict[str, PyTree]:
    """The Flax variables in a file that `save` or export.py wrote, `{"params": …}`, for `denoiser(noise, net, …)`.

    `net` is the net that was trained. `x` and `cond` are a batch like those of its training, x [b, *shape], as arrays
    or as `jax.ShapeDtypeStruct`; their values are not used, and `cond` may be left out where the net can do without.

    Raises UserError for a file that cannot be read, has changed since it was written, or whose parameters differ from
    those of the net in a name, shape or dtype (of averages: float32 at least).
    """
    check_net(net)
    path = _as_path("load_variables", path)
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give a file that dj.save wrote, or read a run's folder with dj.load")
    shapes = _average_shapes(net, x, cond)
    stored = leaves_by_name(safetensors_io.read(path)[0])
    if different := _differences(stored, leaves_by_name(shapes)):
        others = f", and {len(different) - MAX_SHOWN} more" if len(different) > MAX_SHOWN else ""
        raise UserError(
            f"{path}: holds the parameters of another net: {'; '.join(different[:MAX_SHOWN])}{others}; give the net "
            "and an x of the shape that it was trained with"
        )
    return {"params": jax.tree_util.tree_map_with_path(lambda at, _: jnp.asarray(stored[leaf_name(at)]), shapes)}


def _as_path(function: str, path: object) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise UserError(
            f"{function}: path must be a file such as 'weights{safetensors_io.SUFFIX}', got {describe_value(path)}"
        )
    return Path(path)


def _average_shapes(net: Net, x: Batch, cond: PyTree) -> PyTree:
    """Shape and dtype of an average of each parameter of a net for such a batch; nothing is computed."""
    if not getattr(x, "shape", ()):
        raise UserError(
            "load_variables: x must be a batch as in training, such as jnp.zeros((1, 8, 8, 1)), got "
            f"{describe_value(x)}"
        )

    def init(x: Array, cond: PyTree) -> PyTree:
        one, cond = jax.tree.map(lambda leaf: jnp.asarray(leaf)[:1], (x, cond))
        variables = net.init(jax.random.key(0), one, jnp.zeros((1,) * one.ndim), cond)
        check_variables(net, variables)
        return averages.initial_averages(("",), variables["params"])[""]

    with explain_flax_errors(net):
        return jax.eval_shape(init, x, cond)


def _differences(stored: Mapping[str, np.ndarray], shapes: Mapping[str, jax.ShapeDtypeStruct]) -> list[str]:
    """One clause for each parameter that differs between the file and the net."""
    in_file = {name: f"{leaf.dtype} {list(leaf.shape)}" for name, leaf in stored.items()}
    in_net = {name: f"{leaf.dtype} {list(leaf.shape)}" for name, leaf in shapes.items()}
    return [
        f"{name} is {in_file.get(name, 'missing')} in the file and {in_net.get(name, 'missing')} in the net"
        for name in sorted(in_file.keys() | in_net.keys())
        if in_file.get(name) != in_net.get(name)
    ]
