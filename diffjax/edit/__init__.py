"""Editing: what was seen of an example and methods that draw the rest, starting points, and the way between two.

An observation is a linear one, y = H x + noise, told in an orthonormal basis (`Observation`): a mask (`inpaint`), block
means (`downsampled`), grey values (`grey`), a blur (`blurred`), or any H (`observed`). It is a hook of `dj.sample`, or
given to `solve` with a method from `methods`. `particles` is what the method `twisted` draws from.

`vary` and `sketched` begin part of the way (SDEdit): a picture is destroyed to a level and restored. `interpolate` goes
from one picture to another by inversion, `slerp` and sampling; `mixed` is the denoiser between two conditions.
"""

from diffjax.edit import methods
from diffjax.edit.between import Between, interpolate, mixed, reversible, slerp
from diffjax.edit.filtering import Particles, particles, twisted
from diffjax.edit.first import known_first
from diffjax.edit.fixed import clamp, replacement
from diffjax.edit.journeys import clock_at, cut, destroyed, pasted, sketched, vary
from diffjax.edit.led import dps, pigdm
from diffjax.edit.observations import blurred, downsampled, grey, inpaint
from diffjax.edit.projected import ddnm, ddrm
from diffjax.edit.resampling import repaint
from diffjax.edit.seen import Observation, observed
from diffjax.edit.solving import Method, solve

__all__ = [
    "Between",
    "Method",
    "Observation",
    "Particles",
    "blurred",
    "clamp",
    "clock_at",
    "cut",
    "ddnm",
    "ddrm",
    "destroyed",
    "downsampled",
    "dps",
    "grey",
    "inpaint",
    "interpolate",
    "known_first",
    "methods",
    "mixed",
    "observed",
    "particles",
    "pasted",
    "pigdm",
    "repaint",
    "replacement",
    "reversible",
    "sketched",
    "slerp",
    "solve",
    "twisted",
    "vary",
]
