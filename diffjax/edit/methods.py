"""The methods of `edit.solve`, by name, as the command line finds them. Each is a maker of a `Method`."""

from diffjax.edit.filtering import twisted
from diffjax.edit.fixed import clamp, replacement
from diffjax.edit.led import dps, pigdm
from diffjax.edit.projected import ddnm, ddrm
from diffjax.edit.resampling import repaint

__all__ = [
    "clamp",
    "ddnm",
    "ddrm",
    "dps",
    "pigdm",
    "repaint",
    "replacement",
    "twisted",
]
