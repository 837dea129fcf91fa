"""The methods of `edit.solve` by their names on the command line; each function makes a `Method`."""

from diffjax.edit.clamping import clamp, replacement
from diffjax.edit.gradient_guidance import dps, pigdm
from diffjax.edit.projection import ddnm, ddrm
from diffjax.edit.smc import twisted
from diffjax.edit.time_travel import repaint

__all__ = ["clamp", "ddnm", "ddrm", "dps", "pigdm", "repaint", "replacement", "twisted"]
