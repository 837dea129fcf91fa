"""Editing: what was seen of an example, and methods that draw the rest.

An observation is a linear one, y = H x + noise, told in an orthonormal basis (`Observation`): a mask (`inpaint`), block
means (`downsampled`), grey values (`grey`), a blur (`blurred`), or any H (`observed`). It is a hook of `dj.sample`, or
given to `solve` with a method from `methods`. `particles` is what the method `twisted` draws from.
"""

from diffjax.edit import methods
from diffjax.edit.filtering import Particles, particles, twisted
from diffjax.edit.first import known_first
from diffjax.edit.fixed import clamp, replacement
from diffjax.edit.led import dps, pigdm
from diffjax.edit.observations import blurred, downsampled, grey, inpaint
from diffjax.edit.projected import ddnm, ddrm
from diffjax.edit.resampling import repaint
from diffjax.edit.seen import Observation, observed
from diffjax.edit.solving import Method, solve

__all__ = [
    "Method",
    "Observation",
    "Particles",
    "blurred",
    "clamp",
    "ddnm",
    "ddrm",
    "downsampled",
    "dps",
    "grey",
    "inpaint",
    "known_first",
    "methods",
    "observed",
    "particles",
    "pigdm",
    "repaint",
    "replacement",
    "solve",
    "twisted",
]
