"""UNet2DConditionModel of diffusers: the nets of Stable Diffusion 1 and 2, and those of their variants for inpainting.

The file says nothing of the empty prompt, which the net has as the parameter `null_text`; `with_null_text` sets it.
"""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffjax.errors import UserError
from diffjax.nets.conditional_unet import ConditionalUNet
from diffjax.published.family import Family, PublishedModel
from diffjax.published.stored_tensors import WeightFile
from diffjax.published.tensor_mapping import net_shapes, place_tensors, pointwise, sources_by_name
from diffjax.published.unet_config import (
    BlockTypes,
    attention_depths,
    depth_widths,
    image_sides,
    input_channels,
    integers,
    is_unet,
    make_net,
    published_unet,
)

KIND = "UNet2DConditionModel"
NULL_TEXT = "null_text"
PROJECTIONS = ("proj_in/kernel", "proj_out/kernel")  # in a file dense, or convolutions of one position

# diffusers' defaults, for configs that older versions wrote.
WIDTHS = [320, 640, 1280, 1280]
HEADS = 8
TEXT_WIDTH = 1280
CHANNELS = 4
DOWN_BLOCKS = BlockTypes(
    "down_block_types",
    ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    {"DownBlock2D": False, "CrossAttnDownBlock2D": True},
)
UP_BLOCKS = BlockTypes(
    "up_block_types",
    ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    {"UpBlock2D": False, "CrossAttnUpBlock2D": True},
    deepest_first=True,
)
FIXED: Mapping[str, tuple[object, ...]] = {  # the first is the default; others are nets of other kinds, such as SDXL
    "mid_block_type": ("UNetMidBlock2DCrossAttn",),
    "center_input_sample": (False,),
    "downsample_padding": (1,),
    "mid_block_scale_factor": (1,),
    "dropout": (0,),
    "only_cross_attention": (False,),
    "mid_block_only_cross_attention": (None, False),
    "reverse_transformer_layers_per_block": (None,),
    "num_attention_heads": (None,),
    "dual_cross_attention": (False,),
    "encoder_hid_dim": (None,),
    "encoder_hid_dim_type": (None,),
    "num_class_embeds": (None,),
    "addition_embed_type": (None,),
    "resnet_time_scale_shift": ("default",),
    "resnet_skip_time_act": (False,),
    "resnet_out_scale_factor": (1,),
    "time_embedding_act_fn": (None,),
    "timestep_post_act": (None,),
    "time_cond_proj_dim": (None,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "attention_type": ("default",),
    "class_embeddings_concat": (False,),
    "cross_attention_norm": (None,),
}


def conditional_unet(file: WeightFile) -> ConditionalUNet:
    """The net of a config. Raises UserError, which names the setting, for a net of another kind."""
    return make_net(file, KIND, FIXED, lambda: _net(file))


def with_null_text(model: PublishedModel, embedding: Float[Array, "..."]) -> PublishedModel:
    """The model whose text, where none is present, is this: the embedding [tokens, width] of the empty prompt.

    The net then takes texts of as many tokens. Raises UserError for an embedding of another shape.
    """
    assert isinstance(model.net, ConditionalUNet)
    width = model.net.text_width
    if embedding.ndim != 2 or embedding.shape[1] != width or not embedding.size:
        raise UserError(
            f"null_text: expected an embedding [tokens, {width}] of the empty prompt, got {embedding.shape}"
        )
    params = model.params | {NULL_TEXT: jnp.asarray(embedding, jnp.float32)}
    return model._replace(net=model.net.clone(tokens=len(embedding)), params=params)


def _matches(file: WeightFile) -> bool:
    return is_unet(file, KIND, has_text=True)


def _read(file: WeightFile) -> PublishedModel:
    net = conditional_unet(file)
    channels, divisor = file.setting("out_channels", int, CHANNELS), 2 ** (len(net.widths) - 1)
    sides = image_sides(file, divisor)
    shapes = net_shapes(net.clone(sides=(divisor, divisor)), (divisor, divisor, channels), None)
    null_text = jnp.zeros(shapes.pop(NULL_TEXT))
    sources = sources_by_name(shapes)
    for name in shapes:
        if name.endswith(PROJECTIONS):
            sources[name] = sources[name]._replace(layout=pointwise)
    params = place_tensors(file, shapes, sources) | {NULL_TEXT: null_text}
    net = net.clone(sides=sides) if net.extra_channels else net
    return published_unet(file, net, params, (*sides, channels))


def _net(file: WeightFile) -> ConditionalUNet:
    widths = depth_widths(file, WIDTHS)
    depths = len(widths)
    return ConditionalUNet(
        widths=widths,
        blocks=file.setting("layers_per_block", int, 2),
        down_attention=attention_depths(file, DOWN_BLOCKS, depths),
        up_attention=attention_depths(file, UP_BLOCKS, depths),
        heads=_for_each_depth(file, "attention_head_dim", HEADS, depths),  # a number of heads, in spite of its name
        transformer_depths=_for_each_depth(file, "transformer_layers_per_block", 1, depths),
        text_width=file.setting("cross_attention_dim", int, TEXT_WIDTH),
        extra_channels=_extra_channels(file),
        groups=file.setting("norm_num_groups", int, 32),
        epsilon=file.setting("norm_eps", float, 1e-5),
        sin_first=not file.setting("flip_sin_to_cos", bool, True),
        frequency_shift=file.setting("freq_shift", int, 0),
    )


def _for_each_depth(file: WeightFile, name: str, default: int, depths: int) -> tuple[int, ...]:
    """A setting of one integer for all depths, or one for each."""
    if isinstance(file.config.get(name), list):
        return integers(file, name, [])
    return (file.setting(name, int, default),) * depths


def _extra_channels(file: WeightFile) -> int:
    """Those that the net sees beside x: a mask and the known latents, or none."""
    channels, outputs = input_channels(file, CHANNELS)
    if channels - outputs not in (0, outputs + 1):
        problem = f"in_channels {channels} of a net with out_channels {outputs} is not known here"
        raise UserError(f"{file.path}: {problem}; known are {outputs} and, for inpainting, {2 * outputs + 1}")
    return channels - outputs


SOURCE = "https://huggingface.co/stable-diffusion-v1-5"
FAMILY = Family(KIND, "CreativeML OpenRAIL-M", SOURCE, _matches, _read)
