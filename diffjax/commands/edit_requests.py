"""The edits of `sample.py --edit`, by name: from what was asked for to an edit that is ready to be drawn.

All that can be wrong with the flags and the files of an edit is met here, before a model is called.
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, UInt8

from diffjax import edit
from diffjax.commands import edit_run, image_inputs
from diffjax.commands.edit_run import Edit
from diffjax.commands.image_inputs import Fitted
from diffjax.commands.interpolation_run import Way
from diffjax.edit import methods
from diffjax.edit.sdedit import check_strength
from diffjax.errors import UserError
from diffjax.experiment import specs
from diffjax.experiment.data_spec import Facts

__all__ = ["colourise", "inpaint", "interpolate", "outpaint", "sketch", "super_resolve", "variations"]

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey (ITU-R BT.601), as Pillow has it
HALF = 0.5  # the strength where none is asked for
OF_PIXELS, OF_SUMS, GIVEN = "repaint", "pigdm", "clamp"  # methods where none is asked for
TAKES = {  # the flags that say something of each edit
    "inpaint": ("image", "mask", "method"),
    "outpaint": ("image", "place", "method"),
    "sketch": ("image", "strokes", "mask", "strength"),
    "interpolate": ("image", "label_to", "prompt_to", "seed_to"),
    "super_resolve": ("image", "method"),
    "variations": ("image", "mask", "strength"),
    "colourise": ("image", "method"),
}


@dataclass(frozen=True)
class Asked:
    """What the flags of an edit say, and of what data the model is.

    `own_rule`: a sampler was asked for. `fills`: the net takes a level for each pixel, and was taught to be given some.
    """

    facts: Facts
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


def made(name: str, asked: Asked) -> Edit | Way:
    """The edit of that name. Raises UserError for one that is not known, and for a flag that does not belong to it."""
    which = specs.found(sys.modules[__name__], name, "--edit")
    for flag in sorted({flag for flags in TAKES.values() for flag in flags}):
        if getattr(asked, flag) not in (None, ()) and flag not in TAKES[name]:
            raise UserError(f"--{flag}: says nothing of {name}, which takes --{', --'.join(TAKES[name])}; leave it out")
    return which(asked)


def inpaint(asked: Asked) -> Edit:
    """A picture of which the mask's white part is painted anew."""
    given = _one(asked)
    if asked.mask is None:
        raise UserError("--mask: inpaint needs one; give a picture of the same size, white where it is to be painted")
    return _painted(asked, given, given.pixels, image_inputs.mask(asked.mask, given))


