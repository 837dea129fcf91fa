"""Editing: what was seen of an example, and methods that draw the rest.

An observation is a linear one, y = H x + noise, told in an orthonormal basis (`Observation`): a mask (`inpaint`), or
any H (`observed`). It is a hook of `dj.sample`, or given to `solve` with a method from `methods`.
"""

from diffjax.edit import methods
from diffjax.edit.first import known_first
from diffjax.edit.fixed import clamp, replacement
from diffjax.edit.observations import inpaint
from diffjax.edit.seen import Observation, observed
from diffjax.edit.solving import Method, solve

__all__ = [
    "Method",
    "Observation",
    "clamp",
    "inpaint",
    "known_first",
    "methods",
    "observed",
    "replacement",
    "solve",
]
