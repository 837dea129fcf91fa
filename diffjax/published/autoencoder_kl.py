"""AutoencoderKL (Rombach et al. 2022): the codec between images and the latents of latent diffusion.

Files have one of three sets of names: those of diffusers, its older ones of attention, and those of the authors'
program, latent-diffusion, which MAR's codec has too. There the decoder's blocks are counted from the last.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import count
from math import isfinite
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from diffjax.errors import UserError
from diffjax.nets.autoencoder_kl import CHANNELS, AutoencoderKL
from diffjax.published.latent_scale import LatentScale
from diffjax.published.stored_tensors import WeightFile
from diffjax.published.tensor_mapping import Shape, Source, place_tensors, pointwise, sources_by_name
from diffjax.utils.tree_paths import leaves_by_name

PREFIXES = ("first_stage_model.", "")  # the first is that of checkpoints which hold a diffusion model too
IGNORED = ("loss.*", "model_ema.*")  # what training has beside the codec
GROUPS = 32
ACTIVATIONS = ("silu", "swish")  # two names of one function
STABLE_DIFFUSION_SCALE = 0.18215  # of version 1, and in diffusers of a codec whose config has none
SCALES = {(4, 8): STABLE_DIFFUSION_SCALE, (16, 16): 0.2325}  # by latent channels and factor; the second is MAR's

OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
LATENT_DIFFUSION_NAMES = {
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0": "mid.attn_1",
    "down_blocks": "down",
    "up_blocks": "up",
    "resnets": "block",
    "attentions": "attn",
    "downsamplers.0": "downsample",
    "upsamplers.0": "upsample",
    "conv_norm_out": "norm_out",
    "conv_shortcut": "nin_shortcut",
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
FIRST_NORM = "mid_block.resnets.0.norm1.weight"  # of an encoder and a decoder

STATIC = ("net", "factor", "channels", "latents")  # of a codec: part of a compiled program


@partial(jax.tree_util.register_dataclass, data_fields=("params",), meta_fields=STATIC)
@dataclass(frozen=True)
class Codec:
    """A codec with its parameters, and how latents [b, h / factor, w / factor, channels] come from its means."""

    net: AutoencoderKL
    params: PyTree
    factor: int
    channels: int
    latents: LatentScale


class _Names(NamedTuple):
    """The names in a file: `rename(name)` is that of the tensor which diffusers names `name`."""

    prefix: str
    rename: Callable[[str], str]

    def in_file(self, name: str) -> str:
        """The name of a tensor, with the prefix."""
        return self.prefix + self.rename(name)


def encode(codec: Codec, images: Array) -> Float[Array, "b _ _ _"]:
    """The mean latents of images [b, h, w, 3] in [-1, 1], scaled as a diffusion model has them."""
    mean, _ = codec.net.apply({"params": codec.params}, codec.latents.to_codec(images), method="encode")
    return codec.latents.to_latents(mean)


def decode(codec: Codec, latents: Array) -> Float[Array, "b _ _ _"]:
    """The images of latents of a diffusion model: about -1 to 1, and not clipped."""
    z = codec.latents.from_latents(latents)
    return codec.latents.from_codec(jnp.asarray(codec.net.apply({"params": codec.params}, z, method="decode")))


def is_codec(file: WeightFile) -> bool:
    """Whether a file has such a codec, by the names and shapes of its tensors."""
    names = _find_names(file)
    if names is None or names.in_file(f"decoder.{FIRST_NORM}") not in file.tensors:
        return False
    out, latent = (
        file.tensors.get(names.in_file(name)) for name in ("encoder.conv_out.weight", "decoder.conv_in.weight")
    )
    if out is None or latent is None or len(out.shape) != 4 or len(latent.shape) != 4:
        return False
    return out.shape[0] == 2 * latent.shape[1]


def read_codec(file: WeightFile, latents: LatentScale | None = None) -> Codec:
    """The codec in a file, in float32.

    `latents` are those of a diffusion model, in place of the file's `scaling_factor`. Raises UserError for tensors that
    do not fit, and where neither says the scale, which no tensor tells.
    """
    names = _find_names(file)
    if names is None:
        problem = f"has no tensor 'encoder.{FIRST_NORM}', nor one that stands for it"
        raise UserError(f"{file.path}: {problem}; use the weights of an AutoencoderKL")
    net = _build_net(file, names)
    latents = latents or _read_scale(file, net)
    shapes = _net_shapes(net)
    tensors = {name: tensor for name, tensor in file.tensors.items() if name.startswith(names.prefix)}
    part = WeightFile(file.path, tensors, file.kind, file.config)
    ignored = [names.prefix + pattern for pattern in IGNORED]
    params = place_tensors(part, shapes, _sources(shapes, names), ignored)
    return Codec(net, params, net.factor, net.latent_channels, latents)


def _find_names(file: WeightFile) -> _Names | None:
    """How the file names its tensors; None where it has no encoder of this kind."""
    for prefix in PREFIXES:
        if f"{prefix}encoder.{FIRST_NORM}" in file.tensors:
            is_old = f"{prefix}encoder.mid_block.attentions.0.query.weight" in file.tensors
            return _Names(prefix, partial(_replace, OLD_NAMES if is_old else {}))
        if prefix + _replace(LATENT_DIFFUSION_NAMES, f"encoder.{FIRST_NORM}") in file.tensors:
            blocks = next(i for i in count() if f"{prefix}encoder.down.{i}.block.0.norm1.weight" not in file.tensors)
            return _Names(prefix, partial(_latent_diffusion_name, blocks))
    return None


def _latent_diffusion_name(blocks: int, name: str) -> str:
    from_last = re.sub(r"up_blocks\.(\d+)", lambda match: f"up_blocks.{blocks - 1 - int(match[1])}", name)
    return _replace(LATENT_DIFFUSION_NAMES, from_last)


def _replace(names: dict[str, str], name: str) -> str:
    """The name with these modules renamed."""
    for old, new in names.items():
        name = f".{name}.".replace(f".{old}.", f".{new}.")[1:-1]
    return name


def _build_net(file: WeightFile, names: _Names) -> AutoencoderKL:
    """The net of these shapes."""

    def count_modules(pattern: str) -> int:
        return next(i for i in count() if names.in_file(pattern.format(i)) not in file.tensors)

    def find_attention(side: str) -> tuple[int, ...]:
        present = (names.in_file(f"{side}.{i}.attentions.0.to_q.weight") in file.tensors for i in range(len(widths)))
        return tuple(i for i, attends in enumerate(present) if attends)

    blocks = max(1, count_modules("encoder.down_blocks.{}.resnets.0.conv1.weight"))
    first_layers = (names.in_file(f"encoder.down_blocks.{i}.resnets.0.conv1.weight") for i in range(blocks))
    widths = tuple(_kernel_channels(file, name)[0] for name in first_layers)
    has_pointwise = names.in_file("quant_conv.weight") in file.tensors
    first_of_decoder = names.in_file("post_quant_conv.weight" if has_pointwise else "decoder.conv_in.weight")
    activation = file.setting("act_fn", str, "silu")
    if activation not in ACTIVATIONS:
        raise _config_error(file, f"act_fn to be 'silu', got {activation!r:.40}")
    latent_channels = _kernel_channels(file, first_of_decoder)[1]
    groups = file.setting("norm_num_groups", int, GROUPS)
    try:
        return AutoencoderKL(
            widths=widths,
            layers=max(1, count_modules("encoder.down_blocks.0.resnets.{}.conv1.weight")),
            latent_channels=latent_channels,
            pointwise=has_pointwise,
            middle_attention=names.in_file("encoder.mid_block.attentions.0.to_q.weight") in file.tensors,
            encoder_attention=find_attention("encoder.down_blocks"),
            decoder_attention=find_attention("decoder.up_blocks"),
            groups=groups,
        )
    except UserError as error:
        raise UserError(f"{file.path}: {error}; use the weights and the config as published") from None


def _kernel_channels(file: WeightFile, name: str) -> tuple[int, int]:
    """Output and input channels of a convolution. Raises UserError where the tensor is none's."""
    shape = file.shape(name)
    if len(shape) != 4 or not all(shape):
        raise UserError(f"{file.path}: {name!r} has shape {shape}, and is no convolution; use the weights as published")
    return shape[0], shape[1]


