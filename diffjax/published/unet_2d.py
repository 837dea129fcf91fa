"""UNet2DModel of diffusers: the models google/ddpm-*, and others that its scripts for training wrote."""

from collections.abc import Iterable, Mapping

from diffjax.errors import UserError
from diffjax.nets.ddpm_unet import DDPMUNet
from diffjax.published.family import Family, PublishedModel
from diffjax.published.stored_tensors import WeightFile
from diffjax.published.tensor_mapping import Source, net_shapes, place_tensors, sources_by_name
from diffjax.published.unet_config import (
    BlockTypes,
    attention_depths,
    depth_widths,
    image_sides,
    input_channels,
    integer_or_none,
    is_unet,
    make_net,
    published_unet,
)

KIND = "UNet2DModel"

# diffusers' defaults, for configs that older versions wrote, and shorter than those that it writes now.
WIDTHS = [224, 448, 672, 896]
HEAD_WIDTH = 8
DOWN_BLOCKS = BlockTypes(
    "down_block_types",
    ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
    {"DownBlock2D": False, "AttnDownBlock2D": True},
)
UP_BLOCKS = BlockTypes(
    "up_block_types",
    ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    {"UpBlock2D": False, "AttnUpBlock2D": True},
    deepest_first=True,
)
FIXED: Mapping[str, tuple[object, ...]] = {  # the first is the default
    "mid_block_type": ("UNetMidBlock2D",),
    "downsample_type": ("conv",),
    "upsample_type": ("conv",),
    "downsample_padding": (1, 0),
    "resnet_time_scale_shift": ("default", "scale_shift"),
}
OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}  # of attention


def _matches(file: WeightFile) -> bool:
    return is_unet(file, KIND, has_text=False)


def _read(file: WeightFile) -> PublishedModel:
    net = make_net(file, KIND, FIXED, lambda: _net(file))
    channels, divisor = _channels(file), 2 ** (len(net.widths) - 1)
    sides = image_sides(file, divisor)
    shapes = net_shapes(net, (divisor, divisor, channels), net.null_cond[None] if net.classes else None)
    params = place_tensors(file, shapes, _sources(file, shapes))
    return published_unet(file, net, params, (*sides, channels))._replace(classes=net.classes)


def _net(file: WeightFile) -> DDPMUNet:
    widths = depth_widths(file, WIDTHS)
    groups = file.setting("norm_num_groups", int, 32)
    scale_shift = file.config.get("resnet_time_scale_shift") == "scale_shift"
    return DDPMUNet(
        widths=widths,
        blocks=file.setting("layers_per_block", int, 2),
        down_attention=attention_depths(file, DOWN_BLOCKS, len(widths)),
        up_attention=attention_depths(file, UP_BLOCKS, len(widths)),
        middle_attention=file.setting("add_attention", bool, True),
        head_width=integer_or_none(file, "attention_head_dim", HEAD_WIDTH) or 0,
        groups=groups,
        middle_groups=integer_or_none(file, "attn_norm_num_groups") or groups * (not scale_shift),
        middle_divisor=file.setting("mid_block_scale_factor", float, 1.0),
        epsilon=file.setting("norm_eps", float, 1e-5),
        scale_shift=scale_shift,
        corner_padding=file.setting("downsample_padding", int, 1) == 0,
        sin_first=not file.setting("flip_sin_to_cos", bool, True),
        frequency_shift=file.setting("freq_shift", int, 0),
        centered=file.setting("center_input_sample", bool, False),
        classes=integer_or_none(file, "num_class_embeds") or 0,
        dropout=file.setting("dropout", float, 0.0),
    )


def _channels(file: WeightFile) -> int:
    channels, outputs = input_channels(file, 3)
    if channels != outputs:
        problem = f"in_channels {channels} and out_channels {outputs} differ, of a net that sees or predicts other data"
        raise UserError(f"{file.path}: {problem}; such a net is not known here")
    return channels


def _sources(file: WeightFile, shapes: Iterable[str]) -> dict[str, Source]:
    """Those by the names of modules, or by the old ones of attention where the file has these."""
    sources = sources_by_name(shapes)
    return {name: source._replace(tensor=_stored_name(file, source.tensor)) for name, source in sources.items()}


def _stored_name(file: WeightFile, name: str) -> str:
    *place, leaf = name.rsplit(".", 1)
    for new, old in OLD_NAMES.items():
        renamed = f"{place[0].removesuffix(new)}{old}.{leaf}"
        if place[0].endswith(f".{new}") and name not in file.tensors and renamed in file.tensors:
            return renamed
    return name


FAMILY = Family(KIND, "Apache-2.0", "https://huggingface.co/google", _matches, _read)
