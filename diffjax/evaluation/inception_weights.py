"""Weights of Inception-v3 from a file, and the image features computed with them.

No weights are shipped, and pickled files are refused.
"""

import hashlib
import io
import shlex
import zipfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors

from diffjax.errors import UserError
from diffjax.evaluation.features import Features, Images, Table
from diffjax.evaluation.inception import RESIZES, SIDE, Inception, inception_function
from diffjax.utils.files import describe_error

MAX_BYTES = 2**28  # of a file, or of what it unpacks to: 24 million numbers in float64, with a margin
EPSILON = 1e-3  # of batch normalisation
WIDTH = 2_048  # values of pool3
UNUSED = (".num_batches_tracked", "fc.bias")  # of the published weights


class Weights(NamedTuple):
    """Variables of `Inception`, and the SHA-256 of their file."""

    variables: PyTree
    sha256: str


def tensor_shapes() -> dict[str, tuple[int, ...]]:
    """The name of every required tensor, and its shape in PyTorch's layout: kernels [out, in, height, width]."""
    result = {}
    for path, kernel in _kernel_shapes().items():
        if path == ("fc",):
            result["fc.weight"] = kernel[::-1]
            continue
        height, width, inputs, outputs = kernel
        result[_tensor_name(path, "conv.weight")] = (outputs, inputs, height, width)
        for part in ("weight", "bias", "running_mean", "running_var"):
            result[_tensor_name(path, f"bn.{part}")] = (outputs,)
    return result


def load_weights(path: str | Path) -> Weights:
    """Weights from `.safetensors` or `.npz` with the names and shapes of `tensor_shapes()`, as pytorch-fid has them.

    Batch normalisation is folded, in float64, into kernel · γ / √(variance + ε) and bias β − mean · γ / √(variance + ε)
    (Ioffe & Szegedy 2015, algorithm 2). Raises UserError, naming file and tensor, for a file that cannot be read or
    is a pickle, and for a tensor that is missing, unknown, of another shape, or not finite.
    """
    path = Path(path)
    data = _read_bytes(path)
    tensors = _read_tensors(path, data)
    check_tensors(path, tensors)
    flat = {}
    for layer in _kernel_shapes():
        if layer == ("fc",):
            flat[(*layer, "kernel")] = tensors["fc.weight"].T
            continue
        gain, bias, mean, variance = (
            tensors[_tensor_name(layer, f"bn.{part}")].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gain / np.sqrt(variance + EPSILON)
        flat[(*layer, "kernel")] = tensors[_tensor_name(layer, "conv.weight")].transpose(2, 3, 1, 0) * scale
        flat[(*layer, "bias")] = bias - mean * scale
    params = unflatten_dict({name: jnp.asarray(value, jnp.float32) for name, value in flat.items()})
    return Weights({"params": params}, hashlib.sha256(data).hexdigest())


def inception_features(path: str | Path, resize: str = "tensorflow_1", batch: int = 32) -> Features:
    """The features of FID and KID: pool3 of Inception-v3, 2048 values per image, with weights from a file.

    `resize` is the rule of published FIDs, `tensorflow_1`, or that of clean-fid, `antialiased`; `batch` images, uint8,
    grey or RGB, are computed at once. The hash is that of the file: the same weights in another format have another.
    Raises UserError for another rule, and as `load_weights` does.
    """
    if resize not in RESIZES:
        raise UserError(f"resize is {resize!r}: choose {' or '.join(RESIZES)}")
    weights = load_weights(path)
    net = inception_function(weights.variables, RESIZES[resize], batch)

    def extract(images: Images) -> Table:
        return np.asarray(net(images).pool3)

    return Features("inception-v3 pool3", weights.sha256, resize, WIDTH, extract)


@cache
def _kernel_shapes() -> dict[tuple[str, ...], tuple[int, ...]]:
    """The path of each layer with a kernel, and the kernel's shape in Flax's layout."""
    variables = jax.eval_shape(Inception().init, jax.random.key(0), jnp.zeros((1, SIDE, SIDE, 3)))
    leaves: dict[tuple[str, ...], jax.ShapeDtypeStruct] = flatten_dict(variables["params"])  # pyright: ignore[reportAssignmentType]
    return {path[:-1]: leaf.shape for path, leaf in leaves.items() if path[-1] == "kernel"}


def _tensor_name(path: tuple[str, ...], part: str) -> str:
    return ".".join((*path, part))


def _read_bytes(path: Path) -> bytes:
    if path.suffix.lower() not in (".safetensors", ".npz"):
        raise UserError(
            f"{path}: expected .safetensors or .npz; a pickle, as PyTorch writes, can run any program and is not "
            f"opened: convert it where PyTorch is installed, by {_conversion_command(path)}"
        )
    try:
        if not path.is_file():  # a pipe would be waited for, a device has no end
            raise UserError(f"{path}: no such file; give one with the weights of Inception-v3")
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: more than {MAX_BYTES:,} bytes, which the weights of Inception-v3 never need")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({describe_error(error)})") from None


def _conversion_command(path: Path) -> str:
    """The shell command that converts a PyTorch file to safetensors."""
    program = (
        "from sys import argv; from torch import load; from safetensors.torch import save_file; "
        "save_file(load(argv[1], weights_only=True), argv[2])"
    )
    return shlex.join(["python", "-c", program, str(path), str(path.with_suffix(".safetensors"))])


def _read_tensors(path: Path, data: bytes) -> dict[str, np.ndarray]:
    try:
        if path.suffix.lower() == ".safetensors":
            return load_safetensors(data)
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            if sum(member.file_size for member in file.zip.infolist()) > MAX_BYTES:
                raise ValueError(f"unpacks to more than {MAX_BYTES:,} bytes")
            return {name: file[name] for name in file.files}
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, MemoryError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read as {path.suffix[1:]} ({describe_error(error)[:200]})") from None


def check_tensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Raises UserError, naming the first tensor that is missing, unknown, or of wrong shape, type or values."""
    expected = tensor_shapes()
    for name, shape in expected.items():
        if name not in tensors:
            raise UserError(
                f"{path}: {name} is missing, expected {shape}; are these the weights of FID's Inception-v3?"
            )
        tensor = tensors[name]
        if tensor.shape != shape:
            raise UserError(f"{path}: {name} has shape {tensor.shape}, expected {shape}: not FID's Inception-v3")
        if tensor.dtype.kind != "f":
            raise UserError(f"{path}: {name} is {tensor.dtype}, expected floating-point numbers")
        if not np.isfinite(tensor).all():
            raise UserError(f"{path}: {name} holds NaN or infinities; fetch the file again")
        if name.endswith("running_var") and tensor.min() < 0:
            raise UserError(
                f"{path}: {name} holds {tensor.min()}, expected variances, at least 0; fetch the file again"
            )
    for name in tensors:
        if name not in expected and not name.endswith(UNUSED):
            raise UserError(
                f"{path}: {name[:100]} is unknown: not FID's Inception-v3 (which has {len(expected)} tensors)"
            )
