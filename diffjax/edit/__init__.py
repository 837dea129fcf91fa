"""Editing: what was seen of an example and methods that draw the rest, starting points, and the way between two.

An observation is a linear one, y = H x + noise, told in an orthonormal basis (`Observation`): a mask (`inpaint`), block
means (`downsampled`), grey values (`grey`), a blur (`blurred`), or any H (`observed`). It is a hook of `dj.sample`, or
given to `solve` with a method from `methods`. `particles` is what the method `twisted` draws from.

`vary` and `sketched` begin part of the way (SDEdit): a picture is destroyed to a level and restored. `interpolate` goes
from one picture to another by inversion, `slerp` and sampling; `mixed` is the denoiser between two conditions.
"""

from diffjax.edit import methods
from diffjax.edit.clamping import clamp, replacement
from diffjax.edit.gradient_guidance import dps, pigdm
from diffjax.edit.interpolation import MixedCondition, interpolate, inversion_grid, mixed, slerp
from diffjax.edit.known_order import known_first
from diffjax.edit.observation import Observation, observed
from diffjax.edit.operators import blurred, downsampled, grey, inpaint
from diffjax.edit.projection import ddnm, ddrm
from diffjax.edit.sdedit import composite, noise_to, sketched, strength_to_time, truncate_grid, vary
from diffjax.edit.smc import Particles, particles, twisted
from diffjax.edit.solver import Method, solve
from diffjax.edit.time_travel import repaint

__all__ = [
    "Method",
    "MixedCondition",
    "Observation",
    "Particles",
    "blurred",
    "clamp",
    "composite",
    "ddnm",
    "ddrm",
    "downsampled",
    "dps",
    "grey",
    "inpaint",
    "interpolate",
    "inversion_grid",
    "known_first",
    "methods",
    "mixed",
    "noise_to",
    "observed",
    "particles",
    "pigdm",
    "repaint",
    "replacement",
    "sketched",
    "slerp",
    "solve",
    "strength_to_time",
    "truncate_grid",
    "twisted",
    "vary",
]
