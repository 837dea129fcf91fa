"""EDM (Karras et al. 2022): files whose weights are those of `nets.edm_unet` or `nets.dhariwal_unet`, of pixels.

A file is a pickled module, `EDMPrecond`, or its state dict, with the U-Net as its part `model`; the preconditioning
around it (eq. 7 and table 1) is `predict.edm` here. DDPM++ and NCSN++ are SongUNets, ADM is a DhariwalUNet. Sides are
in the tensors' names, and all else but the standard deviation of the data in their shapes. Weights of augmentation
labels, which are 0 in sampling, are not read. State dicts of the modules VPPrecond and VEPrecond have the same tensors,
and would get a wrong noise; the modules themselves are refused.
"""

import re
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from diffjax import net_inputs, order, predict, schedule
from diffjax.errors import UserError
from diffjax.nets.dhariwal_unet import DhariwalUNet
from diffjax.nets.edm_unet import SongUNet
from diffjax.noise import Gaussian
from diffjax.published.family import Family, PublishedModel
from diffjax.published.stored_tensors import StoredTensor, WeightFile
from diffjax.published.tensor_mapping import net_shapes, place_tensors, sources_by_name

PREFIX = "model."
ENCODER_LAYER = re.compile(r"model\.enc\.(\d{1,4})x\1_(?:conv|down|block(\d{1,3}))\.")  # a side, and a block's index
TIME_LAYER, LABEL_WEIGHT = "model.map_layer0.weight", "model.map_label.weight"
FREQUENCIES = "model.map_noise.freqs"  # of NCSN++
DHARIWAL_OUTPUT = "model.out_conv.weight"
RESAMPLE_FILTER = ".resample_filter"
IGNORED = ("model.map_augment.weight", f"*{RESAMPLE_FILTER}")
FILTERS = ((1, 1), (1, 3, 3, 1))  # of DDPM++ and ADM, and of NCSN++
MAX_FILTER_ERROR = 1e-6
KIND = "EDMPrecond"
IDDPM_SIGMAS = "u"  # a tensor of iDDPMPrecond, the other kind that tensors tell
DATA_STD = 0.5
STEPS, MANY_STEPS = 18, 40  # the authors': of sides of 32, and of 64


class Layout(NamedTuple):
    """What the encoder's names and shapes tell: the sides of its depths, their channels and blocks, and attention."""

    sides: tuple[int, ...]
    channels: tuple[int, ...]
    blocks: int
    attention: tuple[int, ...]


def _matches(file: WeightFile) -> bool:
    return TIME_LAYER in file.tensors and any(map(ENCODER_LAYER.match, file.tensors))


def _read(file: WeightFile) -> PublishedModel:
    kind = "iDDPMPrecond" if IDDPM_SIGMAS in file.tensors else file.kind
    if kind not in ("", KIND):
        problem = f"is a model of {kind:.80}, whose noise differs from that of {KIND}"
        raise UserError(f"{file.path}: {problem}; use a file of {KIND}, such as edm-cifar10-32x32-cond-vp.pkl")
    layout = _find_layout(file)
    net = _dhariwal_net(file, layout) if DHARIWAL_OUTPUT in file.tensors else _song_net(file, layout)
    side = layout.sides[0]
    shape = (side, side, file.length(f"model.enc.{side}x{side}_conv.weight", 1))
    shapes = net_shapes(net, shape, jnp.zeros(1, jnp.int32) if net.classes else None)
    params = place_tensors(file, shapes, sources_by_name(shapes, PREFIX), IGNORED)
    data_std = file.setting("sigma_data", float, DATA_STD)
    noise = Gaussian(schedule.edm_of(rho=1.0), predict.edm, data_std, net_inputs.log_sigma)
    model = PublishedModel(net, params, noise, order.together, shape, net.classes, schedule="edm_of(rho=1.0)")
    return model._replace(sampler="heun", grid="karras", steps=STEPS if side <= 32 else MANY_STEPS)


def _find_layout(file: WeightFile) -> Layout:
    layers = [match for name in file.tensors if (match := ENCODER_LAYER.match(name))]
    sides = sorted({int(layer[1]) for layer in layers}, reverse=True)
    first_blocks = {side: f"model.enc.{side}x{side}_block0" for side in sides}
    return Layout(
        sides=tuple(sides),
        channels=tuple(file.length(f"{block}.conv0.weight", 0) for block in first_blocks.values()),
        blocks=1 + max((int(layer[2]) for layer in layers if layer[2]), default=-1),
        attention=tuple(side for side, block in first_blocks.items() if f"{block}.qkv.weight" in file.tensors),
    )


def _song_net(file: WeightFile, layout: Layout) -> SongUNet:
    width = file.length(f"model.enc.{layout.sides[0]}x{layout.sides[0]}_conv.weight", 0)
    return SongUNet(
        resolution=layout.sides[0],
        width=width,
        multipliers=tuple(features // width for features in layout.channels),
        blocks=layout.blocks,
        attention=layout.attention,
        classes=_count_classes(file),
        fourier=FREQUENCIES in file.tensors,
        residual_inputs=any("_aux_residual." in name for name in file.tensors),
        resample_filter=_find_filter(file, layout),
        noise_multiplier=file.length(TIME_LAYER, 1) // width,
        embedding_multiplier=file.length(TIME_LAYER, 0) // width,
        dropout=file.setting("dropout", float, 0.0),
    )


def _dhariwal_net(file: WeightFile, layout: Layout) -> DhariwalUNet:
    width = file.length(TIME_LAYER, 1)
    if _find_filter(file, layout) != FILTERS[0]:
        raise UserError(f"its {RESAMPLE_FILTER!r} are not those of ADM, {FILTERS[0]}")
    return DhariwalUNet(
        resolution=layout.sides[0],
        width=width,
        multipliers=tuple(features // width for features in layout.channels),
        blocks=layout.blocks,
        attention=layout.attention,
        classes=_count_classes(file),
        embedding_multiplier=file.length(TIME_LAYER, 0) // width,
        dropout=file.setting("dropout", float, 0.0),
    )


def _count_classes(file: WeightFile) -> int:
    return file.length(LABEL_WEIGHT, 1) if LABEL_WEIGHT in file.tensors else 0


def _find_filter(file: WeightFile, layout: Layout) -> tuple[int, ...]:
    """The filter of all layers that resample. Raises UserError where it is none of FILTERS, or not stored."""
    for side in layout.sides[1:]:
        file.shape(f"model.enc.{side}x{side}_down.conv0{RESAMPLE_FILTER}")  # an error where it is missing
    stored = {name: tensor for name, tensor in file.tensors.items() if name.endswith(RESAMPLE_FILTER)}
    for weights in FILTERS:
        if all(_is_filter(tensor, weights) for tensor in stored.values()):
            return weights
    problem = f"{min(stored)!r} and the like are not all one of the filters {FILTERS}"
    raise UserError(f"{file.path}: {problem}; use the weights as published")


def _is_filter(tensor: StoredTensor, weights: tuple[int, ...]) -> bool:
    expected = np.multiply.outer(weights, weights)[None, None] / sum(weights) ** 2
    if tensor.shape != expected.shape:
        return False
    return bool(np.abs(tensor.read().astype(np.float64) - expected).max() <= MAX_FILTER_ERROR)


FAMILY = Family("EDM", "CC-BY-NC-SA 4.0 (not for commercial use)", "https://github.com/NVlabs/edm", _matches, _read)
