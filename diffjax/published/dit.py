"""DiT (Peebles & Xie 2023) and SiT (Ma et al. 2024): files of one layout, whose weights are those of `nets.DiT`.

A DiT predicts eps at steps 0 … 999 of linear betas, and the range of its posterior's variance. A SiT predicts
x0 - eps on the straight path at the time 1 - t, so its last layer is negated here, and the net is one of
`predict.velocity`. Nothing in a file tells the two apart, so its name does.
"""

import re
from collections.abc import Iterable
from math import isqrt

import jax.numpy as jnp
import numpy as np

from diffjax import net_inputs, order, predict, schedule
from diffjax.errors import UserError
from diffjax.nets.adaln_zero import sincos_positions
from diffjax.nets.dit import DiT
from diffjax.noise import Gaussian
from diffjax.published.family import Family, PublishedModel
from diffjax.published.latent_scale import LatentScale
from diffjax.published.stored_tensors import WeightFile
from diffjax.published.tensor_mapping import (
    Layout,
    Source,
    as_stored,
    net_shapes,
    place_tensors,
    sources_by_name,
    transposed,
)
from diffjax.utils.tree_paths import leaves_by_name

HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16}  # of the published widths, which no tensor tells
HEAD_WIDTH = 64  # of other widths
FREQUENCIES = 256
LATENTS = LatentScale(0.18215)  # of the codec of Stable Diffusion 1
POSITIONS = "pos_embed"
MAX_POSITION_ERROR = 1e-5

MODULES = {  # of the net, and of the file
    "Dense_0": "x_embedder.proj",
    "Embedding_0/Dense_0": "t_embedder.mlp.0",
    "Embedding_0/Dense_1": "t_embedder.mlp.2",
    "Embedding_0/Embed_0": "y_embedder.embedding_table",
    "FinalLayer_0/Conditioning_0/Dense_0": "final_layer.adaLN_modulation.1",
}
BLOCK_MODULES = {
    "Conditioning_0/Dense_0": "adaLN_modulation.1",
    "Attention_0/Dense_0": "attn.qkv",
    "Attention_0/Dense_1": "attn.proj",
    "Dense_0": "mlp.fc1",
    "Dense_1": "mlp.fc2",
}


def _dit_noise() -> Gaussian:
    return Gaussian(schedule.discrete_linear(), predict.eps, inputs=net_inputs.discrete_steps())


def _sit_noise() -> Gaussian:
    return Gaussian(schedule.flow, predict.velocity, inputs=net_inputs.flow_time)


