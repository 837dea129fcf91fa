"""The flag --size: the height and the width of what sample.py draws."""

from collections.abc import Sequence
from pathlib import Path

from diffjax.commands.edit_requests import edit_kind
from diffjax.commands.image_inputs import Size
from diffjax.errors import UserError, tell
from diffjax.experiment.other_size import resize_model
from diffjax.experiment.trained_model import TrainedModel
from diffjax.utils.image_io import format_size, parse_size, read_header

FLAG = "--size"
IMAGE = "image"  # its value for the size of the picture that is edited


def apply_size(model: TrainedModel, text: str | None, edit: str | None, images: Sequence[str]) -> TrainedModel:
    """The model at the size that the flag names, which one line reports; without the flag, as it is."""
    if text is None:
        return model
    resized = resize_model(model, _find_size(text, edit, images), FLAG)
    shape, trained_shape = resized.info.data.shape, model.info.data.shape
    if shape != trained_shape:
        tell(f"samples are {format_size(*shape[:2])}, and training pictures {format_size(*trained_shape[:2])}")
    return resized


def _find_size(text: str, edit: str | None, images: Sequence[str]) -> Size:
    """Height and width in pixels of `64`, of `64x96`, or of the picture to edit, which is then not fitted."""
    if text != IMAGE:
        return parse_size(text, FLAG)
    if edit is None or not images:
        raise UserError(f"{FLAG} {IMAGE}: belongs to an edit of a picture; give HEIGHTxWIDTH, such as 64x96")
    factor = edit_kind(edit).image_factor
    if not factor:
        raise UserError(f"{FLAG} {IMAGE}: --edit {edit} draws more than the picture; give HEIGHTxWIDTH of the whole")
    sizes = [read_header(Path(path))[:2] for path in images]
    for path, size in zip(images, sizes, strict=True):
        if size != sizes[0]:
            problem = f"{path} is {format_size(*size)}, and {images[0]} is {format_size(*sizes[0])}"
            raise UserError(f"{FLAG} {IMAGE}: {problem}; give HEIGHTxWIDTH, to which both are fitted")
    height, width = sizes[0]
    return factor * height, factor * width
