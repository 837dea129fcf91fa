"""ADM (Dhariwal & Nichol 2021): U-Nets of pixels that predict eps, and the range of the posterior's variance.

The tensors tell widths, depths, attention and classes. Sides, heads, the layout of q, k and v, and the betas are in no
tensor: they are those of the published model with the same multiples of its width at the depths (the source's README).
"""

import re
from typing import NamedTuple

import jax.numpy as jnp

from diffjax import net_inputs, order, predict, schedule
from diffjax.errors import UserError
from diffjax.nets.adm_unet import ADMUNet
from diffjax.noise import Gaussian
from diffjax.protocols import Schedule
from diffjax.published.family import Family, PublishedModel
from diffjax.published.stored_tensors import WeightFile
from diffjax.published.tensor_mapping import net_shapes, place_tensors, sources_by_name

HEAD_WIDTH = 64
UPSAMPLER_CHANNELS = 6  # of x, and of a picture at low resolution
FIRST_LAYER, LAST_LAYER = "input_blocks.0.0.weight", "out.2.weight"
TIME_LAYER, LABELS = "time_embed.0.weight", "label_emb.weight"
MODULATION = "input_blocks.1.0.emb_layers.1.weight"
MIDDLE_ATTENTION, FIRST_OUTPUT = "middle_block.1.qkv.weight", "output_blocks.0.0.in_layers.2.weight"
DOUBLING = re.compile(r"output_blocks\.(\d{1,4})\.[12]\.(conv|in_layers\.2)\.weight")
SIDES = re.compile(r"(?<!\d)(\d{1,5})x\1(?!\d)")  # in the name of a file


class Settings(NamedTuple):
    """What no tensor tells; `sides` 0: only the name of the file does, `heads` 0: one for every 64 channels."""

    sides: int = 0
    heads: int = 0
    heads_outside: bool = True
    chain: str = "discrete_linear()"


COSINE = "discrete_cosine()"
CHAINS: dict[str, Schedule] = {  # of Ho et al. 2020, and of Nichol & Dhariwal 2021
    "discrete_linear()": schedule.discrete_linear(),
    COSINE: schedule.discrete_cosine(),
}
PUBLISHED = {  # by the channels of each depth, as multiples of the width
    (1, 2, 3, 4): Settings(64, heads_outside=False, chain=COSINE),
    (1, 1, 2, 3, 4): Settings(128, heads=4),
    (1, 1, 2, 2, 4, 4): Settings(256),
    (0.5, 1, 1, 2, 2, 4, 4): Settings(512),
}
UNPUBLISHED = {True: Settings(), False: Settings(heads=4)}  # by whether residual blocks change the sides


def _matches(file: WeightFile) -> bool:
    return {FIRST_LAYER, TIME_LAYER, LAST_LAYER, MIDDLE_ATTENTION, FIRST_OUTPUT} <= file.tensors.keys()


def _read(file: WeightFile) -> PublishedModel:
    net, settings = find_net(file)
    channels = file.length(FIRST_LAYER, 1)
    shape = (settings.sides, settings.sides, channels)
    unit = 2 ** (len(net.channels) - 1)  # the smallest side, since parameters depend on none
    shapes = net_shapes(net, (unit, unit, channels), jnp.zeros(1, jnp.int32) if net.classes else None)
    params = place_tensors(file, shapes, sources_by_name(shapes))
    noise = Gaussian(CHAINS[settings.chain], predict.eps, inputs=net_inputs.discrete_steps())
    model = PublishedModel(net, params, noise, order.together, shape, net.classes, schedule=settings.chain)
    if net.learned_variance and settings.chain == COSINE:
        # Its first step leaves alpha = 5e-5: ddim would multiply an error of eps there, and draws of x_s do not.
        return model._replace(sampler="posterior(learned_variance=True)", steps=250)
    return model


