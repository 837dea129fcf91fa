"""The edits of `sample.py --edit`, by name: from what was asked for to an edit that is ready to be drawn.

All that can be wrong with the flags and the files of an edit is met here, before a model is called.
"""

import sys
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, UInt8

from diffjax import edit
from diffjax.commands import edit_run, image_inputs
from diffjax.commands.edit_inputs import EditRequest, check_numbers, parse_place, read_single, single_path
from diffjax.commands.edit_run import Edit
from diffjax.commands.image_inputs import InputImage
from diffjax.commands.interpolation_run import Interpolation
from diffjax.edit import methods
from diffjax.edit.sdedit import check_strength
from diffjax.errors import UserError
from diffjax.experiment import specs
from diffjax.experiment.data_spec import DataSpec

__all__ = ["colourise", "inpaint", "interpolate", "outpaint", "sketch", "super_resolve", "variations"]

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey (ITU-R BT.601), as Pillow has it
DEFAULT_STRENGTH = 0.5  # the strength where none is asked for
PIXEL_METHOD, MEAN_METHOD, TOKEN_METHOD = "repaint", "pigdm", "clamp"  # methods where none is asked for
FLAGS_BY_EDIT = {  # the flags that say something of each edit
    "inpaint": ("image", "mask", "method"),
    "outpaint": ("image", "place", "method"),
    "sketch": ("image", "strokes", "mask", "strength"),
    "interpolate": ("image", "label_to", "prompt_to", "seed_to"),
    "super_resolve": ("image", "method"),
    "variations": ("image", "mask", "strength"),
    "colourise": ("image", "method"),
}


def build_edit(name: str, request: EditRequest) -> Edit | Interpolation:
    """The edit of that name. Raises UserError for one that is not known, and for a flag that does not belong to it."""
    build = specs.parse_spec(sys.modules[__name__], name, "--edit").target
    for flag in sorted({flag for flags in FLAGS_BY_EDIT.values() for flag in flags}):
        if vars(request)[flag] not in (None, ()) and flag not in FLAGS_BY_EDIT[name]:
            raise UserError(
                f"--{flag}: says nothing of {name}, which takes --{', --'.join(FLAGS_BY_EDIT[name])}; leave it out"
            )
    return build(request)


def inpaint(request: EditRequest) -> Edit:
    """A picture of which the mask's white part is painted anew."""
    picture = read_single(request)
    if request.mask is None:
        raise UserError("--mask: inpaint needs one; give a picture of the same size, white where it is to be painted")
    return _inpainting(request, picture, picture.pixels, image_inputs.read_mask(request.mask, picture))


