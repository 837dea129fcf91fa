"""Editing: a starting point, what is seen of the picture, and the way between two.

`vary` and `sketched` begin part of the way (SDEdit): a picture is destroyed to a level and restored. `interpolate` goes
from one picture to another by inversion, `slerp` and sampling; `mixed` is the denoiser between two conditions.
"""

from diffjax.edit.between import Between, interpolate, mixed, reversible, slerp
from diffjax.edit.journeys import clock_at, cut, destroyed, pasted, sketched, vary

__all__ = [
    "Between",
    "clock_at",
    "cut",
    "destroyed",
    "interpolate",
    "mixed",
    "pasted",
    "reversible",
    "sketched",
    "slerp",
    "vary",
]