def find_net(file: WeightFile) -> tuple[ADMUNet, Settings]:
    """The net of a file, by its shapes alone, and what they do not tell.

    Raises UserError for a model that is no ADM, and for one whose sides are not known.
    """
    _check_channels(file)
    blocks, depths = _count_blocks(file)
    firsts = [f"input_blocks.{1 + depth * (blocks + 1)}" for depth in range(depths)]
    width = file.length(TIME_LAYER, 1)
    channels = tuple(file.length(f"{first}.0.in_layers.2.weight", 0) for first in firsts)
    residual_resizing = f"input_blocks.{blocks + 1}.0.op.weight" not in file.tensors
    settings = _find_settings(file, width, channels, residual_resizing)
    net = ADMUNet(
        width=width,
        channels=channels,
        blocks=blocks,
        attention=tuple(depth for depth, first in enumerate(firsts) if f"{first}.1.qkv.weight" in file.tensors),
        classes=file.length(LABELS, 0) if LABELS in file.tensors else 0,
        heads=settings.heads,
        head_width=HEAD_WIDTH,
        heads_outside=settings.heads_outside,
        scale_shift=file.length(MODULATION, 0) == 2 * channels[0],
        residual_resizing=residual_resizing,
        learned_variance=file.length(LAST_LAYER, 0) == 2 * file.length(FIRST_LAYER, 1),
    )
    return net, settings


def _check_channels(file: WeightFile) -> None:
    """Raise UserError for an upsampler, and where the channels of the last layer do not fit the first's."""
    inputs, outputs = file.length(FIRST_LAYER, 1), file.length(LAST_LAYER, 0)
    if inputs == UPSAMPLER_CHANNELS:
        problem = f"{FIRST_LAYER!r} has {inputs} channels of input, as an upsampler, which enlarges a picture"
        raise UserError(f"{file.path}: {problem}; use a model that draws from noise, such as 256x256_diffusion.pt")
    if outputs not in (inputs, 2 * inputs):
        problem = f"{LAST_LAYER!r} has {outputs} channels, expected {inputs}, or {2 * inputs} with a variance"
        raise UserError(f"{file.path}: {problem}; use the weights as published")


def _count_blocks(file: WeightFile) -> tuple[int, int]:
    """The residual blocks of a depth on the way down, and the depths.

    On the way up each depth has one stage more than blocks, and the last one doubles the sides, but at full resolution.
    """
    stages = {name.split(".")[1] for name in file.tensors if name.startswith("output_blocks.")}
    doubling = [int(match[1]) for name in file.tensors if (match := DOUBLING.fullmatch(name))]
    blocks = min(doubling, default=len(stages) - 1)
    depths, remainder = divmod(len(stages), blocks + 1)
    if remainder:
        problem = f"has {len(stages)} stages 'output_blocks', which do not divide into depths of {blocks + 1}"
        raise UserError(f"{file.path}: {problem}; use the whole file")
    return blocks, depths


def _find_settings(file: WeightFile, width: int, channels: tuple[int, ...], residual_resizing: bool) -> Settings:
    """Those of the published model of such channels, with the sides that the name of the file says."""
    settings = UNPUBLISHED[residual_resizing]
    for multiples, published in PUBLISHED.items():
        if residual_resizing and channels == tuple(multiple * width for multiple in multiples):
            settings = published
    name = SIDES.search(file.path.name)
    sides = int(name[1]) if name else settings.sides
    if not sides:
        problem = (
            f"no published model has channels {channels} of 'input_blocks' at its depths, so its sides are unknown"
        )
        heads = f"{settings.heads} heads" if settings.heads else f"heads of {HEAD_WIDTH} channels"
        hint = f"where it has linear betas and {heads}, rename it to begin with them, such as 64x64_model.pt"
        raise UserError(f"{file.path}: {problem}; {hint}")
    unit = 2 ** (len(channels) - 1)
    if sides % unit:
        raise UserError(f"{file.path}: by its name the sides are {sides}, and must divide by {unit}; correct the name")
    return settings._replace(sides=sides)


FAMILY = Family("ADM", "MIT", "https://github.com/openai/guided-diffusion", _matches, _read)
