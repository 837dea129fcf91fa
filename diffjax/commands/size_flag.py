"""The flags --size and --tile_overlap: the height and the width of what sample.py draws, at once or by tiles."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from diffjax.commands.condition_inputs import low_res_encoder
from diffjax.commands.edit_requests import edit_kind
from diffjax.commands.image_inputs import Size
from diffjax.errors import UserError, tell
from diffjax.experiment.model_info import ModelInfo
from diffjax.experiment.other_size import resize_model, tile_model
from diffjax.experiment.trained_model import TrainedModel
from diffjax.utils.image_io import format_size, parse_size, read_header

FLAG = "--size"
IMAGE = "image"  # its value for the size of the picture that is edited or enlarged
TILES_PER_CALL = 64


class SizeRequest(NamedTuple):
    """The flags that decide the size: --size, --tile_overlap, --edit, each --image, and --low_res."""

    size: str | None = None
    tile_overlap: int | None = None
    edit: str | None = None
    images: Sequence[str] = ()
    low_res: str | None = None


def apply_size(model: TrainedModel, request: SizeRequest) -> TrainedModel:
    """The model at the size of the request, which one line reports; without a size, as it is."""
    if request.size is None:
        if request.tile_overlap is not None:
            raise UserError(
                "--tile_overlap: is for samples larger than the training images; add --size, or leave it out"
            )
        return model
    size = _find_size(model.info, request.size, request)
    overlap = request.tile_overlap
    resized = (
        resize_model(model, size, FLAG) if overlap is None else tile_model(model, size, overlap, TILES_PER_CALL, FLAG)
    )
    shape, trained_shape = resized.info.data.shape, model.info.data.shape
    if overlap is not None and overlap >= min(trained_shape[:2]):
        sides = format_size(*trained_shape[:2])
        raise UserError(f"--tile_overlap {overlap}: tiles are {sides}, as the training images; give less than a side")
    if shape != trained_shape:
        by = "" if overlap is None else f", drawn by tiles of that size that share {overlap} pixels"
        tell(f"samples are {format_size(*shape[:2])}, and training pictures {format_size(*trained_shape[:2])}{by}")
    return resized


def _find_size(info: ModelInfo, text: str, request: SizeRequest) -> Size:
    """Height and width in pixels of `64`, of `64x96`, or of the picture to edit, which is then not fitted."""
    if text != IMAGE:
        return parse_size(text, FLAG)
    if request.low_res is not None:
        return _enlarged_size(info, request.low_res)
    if request.edit is None or not request.images:
        problem = "belongs to a picture to edit or to enlarge (--image, --low_res)"
        raise UserError(f"{FLAG} {IMAGE}: {problem}; give HEIGHTxWIDTH, such as 64x96")
    factor = edit_kind(request.edit).image_factor
    if not factor:
        raise UserError(
            f"{FLAG} {IMAGE}: --edit {request.edit} draws more than the picture; give HEIGHTxWIDTH of the whole"
        )
    sizes = [read_header(Path(path))[:2] for path in request.images]
    for path, size in zip(request.images, sizes, strict=True):
        if size != sizes[0]:
            problem = f"{path} is {format_size(*size)}, and {request.images[0]} is {format_size(*sizes[0])}"
            raise UserError(f"{FLAG} {IMAGE}: {problem}; give HEIGHTxWIDTH, to which both are fitted")
    height, width = sizes[0]
    return factor * height, factor * width


def _enlarged_size(info: ModelInfo, low_res: str) -> Size:
    """The size of a picture at low resolution, times the factor that the model was trained to enlarge by."""
    factor = info.data.shape[0] // low_res_encoder(info.net).shape[0]
    if low_res.endswith(".npz"):
        raise UserError(f"{FLAG} {IMAGE}: is that of one image file; give HEIGHTxWIDTH for the samples of {low_res}")
    height, width = read_header(Path(low_res))[:2]
    return factor * height, factor * width
