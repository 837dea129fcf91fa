"""What an edit is asked with: its flags, and the images that they name."""

from dataclasses import dataclass

from diffjax.commands import image_inputs
from diffjax.commands.image_inputs import InputImage
from diffjax.errors import UserError
from diffjax.experiment.data_spec import DataSpec


@dataclass(frozen=True)
class EditRequest:
    """What the flags of an edit say, and of what data the model is.

    `own_rule`: a sampler was asked for. `fills`: the net takes a level for each pixel, and was taught to be given some.
    """

    facts: DataSpec
    image: tuple[str, ...] = ()
    mask: str | None = None
    strokes: str | None = None
    method: str | None = None
    strength: float | None = None
    place: str | None = None
    seed_to: int | None = None
    label_to: int | None = None
    prompt_to: str | None = None
    own_rule: bool = False
    fills: bool = False


def single_path(request: EditRequest) -> str:
    """The path of the one picture."""
    if len(request.image) != 1:
        raise UserError(f"--image: expected one picture to edit, got {len(request.image) or 'none'}; give one")
    return request.image[0]


def read_single(request: EditRequest) -> InputImage:
    """The one picture, of the model's size."""
    return image_inputs.read_picture(single_path(request), request.facts)


def check_numbers(request: EditRequest, name: str) -> None:
    """Raise UserError for a model of tokens."""
    if request.facts.encoding.discrete:
        raise UserError(
            f"--edit {name}: needs a model of numbers, and this one draws tokens, which have neither sums nor anything "
            "between them; use inpaint, outpaint, sketch or variations"
        )


def parse_place(text: str | None, room: tuple[int, int]) -> tuple[int, int]:
    """Rows above and columns to the left of a picture with so much room; in the middle by default."""
    if text is None:
        return room[0] // 2, room[1] // 2
    try:
        top, left = (int(number) for number in text.split(","))
    except ValueError:
        top, left = -1, -1
    if not (0 <= top <= room[0] and 0 <= left <= room[1]):
        raise UserError(
            f"--place {text}: expected TOP,LEFT, the rows above the picture, 0 … {room[0]}, and the columns at its "
            f"left, 0 … {room[1]}"
        )
    return top, left