def outpaint(asked: Asked) -> Edit:
    """A picture as the middle, or another place, of a larger one."""
    path, (height, width) = _only(asked), asked.facts.shape[:2]
    own = image_inputs.size_of(path)
    fits = own[0] <= height and own[1] <= width and own != (height, width)
    size = own if fits else (-(-height // 2), -(-width // 2))
    given = image_inputs.picture(path, asked.facts, size)
    top, left = _place(asked.place, (height - size[0], width - size[1]))
    painted, pixels = np.ones((height, width), bool), np.zeros(asked.facts.shape, np.uint8)
    painted[top : top + size[0], left : left + size[1]] = False
    pixels[top : top + size[0], left : left + size[1]] = given.pixels
    return _painted(asked, given, pixels, painted)


def variations(asked: Asked) -> Edit:
    """Other pictures like one: destroyed to the strength, and restored."""
    given = _one(asked)
    return _varied(asked, given, given.pixels, {}, ())


def sketch(asked: Asked) -> Edit:
    """A picture that was drawn over, or a drawing alone, made one: what was drawn is kept in spirit."""
    given = _one(asked)
    if asked.strokes is None:
        return _varied(asked, given, given.pixels, {}, ())
    over = image_inputs.picture(asked.strokes, asked.facts)
    if over.own[:2] != given.own[:2]:
        raise UserError(
            f"--strokes {over.name}: expected {given.own[1]}x{given.own[0]} pixels, as {given.name} has, got "
            f"{over.own[1]}x{over.own[0]}; draw over a copy of the picture"
        )
    if (over.pixels == given.pixels).all():
        raise UserError(f"--strokes {over.name}: is the same as {given.name}; draw over a copy of the picture")
    return _varied(asked, given, over.pixels, {"strokes": image_inputs.shown(over.pixels, asked.facts)}, (over.told,))


def super_resolve(asked: Asked) -> Edit:
    """A picture of which the means of blocks are known: a small one, made as large as the model's are."""
    path, (height, width) = _only(asked), asked.facts.shape[:2]
    _check_numbers(asked, "super_resolve")
    own = image_inputs.size_of(path)
    factor = height // own[0]
    if factor < 2 or (own[0] * factor, own[1] * factor) != (height, width):
        factor = 2
    if height % factor or width % factor:
        raise UserError(f"--edit super_resolve: {width}x{height} pixels, as the model draws, are no blocks of 2x2")
    given = image_inputs.picture(path, asked.facts, (height // factor, width // factor))
    seen = edit.downsampled(image_inputs.numbers(given.pixels, asked.facts), factor)
    return _solved(asked, seen, OF_SUMS, {"input": given.pixels}, None, given.told)


def colourise(asked: Asked) -> Edit:
    """A grey picture in colours."""
    if asked.facts.shape[2] != 3:
        raise UserError("--edit colourise: this model draws grey pictures and knows no colours; use one of RGB")
    _check_numbers(asked, "colourise")
    given = _one(asked)
    grey = image_inputs.numbers(given.pixels, asked.facts) @ jnp.asarray(LUMA)
    shown = np.rint(given.pixels @ np.asarray(LUMA)).astype(np.uint8)[..., None].repeat(3, axis=-1)
    return _solved(asked, edit.grey(grey[..., None], LUMA), OF_SUMS, {"input": shown}, None, given.told)


def interpolate(asked: Asked) -> Way:
    """The way from one picture to another; without pictures from one seed, label or prompt to another."""
    if len(asked.image) not in (0, 2):
        raise UserError(f"--image: interpolate goes from one picture to another, got {len(asked.image)}; give two")
    _check_numbers(asked, "interpolate")
    if asked.image and asked.seed_to is not None:
        raise UserError("--seed_to: the pictures say where the way begins and ends; leave it out")
    if not asked.image:
        if asked.label_to is asked.prompt_to is asked.seed_to is None:
            raise UserError(
                "--edit interpolate: give two --image, or where to go by --label_to, --prompt_to, --seed_to"
            )
        return Way(seed_to=asked.seed_to)
    both = [image_inputs.picture(path, asked.facts) for path in asked.image]
    ends = jnp.stack([image_inputs.encoded(each.pixels, asked.facts) for each in both])
    shown = {
        name: image_inputs.shown(each.pixels, asked.facts) for name, each in zip(("from", "to"), both, strict=True)
    }
    return Way(ends, None, shown, _lines(*(each.told for each in both)))


def _only(asked: Asked) -> str:
    """The path of the one picture."""
    if len(asked.image) != 1:
        raise UserError(f"--image: expected one picture to edit, got {len(asked.image) or 'none'}; give one")
    return asked.image[0]


def _one(asked: Asked) -> Fitted:
    """The one picture, of the model's size."""
    return image_inputs.picture(_only(asked), asked.facts)


def _check_numbers(asked: Asked, name: str) -> None:
    """Raise UserError for a model of tokens."""
    if asked.facts.encoding.discrete:
        raise UserError(
            f"--edit {name}: needs a model of numbers, and this one draws tokens, which have neither sums nor anything "
            "between them; use inpaint, outpaint, sketch or variations"
        )


def _place(text: str | None, room: tuple[int, int]) -> tuple[int, int]:
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


def _painted(asked: Asked, given: Fitted, pixels: UInt8[np.ndarray, "h w c"], painted: Bool[np.ndarray, "h w"]) -> Edit:
    """The edit in which the painted part of these pixels is drawn given the rest."""
    default = GIVEN if asked.facts.encoding.discrete or asked.fills else OF_PIXELS
    seen = _seen(asked.facts, pixels, painted)
    return _solved(asked, seen, default, {"input": image_inputs.shown(pixels, asked.facts)}, painted, given.told)


def _seen(facts: Facts, pixels: UInt8[np.ndarray, "h w c"], painted: Bool[np.ndarray, "h w"]) -> edit.Observation:
    """What is not painted, as seen."""
    x = image_inputs.encoded(pixels, facts)
    known = np.broadcast_to(~painted[..., None], facts.shape)
    return edit.inpaint(x, known.reshape(x.shape))


def _solved(asked: Asked, seen: Any, default: str, shown: dict[str, Any], painted: Any, told: str) -> Edit:
    """The edit that draws what was not seen, by the method asked for."""
    name = default if asked.method is None else asked.method
    method = specs.made(methods, name, "--method")
    call = partial(edit_run.solved, seen, method, asked.own_rule)
    rule = {} if asked.own_rule or asked.facts.encoding.discrete else {"sampler": f"that of {method.name}"}
    return Edit(call, shown, painted, _lines(told), {"method": name, **rule})


def _varied(
    asked: Asked, given: Fitted, pixels: UInt8[np.ndarray, "h w c"], more: dict[str, Any], told: tuple[str, ...]
) -> Edit:
    """The edit that begins at these pixels, and leaves alone what a mask has black."""
    facts, strength = asked.facts, HALF if asked.strength is None else asked.strength
    check_strength(strength)
    painted = None if asked.mask is None else image_inputs.mask(asked.mask, given)
    hook = None if painted is None else _seen(facts, given.pixels, painted)
    call = partial(edit_run.restored, image_inputs.encoded(pixels, facts), strength, hook)
    shown = {"input": image_inputs.shown(given.pixels, facts), **more}
    return Edit(call, shown, painted, _lines(given.told, *told), {"strength": strength})


def _lines(*told: str) -> tuple[str, ...]:
    """Those that say something."""
    return tuple(filter(None, told))