def _count_heads(width: int) -> int:
    return HEADS.get(width, max(1, width // HEAD_WIDTH))


def _matches(file: WeightFile) -> bool:
    return {"x_embedder.proj.weight", "t_embedder.mlp.0.weight", "final_layer.linear.weight"} <= file.tensors.keys()


def _read_dit(file: WeightFile) -> PublishedModel:
    outputs, features = file.shape("final_layer.linear.weight", 2)[0], file.shape("x_embedder.proj.weight", 4)
    learned = outputs == 2 * features[1] * features[2] ** 2
    model = _read(file, _dit_noise(), learned, transposed, as_stored)
    return model._replace(schedule="discrete_linear()")


def _read_sit(file: WeightFile) -> PublishedModel:
    """Without the outputs for a variance, which are not used."""
    _, channels, patch, _ = file.shape("x_embedder.proj.weight", 4)

    def first_half(tensor: np.ndarray) -> np.ndarray:
        return tensor.reshape(patch**2, -1, *tensor.shape[1:])[:, :channels].reshape(-1, *tensor.shape[1:])

    model = _read(file, _sit_noise(), False, lambda tensor: -first_half(tensor).T, lambda tensor: -first_half(tensor))
    return model._replace(schedule="flow", sampler="heun", steps=25)


def _read(file: WeightFile, noise: Gaussian, learned: bool, kernel: Layout, bias: Layout) -> PublishedModel:
    """The model, `kernel` and `bias` being the layouts of its last layer."""
    width, channels, patch, _ = file.shape("x_embedder.proj.weight", 4)
    classes = file.shape("y_embedder.embedding_table.weight", 2)[0] - 1
    net = DiT(
        patch=patch,
        width=width,
        depth=file.depth("blocks"),
        heads=_count_heads(width),
        classes=classes,
        frequencies=FREQUENCIES,
        learned_variance=learned,
    )
    sides = isqrt(file.shape(POSITIONS, 3)[1])
    _check_positions(file, sides, width)
    shape = (sides * patch, sides * patch, channels)
    shapes = net_shapes(net, shape, jnp.zeros(1, jnp.int32))
    sources = _sources(shapes) | _last_sources(kernel, bias)
    params = place_tensors(file, shapes, sources, ignored=(POSITIONS,))
    return PublishedModel(net, params, noise, order.together, shape, classes, latents=LATENTS)


def _sources(shapes: Iterable[str]) -> dict[str, Source]:
    """Those of all parameters but the last layer's."""
    names = {}
    for name in shapes:
        module, leaf = name.rsplit("/", 1)
        block = re.fullmatch(r"AdaLNZeroBlock_(\d+)/(.*)", module)
        renamed = f"blocks.{block[1]}.{BLOCK_MODULES[block[2]]}" if block else MODULES.get(module, module)
        names[name] = f"{renamed}/{leaf}"
    sources = sources_by_name(names.values())
    by_name = {ours: sources[theirs] for ours, theirs in names.items()}
    return by_name | {"Dense_0/kernel": Source("x_embedder.proj.weight", _patch_kernel)}


def _last_sources(kernel: Layout, bias: Layout) -> dict[str, Source]:
    """Those of the last layer."""
    return {
        "FinalLayer_0/Dense_0/kernel": Source("final_layer.linear.weight", kernel),
        "FinalLayer_0/Dense_0/bias": Source("final_layer.linear.bias", bias),
    }


def _patch_kernel(weight: np.ndarray) -> np.ndarray:
    """The dense kernel [(row, column, channel), width] of a convolution's [width, channel, row, column]."""
    return weight.transpose(2, 3, 1, 0).reshape(-1, len(weight))


def _check_positions(file: WeightFile, sides: int, width: int) -> None:
    """Raise UserError for other positions than the published formula has."""
    stored = file.tensors[POSITIONS]
    expected = (1, sides**2, width)
    if stored.shape != expected:
        raise UserError(
            f"{file.path}: {POSITIONS!r} has shape {stored.shape}, expected {expected} of a square; convert it"
        )
    error = np.abs(stored.read()[0].astype(np.float32) - np.asarray(sincos_positions((sides, sides), width))).max()
    if not error <= MAX_POSITION_ERROR:
        raise UserError(
            f"{file.path}: {POSITIONS!r} is not the fixed table of sines and cosines; use the published file"
        )


def published_tensors(model: PublishedModel) -> dict[str, np.ndarray]:
    """The tensors of a file of DiT or SiT, by the model's noise, for a net that their programs have.

    A SiT without outputs for a variance is one of `learn_sigma=False`. Raises UserError for another net or noise.
    """
    net, noise, shape = model.net, model.noise, model.shape
    if not isinstance(net, DiT) or not isinstance(noise, Gaussian):
        raise UserError("layout: the published one is of nets.DiT with Gaussian noise; leave --layout out")
    _check_layout(net, shape)
    sign = _output_sign(noise)
    leaves = {name: np.asarray(leaf) for name, leaf in leaves_by_name(model.params).items()}
    tensors = {}
    for name, source in (_sources(leaves) | _last_sources(transposed, as_stored)).items():
        leaf = leaves[name].T if source.layout is transposed else leaves[name]
        tensors[source.tensor] = sign * leaf if name.startswith("FinalLayer_0/Dense_0/") else leaf
    kernel = leaves["Dense_0/kernel"].reshape(net.patch, net.patch, shape[-1], net.width)
    tensors["x_embedder.proj.weight"] = kernel.transpose(3, 2, 0, 1)
    tensors[POSITIONS] = np.asarray(sincos_positions((shape[0] // net.patch,) * 2, net.width))[None]
    return {name: np.ascontiguousarray(tensor, np.float32) for name, tensor in tensors.items()}


def _output_sign(noise: Gaussian) -> int:
    """1 for the noise of DiT, -1 for that of SiT."""
    for sign, theirs in ((1, _dit_noise()), (-1, _sit_noise())):
        if (noise.schedule, noise.parameterization, noise.inputs) == (
            theirs.schedule,
            theirs.parameterization,
            theirs.inputs,
        ):
            return sign
    expected = (
        "schedule=discrete_linear(), prediction=eps, inputs=discrete_steps() (DiT), or flow, velocity, flow_time (SiT)"
    )
    raise UserError(f"layout: expected {expected}; another noise has no published layout")


def _check_layout(net: DiT, shape: tuple[int, ...]) -> None:
    """Raise UserError for what the published program cannot have."""
    named = ("patch", "width", "depth", "heads", "classes", "learned_variance")
    published = DiT(**{name: vars(net)[name] for name in named}, frequencies=FREQUENCIES)
    computed = {name: vars(net)[name] for name in ("dropout", "perturbed", "remat", "attention_kernel", "dtype")}
    square = len(shape) == 3 and shape[0] == shape[1] and shape[0] % net.patch == 0
    if net != published.clone(**computed) or not net.classes or not square:
        problem = f"a DiT of square images and of classes alone, with frequencies={FREQUENCIES}"
        raise UserError(f"layout: the published one is for {problem}; export it without --layout")
    if net.heads != _count_heads(net.width):
        raise UserError(
            f"layout: no tensor tells the {net.heads} heads of width {net.width}; export it without --layout"
        )


_LICENCE = "CC-BY-NC 4.0 (not for commercial use)"
DIT = Family("DiT", _LICENCE, "https://github.com/facebookresearch/DiT", _matches, _read_dit)
SIT = Family("SiT", "MIT", "https://github.com/willisma/SiT", _matches, _read_sit, prefix="sit")
