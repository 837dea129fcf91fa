"""A trained model that draws pictures of another size than it was trained on."""

from dataclasses import replace

from diffjax.errors import UserError
from diffjax.experiment.data_spec import DataSpec, PartSpec
from diffjax.experiment.trained_model import TrainedModel
from diffjax.nets.condition_encoders import Picture
from diffjax.nets.interface import clone
from diffjax.traits import ConditionEncoder, net_traits
from diffjax.utils.image_io import format_size

Size = tuple[int, int]  # height and width, in pixels


def resize_model(model: TrainedModel, size: Size, field: str = "size") -> TrainedModel:
    """The model for pictures of this height and width, with its parameters; pictures of its condition grow with them.

    Raises UserError, naming the field: for a model of other arrays than pictures, for a net that serves one size alone
    (`NetTraits.any_size`), and where a picture of the condition would have no whole number of pixels a side.
    """
    info = model.info
    if not info.data.of_images:
        raise UserError(
            f"{field}: is for pictures, and this model draws arrays of shape {info.data.shape}; leave it out"
        )
    trained_size = info.data.shape[0], info.data.shape[1]
    if size == trained_size:
        return model
    if not net_traits(info.net).any_size:
        problem = f"{info.config.model.net} draws one size alone, {format_size(*trained_size)}"
        raise UserError(f"{field}: {problem}; leave it out, or train a UNet or a DiT, which draw any")
    conditions = [_resize_encoder(encoder, trained_size, size, field) for encoder in net_traits(info.net).conditions]
    net = clone(info.net, conditions=tuple(conditions)) if conditions else info.net
    shapes = {encoder.part: encoder.shape for encoder in conditions if isinstance(encoder, Picture)}
    new_info = replace(info, net=net, data=_resize_data(info.data, size, shapes), size=size)
    return model._replace(denoise=replace(model.denoise, net=net), info=new_info)


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
