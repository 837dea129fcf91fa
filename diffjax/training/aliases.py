"""Folders under names that every library takes.

Orbax reads `[`, `?` and `*` of a checkpoint's path as a pattern, and then leaves out the index of the arrays without an
error; TensorStore takes neither `..` nor names that are not UTF-8. Both are given paths of plain characters alone.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PLAIN_PATH = re.compile(r"[\w ./:,=+@~-]+")


@contextmanager
def plain_path(folder: Path) -> Iterator[Path]:
    """An absolute path of the folder, without `..` and links, that has letters, digits and ` ./:,=+@~-_` alone.

    Where the folder's own path has others, it is that of a link in a temporary folder, which goes at the end.
    """
    real = folder.resolve()
    if _PLAIN_PATH.fullmatch(str(real)):
        yield real
        return
    with tempfile.TemporaryDirectory(prefix="diffjax-") as temporary:
        link = Path(temporary).resolve() / "folder"
        link.symlink_to(real, target_is_directory=True)
        yield link