def _net_shapes(net: AutoencoderKL) -> dict[str, Shape]:
    """The shape of each parameter by name; nothing is computed."""
    images = jax.ShapeDtypeStruct((1, net.factor, net.factor, CHANNELS), jnp.float32)
    params = jax.eval_shape(net.init, jax.random.key(0), images)["params"]
    return {name: leaf.shape for name, leaf in leaves_by_name(params).items()}


def _sources(shapes: Iterable[str], names: _Names) -> dict[str, Source]:
    """Where each parameter comes from; kernels of attention are stored as matrices or as 1 × 1 convolutions."""
    sources = {}
    for name, (tensor, layout) in sources_by_name(shapes).items():
        is_attention = ".attentions." in name and name.endswith("kernel")
        sources[name] = Source(names.in_file(tensor), pointwise if is_attention else layout)
    return sources


def _read_scale(file: WeightFile, net: AutoencoderKL) -> LatentScale:
    """That of the file's config, or of the published codec of such latents."""
    published = SCALES.get((net.latent_channels, net.factor))
    scale = STABLE_DIFFUSION_SCALE if file.kind == "AutoencoderKL" else published
    if file.config.get("scaling_factor") is not None:
        scale = file.setting("scaling_factor", float)
    if scale is None:
        problem = f"does not say the scale of its {net.latent_channels} latent channels"
        raise UserError(f"{file.path}: {problem}; give a folder with a config.json that has scaling_factor")
    has_shift = file.config.get("shift_factor") is not None
    shift = file.setting("shift_factor", float) if has_shift else 0.0
    if not (isfinite(scale) and scale > 0 and isfinite(shift)):
        raise _config_error(file, f"a positive scale and a finite shift of the latents, got {scale} and {shift}")
    if file.config.get("latents_std") is None:
        return LatentScale(scale, shift)
    deviations, means = (_statistics(file, name, net) for name in ("latents_std", "latents_mean"))
    if min(deviations) <= 0:
        raise _config_error(file, f"latents_std to be positive, got {deviations!r:.80}")
    return LatentScale(tuple(scale / deviation for deviation in deviations), means)


def _statistics(file: WeightFile, name: str, net: AutoencoderKL) -> tuple[float, ...]:
    """One number for each latent channel."""
    values = file.setting(name, list)
    numbers = all(isinstance(value, int | float) and isfinite(value) for value in values)
    if not numbers or len(values) != net.latent_channels:
        raise _config_error(file, f"{name} to be {net.latent_channels} numbers, got {values!r:.80}")
    return tuple(map(float, values))


def _config_error(file: WeightFile, expected: str) -> UserError:
    return UserError(f"{file.path}: expected {expected}; use the config that the weights came with")
