"""What the families of diffusers' U-Nets share: reading their configs, and the scheduler and the codec beside a net."""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, TypeVar

from jaxtyping import PyTree

from diffjax import order
from diffjax.errors import UserError
from diffjax.nets.diffusers_layout import EMBEDDING_FACTOR
from diffjax.published.family import PublishedModel
from diffjax.published.latent_scale import LatentScale
from diffjax.published.schedulers import noise_of_scheduler, schedule_text, scheduler_beside
from diffjax.published.stored_tensors import WeightFile
from diffjax.published.weight_files import read_config
from diffjax.traits import ConditionalNet

TENSORS = {"conv_in.weight", "time_embedding.linear_1.weight", "down_blocks.0.resnets.0.time_emb_proj.weight"}
CROSS_ATTENTION = ".transformer_blocks."  # in names of a UNet2DConditionModel alone
CODECS = ("vqvae", "vae")  # the folders of a pipeline of latents, beside that of the net
LATENT_SCALE = 0.18215  # of their configs where they say none
MAX_SIDE = 4096  # of x
OLD_BLOCKS = "UNetRes"  # before the name of a block

FIXED: Mapping[str, tuple[object, ...]] = {  # the first is the default
    "time_embedding_type": ("positional",),
    "act_fn": ("silu", "swish"),
    "class_embed_type": (None,),
}


class BlockTypes(NamedTuple):
    """A setting of a config that names the block of each depth, and for each name whether it has attention."""

    setting: str
    default: list[str]
    attention: Mapping[str, bool]
    deepest_first: bool = False


NetOf = TypeVar("NetOf", bound=ConditionalNet)


def is_unet(file: WeightFile, kind: str, has_text: bool) -> bool:
    """Whether a file is of this kind or, where it says none, has such tensors; `has_text`: with cross-attention."""
    names = file.tensors.keys()
    return file.kind == kind or (
        not file.kind and names >= TENSORS and any(CROSS_ATTENTION in name for name in names) == has_text
    )


def make_net(file: WeightFile, kind: str, fixed: Mapping[str, tuple[object, ...]], make: Callable[[], NetOf]) -> NetOf:
    """The net of a config. Raises UserError for a setting that is not known, and where they do not fit each other.

    `fixed` are the values of settings that are known, beside FIXED, and the first is the default.
    """
    if not file.kind:
        raise UserError(f"{file.path}: has the tensors of a {kind} without its config.json; give the folder of both")
    for name, values in {**FIXED, **fixed}.items():
        require_known(file, name, file.config.get(name, values[0]), values)
    try:
        return make()
    except UserError as error:
        if str(error).startswith(str(file.path)):
            raise
        raise UserError(f"{file.path}: its config is that of no {kind} ({error})") from None


def published_unet(file: WeightFile, net: ConditionalNet, params: PyTree, shape: tuple[int, ...]) -> PublishedModel:
    """The model of a net without classes, with the noise of the scheduler beside its file."""
    scheduler = scheduler_beside(file.path)
    return PublishedModel(
        net,
        params,
        noise_of_scheduler(*scheduler),
        order.together,
        shape,
        schedule=schedule_text(*scheduler),
        latents=_latents(file),
    )


def depth_widths(file: WeightFile, default: list[int]) -> tuple[int, ...]:
    """The channels of each depth. Raises UserError for another embedding of the level than they say."""
    widths = integers(file, "block_out_channels", default)
    embedding = file.config.get("time_embedding_dim")
    require_known(file, "time_embedding_dim", embedding, (None, EMBEDDING_FACTOR * widths[0]))
    return widths


def require_known(file: WeightFile, name: str, value: object, values: Collection[object]) -> None:
    """Raise UserError where a value is none of these."""
    if value not in values:
        known = " or ".join(map(repr, values))
        raise UserError(f"{file.path}: {name} {value!r:.80} is not known here; known is {known}")


def integers(file: WeightFile, name: str, default: list[int]) -> tuple[int, ...]:
    """A setting of one integer or more. Raises UserError for what is none."""
    numbers = file.setting(name, list, default)
    if not numbers or not all(type(number) is int for number in numbers):
        raise UserError(f"{file.path}: expected {name} to be integers, got {numbers!r:.80}; use the original config")
    return tuple(numbers)


def integer_or_none(file: WeightFile, name: str, default: int | None = None) -> int | None:
    """A setting that may be None. Raises UserError for what is no integer."""
    return None if file.config.get(name, default) is None else file.setting(name, int, default)


def attention_depths(file: WeightFile, types: BlockTypes, depths: int) -> tuple[int, ...]:
    """The depths whose blocks have attention, in order. Raises UserError for a block that is not known, by its name."""
    blocks = file.setting(types.setting, list, types.default)
    if len(blocks) != depths:
        problem = f"expected {types.setting} to be {depths} blocks, as block_out_channels, got {len(blocks)}"
        raise UserError(f"{file.path}: {problem}; use the config that the weights came with")
    kinds = [str(block).removeprefix(OLD_BLOCKS) for block in blocks]
    for kind in kinds:
        require_known(file, types.setting, kind, types.attention)
    ordered = kinds[::-1] if types.deepest_first else kinds
    return tuple(depth for depth, kind in enumerate(ordered) if types.attention[kind])


def input_channels(file: WeightFile, default: int) -> tuple[int, int]:
    """The channels of the net's input and output. Raises UserError where the tensors have others."""
    channels, outputs = (file.setting(name, int, default) for name in ("in_channels", "out_channels"))
    if file.shape("conv_in.weight")[1:2] != (channels,):
        problem = f"'conv_in.weight' of shape {file.shape('conv_in.weight')} has not in_channels {channels}"
        raise UserError(f"{file.path}: {problem}; use the config that the weights came with")
    return channels, outputs


def image_sides(file: WeightFile, divisor: int) -> tuple[int, int]:
    """Height and width of x. Raises UserError for what cannot be halved between the depths."""
    size = file.config.get("sample_size")
    entries = size if isinstance(size, list) else [size, size]
    sides = [side for side in entries if type(side) is int and 1 <= side <= MAX_SIDE and side % divisor == 0]
    if not len(entries) == len(sides) == 2:
        problem = f"expected sample_size to be one or two sides of x that divide by {divisor}, got {size!r:.80}"
        raise UserError(f"{file.path}: {problem}; write that of the training images into config.json")
    return sides[0], sides[1]


def _latents(file: WeightFile) -> LatentScale | None:
    """The scale of the latents of a pipeline with a codec beside the net; None where the net is one of pixels."""
    for codec in CODECS:
        path = file.path.absolute().parent / codec / "config.json"
        if path.is_file():
            config = WeightFile(path, {}, config=read_config(path))
            return LatentScale(config.setting("scaling_factor", float, LATENT_SCALE))
    return None
