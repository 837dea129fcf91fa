"""What `sample.py --edit` was called with: the values of its flags, and the images that they name."""

from dataclasses import dataclass

from diffjax.commands import image_inputs
from diffjax.commands.image_inputs import InputImage, Size
from diffjax.errors import UserError
from diffjax.experiment.data_spec import DataSpec


@dataclass(frozen=True)
class EditRequest:
    """The flags of an edit, and what it must know of the model.

    `sampler_set` and `grid_set`: --sampler and --grid were given. `steps` is None where --steps was not.
    `inpainting_net`: the network takes one noise level per pixel and was trained with known pixels.
    """

    data: DataSpec
    image: tuple[str, ...] = ()
    mask: str | None = None
    strokes: str | None = None
    method: str | None = None
    strength: float | None = None
    place: str | None = None
    seed_to: int | None = None
    label_to: int | None = None
    prompt_to: str | None = None
    sampler_set: bool = False
    grid_set: bool = False
    steps: int | None = None
    inpainting_net: bool = False


def single_path(request: EditRequest) -> str:
    """The path of the one image. Raises UserError for none or several."""
    if len(request.image) != 1:
        raise UserError(f"--image: expected one image to edit, got {len(request.image) or 'none'}; give one")
    return request.image[0]


def read_single(request: EditRequest) -> InputImage:
    """The one image, at the model's image size."""
    return image_inputs.read_picture(single_path(request), request.data)


def check_continuous(request: EditRequest, name: str) -> None:
    """Raise UserError for a model of tokens."""
    if request.data.encoding.discrete:
        raise UserError(
            f"--edit {name}: needs a model of continuous pixels, and this one generates tokens; use inpaint, outpaint, "
            "sketch or variations"
        )


def check_pixels(request: EditRequest, name: str) -> None:
    """Raise UserError for a model of tokens or of latents."""
    check_continuous(request, name)
    if request.data.latents is not None:
        problem = "needs a model of pixels, and this one draws latents"
        raise UserError(f"--edit {name}: {problem}; use inpaint, outpaint, sketch, interpolate or variations")


def parse_place(text: str | None, room: Size) -> tuple[int, int]:
    """Rows above an image and columns to its left, each 0 … `room`; by default the image is centred."""
    if text is None:
        return room[0] // 2, room[1] // 2
    try:
        top, left = (int(number) for number in text.split(","))
    except ValueError:
        top = -1
        left = -1
    if not (0 <= top <= room[0] and 0 <= left <= room[1]):
        raise UserError(
            f"--place {text}: expected TOP,LEFT: rows above the image, 0 … {room[0]}, and columns to its left, "
            f"0 … {room[1]}"
        )
    return top, left
