"""Names of classes, which may come from strangers."""

from collections.abc import Sequence

from diffjax.errors import UserError
from diffjax.utils.files import is_single_line

MAX_CLASSES = 2**20
MAX_NAME = 255  # letters of the name of a class


def check_class_names(names: Sequence[str], location: str) -> None:
    """Raises `UserError` for the name of a class that cannot be printed on one line."""
    invalid = next((name for name in names if not is_single_line(name) or len(name) > MAX_NAME), None)
    if invalid is not None:
        name_text = repr(invalid[:40])
        raise UserError(
            f"{location}: the class {name_text} has control characters or over {MAX_NAME} letters; rename it"
        )
