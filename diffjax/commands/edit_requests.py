"""The edits of `sample.py --edit`, by name: each turns an `EditRequest` into an edit that is ready to be drawn.

Every mistake in the flags and files of an edit is found here, before a model is called.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from diffjax import edit
from diffjax.commands import image_inputs
from diffjax.commands.edit_inputs import (
    EditRequest,
    check_continuous,
    check_pixels,
    parse_place,
    read_single,
    single_path,
)
from diffjax.commands.edit_run import EditInputs, ImageEdit, InverseProblem, Variation
from diffjax.commands.image_inputs import InputImage, Pixels, Size
from diffjax.commands.interpolation_run import Interpolation
from diffjax.edit import methods
from diffjax.edit.sdedit import check_strength
from diffjax.errors import UserError
from diffjax.experiment import specs
from diffjax.experiment.data_spec import DataSpec
from diffjax.utils.image_io import format_size

Edit = ImageEdit | Interpolation

LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in grey (ITU-R BT.601), as in Pillow
DEFAULT_STRENGTH = 0.5
DEFAULT_FACTOR = 2  # of super-resolution
PIXEL_METHOD = "repaint"
MEAN_METHOD = "pigdm"
TOKEN_METHOD = "clamp"  # default methods


class EditKind(NamedTuple):
    """What makes the edits of a name, and the flags that they read.

    `image_factor`: the sides of the result over those of the image, with --size=image; 0 where these do not tell.
    """

    build: Callable[[EditRequest], Edit]
    flags: tuple[str, ...]
    image_factor: int = 1


def inpaint(request: EditRequest) -> Edit:
    """The region that is white in --mask, given the rest of the image."""
    image = read_single(request)
    if request.mask is None:
        raise UserError("--mask: inpaint needs one; give an image of the same size, white in the region to repaint")
    return _inpainting(request, image.pixels, image_inputs.read_mask(request.mask, image), image)


def outpaint(request: EditRequest) -> Edit:
    """A larger image around the given one, which lies at --place."""
    height, width = request.data.shape[:2]

    def inner_size(file_size: Size) -> Size:
        is_smaller = file_size[0] <= height and file_size[1] <= width and file_size != (height, width)
        return file_size if is_smaller else (-(-height // 2), -(-width // 2))

    image = image_inputs.read_picture(single_path(request), request.data, inner_size)
    rows, columns = image.pixels.shape[:2]
    top, left = parse_place(request.place, (height - rows, width - columns))
    inside = slice(top, top + rows), slice(left, left + columns)
    mask = np.ones((height, width), bool)
    mask[inside] = False
    pixels = np.zeros(request.data.shape, np.uint8)
    pixels[inside] = image.pixels
    return _inpainting(request, pixels, mask, image)


def variations(request: EditRequest) -> Edit:
    """Images similar to the given one: noised to --strength and denoised."""
    return _variation(request, None)


def sketch(request: EditRequest) -> Edit:
    """A realistic image of one that was drawn over (--strokes), or of a drawing alone."""
    return _variation(request, request.strokes)


def super_resolve(request: EditRequest) -> Edit:
    """An image at the model's size, given its block means: a smaller image. Blocks at the ends may be cut."""
    height, width = request.data.shape[:2]
    path = single_path(request)
    check_pixels(request, "super_resolve")

    def small_size(file_size: Size) -> Size:
        factor = -(-height // file_size[0])
        blocks = -(-height // factor), -(-width // factor)
        if factor > 1 and blocks == file_size:
            return file_size
        return -(-height // DEFAULT_FACTOR), -(-width // DEFAULT_FACTOR)

    image = image_inputs.read_picture(path, request.data, small_size)
    factor = max(DEFAULT_FACTOR, -(-height // image.pixels.shape[0]))
    means = image_inputs.to_model_scale(image.pixels, request.data)
    observation = edit.downsampled(means, factor, sides=(height, width))
    return _inverse_problem(request, observation, MEAN_METHOD, EditInputs({"input": image.pixels}, None, _notes(image)))


def colourise(request: EditRequest) -> Edit:
    """An RGB image, given its grey values."""
    if request.data.shape[2] != 3:
        raise UserError("--edit colourise: this model generates grey images; use a model of RGB images")
    check_pixels(request, "colourise")
    image = read_single(request)
    grey = image_inputs.to_model_scale(image.pixels, request.data) @ jnp.asarray(LUMA)
    grey_picture = np.rint(image.pixels @ np.asarray(LUMA)).astype(np.uint8)[..., None].repeat(3, axis=-1)
    inputs = EditInputs({"input": grey_picture}, None, _notes(image))
    return _inverse_problem(request, edit.grey(grey[..., None], LUMA), MEAN_METHOD, inputs)


def interpolate(request: EditRequest) -> Edit:
    """Images between two given ones; without --image, between two seeds, classes or prompts."""
    if len(request.image) not in (0, 2):
        raise UserError(f"--image: interpolate takes two images, one for each end, got {len(request.image)}; give two")
    check_continuous(request, "interpolate")
    if request.image and request.seed_to is not None:
        raise UserError("--seed_to: the two images already define both ends; leave it out")
    if not request.image:
        if request.label_to is request.prompt_to is request.seed_to is None:
            raise UserError("--edit interpolate: give two --image, or an end: --label_to, --prompt_to, --seed_to")
        return Interpolation(seed_to=request.seed_to)
    images = [image_inputs.read_picture(path, request.data) for path in request.image]
    ends = jnp.stack([image_inputs.to_model_input(image.pixels, request.data) for image in images])
    first, last = (image_inputs.to_bytes(image.pixels, request.data) for image in images)
    return Interpolation(
        ends=ends,
        inputs=EditInputs({"from": first, "to": last}, None, _notes(*images)),
        sampler_set=request.sampler_set,
        grid_set=request.grid_set,
        steps=request.steps,
    )


def _inpainting(request: EditRequest, pixels: Pixels, mask: Bool[np.ndarray, "h w"], image: InputImage) -> Edit:
    """The masked region of these pixels, given the rest."""
    default = TOKEN_METHOD if request.data.encoding.discrete or request.inpainting_net else PIXEL_METHOD
    inputs = EditInputs({"input": image_inputs.to_bytes(pixels, request.data)}, mask, _notes(image))
    return _inverse_problem(request, _known_pixels(request.data, pixels, mask), default, inputs)


def _known_pixels(data: DataSpec, pixels: Pixels, mask: Bool[np.ndarray, "h w"]) -> edit.Observation:
    """The pixels outside of the mask, as an observation; of latents, those of which all pixels are."""
    x = image_inputs.to_model_input(pixels, data)
    is_known = ~mask[..., None]
    if data.latents is None:
        return edit.inpaint(x, np.broadcast_to(is_known, data.shape).reshape(x.shape))
    height, width, _ = x.shape
    blocks = is_known.reshape(height, len(mask) // height, width, mask.shape[1] // width, 1).all(axis=(1, 3))
    return edit.inpaint(x, np.broadcast_to(blocks, x.shape))


def _inverse_problem(
    request: EditRequest, observation: edit.Observation, default_method: str, inputs: EditInputs
) -> Edit:
    """The edit that samples given an observation, by --method."""
    name = default_method if request.method is None else request.method
    method = specs.instantiate(methods, name, "--method")
    uses_own_rule = request.sampler_set or request.data.encoding.discrete
    rule = {} if uses_own_rule else {"sampler": f"that of {method.name}"}
    return ImageEdit(InverseProblem(observation, method, request.sampler_set), inputs, {"method": name, **rule})


def _variation(request: EditRequest, strokes: str | None) -> Edit:
    """The edit that starts from the image, or from its copy with strokes, and keeps what --mask leaves black."""
    data = request.data
    image = read_single(request)
    panels = {"input": image_inputs.to_bytes(image.pixels, data)}
    start = image
    if strokes is not None:
        start = _read_strokes(strokes, image, data)
        panels["strokes"] = image_inputs.to_bytes(start.pixels, data)
    strength = DEFAULT_STRENGTH if request.strength is None else request.strength
    check_strength(strength)
    mask = None if request.mask is None else image_inputs.read_mask(request.mask, image)
    known = None if mask is None else _known_pixels(data, image.pixels, mask)
    notes = _notes(image) if start is image else _notes(image, start)
    variation = Variation(image_inputs.to_model_input(start.pixels, data), strength, known)
    return ImageEdit(variation, EditInputs(panels, mask, notes), {"strength": strength})


def _read_strokes(path: str, image: InputImage, data: DataSpec) -> InputImage:
    """A copy of the image with strokes. Raises UserError where sizes differ or nothing was drawn."""
    drawing = image_inputs.read_picture(path, data)
    advice = "draw over a copy of the image"
    if drawing.file_shape[:2] != image.file_shape[:2]:
        expected = f"expected {format_size(*image.file_shape[:2])}, the size of {image.path}"
        raise UserError(f"--strokes {path}: {expected}, got {format_size(*drawing.file_shape[:2])}; {advice}")
    if (drawing.pixels == image.pixels).all():
        raise UserError(f"--strokes {path}: is the same as {image.path}; {advice}")
    return drawing


def _notes(*images: InputImage) -> tuple[str, ...]:
    """What was done to each image that was changed."""
    return tuple(image.notes for image in images if image.notes)


EDITS = {
    "colourise": EditKind(colourise, ("image", "method")),
    "inpaint": EditKind(inpaint, ("image", "mask", "method")),
    "interpolate": EditKind(interpolate, ("image", "label_to", "prompt_to", "seed_to")),
    "outpaint": EditKind(outpaint, ("image", "place", "method"), image_factor=0),
    "sketch": EditKind(sketch, ("image", "strokes", "mask", "strength")),
    "super_resolve": EditKind(super_resolve, ("image", "method"), image_factor=DEFAULT_FACTOR),
    "variations": EditKind(variations, ("image", "mask", "strength")),
}


def edit_kind(name: str) -> EditKind:
    """The kind of that name. Raises UserError for an unknown one."""
    if name not in EDITS:
        raise UserError(f"--edit: unknown {name!r}; choose from {', '.join(EDITS)}")
    return EDITS[name]


def build_edit(name: str, request: EditRequest) -> Edit:
    """The edit of that name. Raises UserError for an unknown name, and for a flag that the edit does not read."""
    kind = edit_kind(name)
    for flag in sorted({flag for other in EDITS.values() for flag in other.flags} - {*kind.flags}):
        if vars(request)[flag] not in (None, ()):
            used = ", --".join(kind.flags)
            raise UserError(f"--{flag}: has no effect on --edit {name}, which reads --{used}; leave it out")
    return kind.build(request)
