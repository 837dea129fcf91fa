"""A trained model that draws pictures of another size than it was trained on, at once or by tiles."""

from dataclasses import replace

from diffjax.edit.tiling import tiled
from diffjax.errors import UserError
from diffjax.experiment.data_spec import DataSpec, PartSpec
from diffjax.experiment.model_info import ModelInfo, Tiles
from diffjax.experiment.trained_model import TrainedModel
from diffjax.nets.condition_encoders import Picture
from diffjax.nets.interface import clone
from diffjax.protocols import Denoise
from diffjax.traits import ConditionEncoder, net_traits
from diffjax.utils.image_fit import Size
from diffjax.utils.image_io import format_size


def resize_model(model: TrainedModel, size: Size, field: str = "size") -> TrainedModel:
    """The model for pictures of this height and width, with its parameters; pictures of its condition grow with them.

    Raises UserError, naming the field: for a model of other arrays than pictures, for a net that serves one size alone
    (`NetTraits.any_size`), and where a picture of the condition would have no whole number of pixels a side.
    """
    info = model.info
    resized = _resize_info(info, size, field)
    if resized is info:
        return model
    if not net_traits(info.net).any_size:
        problem = f"{info.config.model.net} draws one size alone, {format_size(*info.data.shape[:2])}"
        advice = "leave it out, draw by tiles (--tile_overlap), or train a UNet or a DiT, which draw any"
        raise UserError(f"{field}: {problem}; {advice}")
    return model._replace(denoise=replace(model.denoise, net=resized.net), info=resized)


def tile_model(
    model: TrainedModel, size: Size, overlap: int, tiles_per_call: int = 0, field: str = "size"
) -> TrainedModel:
    """The model for pictures of this height and width, which it draws by tiles of the size of its training pictures.

    Tiles share `overlap` pixels or more (`edit.tiled`, as is `tiles_per_call`). Raises UserError as `resize_model`, and
    for a size that is smaller than a tile.
    """
    trained_size = model.info.data.shape[0], model.info.data.shape[1]
    info = _resize_info(model.info, size, field)
    if min(size[0] - trained_size[0], size[1] - trained_size[1]) < 0 or info is model.info:
        problem = f"tiles are {format_size(*trained_size)}, as the training pictures, and samples {format_size(*size)}"
        raise UserError(f"{field}: {problem}; give a larger size, or leave --tile_overlap out")
    pictures = tuple(encoder.part for encoder in net_traits(info.net).conditions if isinstance(encoder, Picture))
    return model._replace(info=replace(info, tiles=Tiles(trained_size, overlap, pictures, tiles_per_call)))


def denoiser_of(model: TrainedModel) -> Denoise:
    """The model's denoiser, by tiles where it draws by tiles."""
    tiles = model.info.tiles
    if tiles is None:
        return model.denoise
    return tiled(model.denoise, tiles.size, tiles.overlap, pictures=tiles.pictures, tiles_per_call=tiles.tiles_per_call)


def _resize_info(info: ModelInfo, size: Size, field: str) -> ModelInfo:
    """The record of the model, and its net's conditions, at that size; the same at the size of training."""
    if not info.data.of_images:
        raise UserError(
            f"{field}: is for pictures, and this model draws arrays of shape {info.data.shape}; leave it out"
        )
    trained_size = info.data.shape[0], info.data.shape[1]
    if size == trained_size:
        return info
    encoders = net_traits(info.net).conditions
    conditions = tuple(_resize_encoder(encoder, trained_size, size, field) for encoder in encoders)
    net = clone(info.net, conditions=conditions) if conditions != encoders else info.net
    shapes = {encoder.part: encoder.shape for encoder in conditions if isinstance(encoder, Picture)}
    return replace(info, net=net, data=_resize_data(info.data, size, shapes), size=size)


def _resize_encoder(encoder: ConditionEncoder, trained_size: Size, size: Size, field: str) -> ConditionEncoder:
    """The encoder of a picture for x of another size; of anything else, as it is."""
    if not isinstance(encoder, Picture):
        return encoder
    pairs = list(zip(encoder.shape, trained_size, size, strict=False))
    if any(side * new % old for side, old, new in pairs):
        factors = " and ".join(f"{old} / {side}" for side, old, _ in pairs)
        problem = f"the picture {encoder.part!r} of the condition is smaller than x, by {factors}"
        raise UserError(f"{field}: {problem}; give a height and a width that divide by these")
    return encoder.clone(shape=(*(side * new // old for side, old, new in pairs), *encoder.shape[2:]))


def _resize_data(data: DataSpec, size: Size, shapes: dict[str, tuple[int, ...]]) -> DataSpec:
    """The record of such pictures, with these shapes of the parts of a condition."""
    parts = tuple(PartSpec(part, shapes.get(part, shape), vocab) for part, shape, vocab in data.parts)
    return replace(data, shape=(*size, *data.shape[2:]), parts=parts)
