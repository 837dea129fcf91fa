"""What to do about picture files that cannot be read: the values of `data.unreadable`."""

from dataclasses import dataclass

from diffjax.errors import UserError

__all__ = ["refuse", "skip"]


@dataclass(frozen=True)
class Unreadable:
    """The largest share of files that may be unreadable; None: none may, and nothing is decoded in advance."""

    max_share: float | None


refuse = Unreadable(None)


def skip(share: float = 0.5) -> Unreadable:
    """Count unreadable files and go on without them, up to this share of all files, in (0, 1)."""
    if not 0 < share < 1:
        raise UserError(f"share: expected a number between 0 and 1, got {share}")
    return Unreadable(share)
