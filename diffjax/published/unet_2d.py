"""UNet2DModel of diffusers: the models google/ddpm-*, and others that its scripts for training wrote."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial

from diffjax import order
from diffjax.errors import UserError
from diffjax.nets.ddpm_unet import EMBEDDING_FACTOR, DDPMUNet
from diffjax.published.family import Family, PublishedModel
from diffjax.published.latent_scale import LatentScale
from diffjax.published.schedulers import noise_of_scheduler, schedule_text, scheduler_beside
from diffjax.published.stored_tensors import WeightFile
from diffjax.published.tensor_mapping import Source, net_shapes, place_tensors, sources_by_name
from diffjax.published.weight_files import read_config

KIND = "UNet2DModel"
TENSORS = {"conv_in.weight", "time_embedding.linear_1.weight", "down_blocks.0.resnets.0.time_emb_proj.weight"}
CROSS_ATTENTION = ".transformer_blocks."  # in names of a UNet2DConditionModel, which has TENSORS as well
CODECS = ("vqvae", "vae")  # the folders of a pipeline of latents, beside that of the net
LATENT_SCALE = 0.18215  # of their configs where they say none

# diffusers' defaults, for configs that older versions wrote, and shorter than those that it writes now.
WIDTHS = [224, 448, 672, 896]
DOWN_BLOCKS = ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"]
UP_BLOCKS = ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"]
HEAD_WIDTH = 8

ATTENTION_DOWN = {"DownBlock2D": False, "AttnDownBlock2D": True}
ATTENTION_UP = {"UpBlock2D": False, "AttnUpBlock2D": True}
MAX_SIDE = 4096  # pixels
OLD_BLOCKS = "UNetRes"  # before the name of a block
FIXED: Mapping[str, tuple[object, ...]] = {  # the first is the default
    "time_embedding_type": ("positional",),
    "act_fn": ("silu", "swish"),
    "mid_block_type": ("UNetMidBlock2D",),
    "downsample_type": ("conv",),
    "upsample_type": ("conv",),
    "class_embed_type": (None,),
}
OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}  # of attention


def _matches(file: WeightFile) -> bool:
    names = file.tensors.keys()
    unnamed = not file.kind and names >= TENSORS and not any(CROSS_ATTENTION in name for name in names)
    return file.kind == KIND or unnamed


def _read(file: WeightFile) -> PublishedModel:
    if not file.kind:
        raise UserError(f"{file.path}: has the tensors of a {KIND} without its config.json; give the folder of both")
    net, channels = _net(file), _channels(file)
    divisor = 2 ** (len(net.widths) - 1)
    sides = _sides(file, divisor)
    scheduler = scheduler_beside(file.path)
    shapes = net_shapes(net, (divisor, divisor, channels), net.null_cond[None] if net.classes else None)
    params = place_tensors(file, shapes, _sources(file, shapes))
    return PublishedModel(
        net,
        params,
        noise_of_scheduler(*scheduler),
        order.together,
        (*sides, channels),
        net.classes,
        schedule=schedule_text(*scheduler),
        latents=_latents(file),
    )


def _net(file: WeightFile) -> DDPMUNet:
    """The net of a config. Raises UserError for a setting that is not known, and where they do not fit each other."""
    for name, values in FIXED.items():
        _require_known(file, name, file.config.get(name, values[0]), values)
    make = _net_maker(file)
    try:
        return make()
    except UserError as error:
        raise UserError(f"{file.path}: its config is that of no {KIND} ({error})") from None


def _net_maker(file: WeightFile) -> Callable[[], DDPMUNet]:
    widths = _integers(file, "block_out_channels", WIDTHS)
    last = len(widths) - 1
    _require_known(
        file, "time_embedding_dim", file.config.get("time_embedding_dim"), (None, EMBEDDING_FACTOR * widths[0])
    )
    padding = _require_known(file, "downsample_padding", file.setting("downsample_padding", int, 1), (0, 1))
    modulation = file.setting("resnet_time_scale_shift", str, "default")
    scale_shift = (
        _require_known(file, "resnet_time_scale_shift", modulation, ("default", "scale_shift")) == "scale_shift"
    )
    groups = file.setting("norm_num_groups", int, 32)
    return partial(
        DDPMUNet,
        widths=widths,
        blocks=file.setting("layers_per_block", int, 2),
        down_attention=tuple(_attending(file, "down_block_types", DOWN_BLOCKS, ATTENTION_DOWN)),
        up_attention=tuple(sorted(last - i for i in _attending(file, "up_block_types", UP_BLOCKS, ATTENTION_UP))),
        middle_attention=file.setting("add_attention", bool, True),
        head_width=_integer_or_none(file, "attention_head_dim", HEAD_WIDTH) or 0,
        groups=groups,
        middle_groups=_integer_or_none(file, "attn_norm_num_groups") or groups * (not scale_shift),
        middle_divisor=file.setting("mid_block_scale_factor", float, 1.0),
        epsilon=file.setting("norm_eps", float, 1e-5),
        scale_shift=scale_shift,
        corner_padding=padding == 0,
        sin_first=not file.setting("flip_sin_to_cos", bool, True),
        frequency_shift=file.setting("freq_shift", int, 0),
        centered=file.setting("center_input_sample", bool, False),
        classes=_integer_or_none(file, "num_class_embeds") or 0,
        dropout=file.setting("dropout", float, 0.0),
    )


def _require_known(file: WeightFile, name: str, value: object, values: Collection[object]) -> object:
    """The value. Raises UserError where it is none of these."""
    if value not in values:
        known = " or ".join(map(repr, values))
        raise UserError(f"{file.path}: {name} {value!r:.80} is not known here; known is {known}")
    return value


def _integers(file: WeightFile, name: str, default: list[int]) -> tuple[int, ...]:
    numbers = file.setting(name, list, default)
    if not numbers or not all(type(number) is int for number in numbers):
        raise UserError(f"{file.path}: expected {name} to be integers, got {numbers!r:.80}; use the original config")
    return tuple(numbers)


def _integer_or_none(file: WeightFile, name: str, default: int | None = None) -> int | None:
    return None if file.config.get(name, default) is None else file.setting(name, int, default)


def _attending(file: WeightFile, name: str, default: list[str], attention: Mapping[str, bool]) -> Iterator[int]:
    """The places of blocks with attention. Raises UserError for a block that is not known, by its name."""
    blocks = file.setting(name, list, default)
    depths = len(file.config.get("block_out_channels", WIDTHS))
    if len(blocks) != depths:
        raise UserError(f"{file.path}: expected {name} to be {depths} blocks, as block_out_channels, got {len(blocks)}")
    for i, block in enumerate(blocks):
        kind = str(block).removeprefix(OLD_BLOCKS)
        if attention[str(_require_known(file, name, kind, attention))]:
            yield i


def _channels(file: WeightFile) -> int:
    channels, outputs = (file.setting(name, int, 3) for name in ("in_channels", "out_channels"))
    if channels != outputs:
        problem = f"in_channels {channels} and out_channels {outputs} differ, of a net that sees or predicts other data"
        raise UserError(f"{file.path}: {problem}; such a net is not known here")
    if file.shape("conv_in.weight")[1:2] != (channels,):
        problem = f"'conv_in.weight' of shape {file.shape('conv_in.weight')} has not in_channels {channels}"
        raise UserError(f"{file.path}: {problem}; use the config that the weights came with")
    return channels


def _sides(file: WeightFile, divisor: int) -> tuple[int, int]:
    size = file.config.get("sample_size")
    entries = size if isinstance(size, list) else [size, size]
    sides = [side for side in entries if type(side) is int and 1 <= side <= MAX_SIDE and side % divisor == 0]
    if not len(entries) == len(sides) == 2:
        problem = f"expected sample_size to be one or two sides in pixels that divide by {divisor}, got {size!r:.80}"
        raise UserError(f"{file.path}: {problem}; write that of the training images into config.json")
    return sides[0], sides[1]


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


def _latents(file: WeightFile) -> LatentScale | None:
    """The scale of the latents of a pipeline with a codec beside the net; None where the net is one of pixels."""
    for codec in CODECS:
        path = file.path.absolute().parent / codec / "config.json"
        if path.is_file():
            config = WeightFile(path, {}, config=read_config(path))
            return LatentScale(config.setting("scaling_factor", float, LATENT_SCALE))
    return None


FAMILY = Family(KIND, "Apache-2.0", "https://huggingface.co/google", _matches, _read)
