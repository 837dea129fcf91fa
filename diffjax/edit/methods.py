"""The methods of `edit.solve`, by name, as the command line finds them. Each is a maker of a `Method`."""

from diffjax.edit.fixed import clamp, replacement

__all__ = [
    "clamp",
    "replacement",
]
