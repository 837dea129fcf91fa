"""Editing: posterior sampling for linear inverse problems, image to image, and interpolation.

An `Observation` is a measurement y = H x + noise in an orthonormal basis: a mask (`inpaint`), block means
(`downsampled`), a weighted sum of channels (`grey`), a blur (`blurred`), or any linear H (`observed`). It is a hook of
`dj.sample`, or an argument of `solve` beside a method from `methods`; `particles` returns the weighted particles of
`twisted`.

`vary` is SDEdit: an image is noised to a strength and denoised. `interpolate` inverts two images, and samples between
the latents (`slerp`) under mixed conditions (`mixed`). `tiled` is a denoiser of pictures larger than the net's.
"""

from diffjax.edit import methods
from diffjax.edit.clamping import clamp, replacement
from diffjax.edit.gradient_guidance import dps, pigdm
from diffjax.edit.interpolation import MixedCondition, interpolate, inversion_grid, mixed, slerp
from diffjax.edit.known_order import known_first
from diffjax.edit.observation import Observation
from diffjax.edit.operators import blurred, downsampled, grey, inpaint, observed
from diffjax.edit.projection import ddnm, ddrm
from diffjax.edit.sdedit import noise_to, strength_to_time, truncate_grid, vary
from diffjax.edit.smc import particles, twisted
from diffjax.edit.solver import Method, solve
from diffjax.edit.tiling import tiled
from diffjax.edit.time_travel import repaint

__all__ = [
    "Method",
    "MixedCondition",
    "Observation",
    "blurred",
    "clamp",
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
    "slerp",
    "solve",
    "strength_to_time",
    "tiled",
    "truncate_grid",
    "twisted",
    "vary",
]