def outpaint(request: EditRequest) -> Edit:
    """A picture as the middle, or another place, of a larger one."""
    path, (height, width) = single_path(request), request.facts.shape[:2]
    file_size = image_inputs.picture_size(path)
    is_smaller = file_size[0] <= height and file_size[1] <= width and file_size != (height, width)
    size = file_size if is_smaller else (-(-height // 2), -(-width // 2))
    picture = image_inputs.read_picture(path, request.facts, size)
    top, left = parse_place(request.place, (height - size[0], width - size[1]))
    mask, pixels = np.ones((height, width), bool), np.zeros(request.facts.shape, np.uint8)
    mask[top : top + size[0], left : left + size[1]] = False
    pixels[top : top + size[0], left : left + size[1]] = picture.pixels
    return _inpainting(request, picture, pixels, mask)


def variations(request: EditRequest) -> Edit:
    """Other pictures like one: destroyed to the strength, and restored."""
    picture = read_single(request)
    return _sdedit_edit(request, picture, picture.pixels, {}, ())


def sketch(request: EditRequest) -> Edit:
    """A picture that was drawn over, or a drawing alone, made one: what was drawn is kept in spirit."""
    picture = read_single(request)
    if request.strokes is None:
        return _sdedit_edit(request, picture, picture.pixels, {}, ())
    drawing = image_inputs.read_picture(request.strokes, request.facts)
    if drawing.file_shape[:2] != picture.file_shape[:2]:
        raise UserError(
            f"--strokes {drawing.name}: expected {picture.file_shape[1]}x{picture.file_shape[0]} pixels, as "
            f"{picture.name} has, got "
            f"{drawing.file_shape[1]}x{drawing.file_shape[0]}; draw over a copy of the picture"
        )
    if (drawing.pixels == picture.pixels).all():
        raise UserError(f"--strokes {drawing.name}: is the same as {picture.name}; draw over a copy of the picture")
    return _sdedit_edit(
        request,
        picture,
        drawing.pixels,
        {"strokes": image_inputs.to_bytes(drawing.pixels, request.facts)},
        (drawing.notes,),
    )


def super_resolve(request: EditRequest) -> Edit:
    """A picture of which the means of blocks are known: a small one, made as large as the model's are."""
    path, (height, width) = single_path(request), request.facts.shape[:2]
    check_numbers(request, "super_resolve")
    file_size = image_inputs.picture_size(path)
    factor = height // file_size[0]
    if factor < 2 or (file_size[0] * factor, file_size[1] * factor) != (height, width):
        factor = 2
    if height % factor or width % factor:
        raise UserError(f"--edit super_resolve: {width}x{height} pixels, as the model draws, are no blocks of 2x2")
    picture = image_inputs.read_picture(path, request.facts, (height // factor, width // factor))
    observation = edit.downsampled(image_inputs.to_model_scale(picture.pixels, request.facts), factor)
    return _solver_edit(request, observation, MEAN_METHOD, {"input": picture.pixels}, None, picture.notes)


def colourise(request: EditRequest) -> Edit:
    """A grey picture in colours."""
    if request.facts.shape[2] != 3:
        raise UserError("--edit colourise: this model draws grey pictures and knows no colours; use one of RGB")
    check_numbers(request, "colourise")
    picture = read_single(request)
    grey = image_inputs.to_model_scale(picture.pixels, request.facts) @ jnp.asarray(LUMA)
    grey_picture = np.rint(picture.pixels @ np.asarray(LUMA)).astype(np.uint8)[..., None].repeat(3, axis=-1)
    return _solver_edit(
        request, edit.grey(grey[..., None], LUMA), MEAN_METHOD, {"input": grey_picture}, None, picture.notes
    )


def interpolate(request: EditRequest) -> Interpolation:
    """The way from one picture to another; without pictures from one seed, label or prompt to another."""
    if len(request.image) not in (0, 2):
        raise UserError(f"--image: interpolate goes from one picture to another, got {len(request.image)}; give two")
    check_numbers(request, "interpolate")
    if request.image and request.seed_to is not None:
        raise UserError("--seed_to: the pictures say where the way begins and ends; leave it out")
    if not request.image:
        if request.label_to is request.prompt_to is request.seed_to is None:
            raise UserError(
                "--edit interpolate: give two --image, or where to go by --label_to, --prompt_to, --seed_to"
            )
        return Interpolation(seed_to=request.seed_to)
    pictures = [image_inputs.read_picture(path, request.facts) for path in request.image]
    ends = jnp.stack([image_inputs.to_model_input(picture.pixels, request.facts) for picture in pictures])
    panels = {
        name: image_inputs.to_bytes(picture.pixels, request.facts)
        for name, picture in zip(("from", "to"), pictures, strict=True)
    }
    return Interpolation(ends, None, panels, _nonempty_lines(*(picture.notes for picture in pictures)))


def _inpainting(
    request: EditRequest, picture: InputImage, pixels: UInt8[np.ndarray, "h w c"], mask: Bool[np.ndarray, "h w"]
) -> Edit:
    """The edit in which the painted part of these pixels is drawn given the rest."""
    default = TOKEN_METHOD if request.facts.encoding.discrete or request.fills else PIXEL_METHOD
    observation = _observed_pixels(request.facts, pixels, mask)
    return _solver_edit(
        request, observation, default, {"input": image_inputs.to_bytes(pixels, request.facts)}, mask, picture.notes
    )


def _observed_pixels(
    facts: DataSpec, pixels: UInt8[np.ndarray, "h w c"], mask: Bool[np.ndarray, "h w"]
) -> edit.Observation:
    """What is not painted, as seen."""
    x = image_inputs.to_model_input(pixels, facts)
    is_known = np.broadcast_to(~mask[..., None], facts.shape)
    return edit.inpaint(x, is_known.reshape(x.shape))


def _solver_edit(
    request: EditRequest, observation: Any, default: str, panels: dict[str, Any], mask: Any, notes: str
) -> Edit:
    """The edit that draws what was not seen, by the method asked for."""
    name = default if request.method is None else request.method
    method = specs.instantiate(methods, name, "--method")
    call = partial(edit_run.run_solver, observation, method, request.own_rule)
    rule = {} if request.own_rule or request.facts.encoding.discrete else {"sampler": f"that of {method.name}"}
    return Edit(call, panels, mask, _nonempty_lines(notes), {"method": name, **rule})


def _sdedit_edit(
    request: EditRequest,
    picture: InputImage,
    pixels: UInt8[np.ndarray, "h w c"],
    extra_panels: dict[str, Any],
    notes: tuple[str, ...],
) -> Edit:
    """The edit that begins at these pixels, and leaves alone what a mask has black."""
    facts, strength = request.facts, DEFAULT_STRENGTH if request.strength is None else request.strength
    check_strength(strength)
    mask = None if request.mask is None else image_inputs.read_mask(request.mask, picture)
    hook = None if mask is None else _observed_pixels(facts, picture.pixels, mask)
    call = partial(edit_run.run_sdedit, image_inputs.to_model_input(pixels, facts), strength, hook)
    panels = {"input": image_inputs.to_bytes(picture.pixels, facts), **extra_panels}
    return Edit(call, panels, mask, _nonempty_lines(picture.notes, *notes), {"strength": strength})


def _nonempty_lines(*lines: str) -> tuple[str, ...]:
    """Those that say something."""
    return tuple(filter(None, lines))
