"""The image files of an untrusted folder: links and names are checked before a file is opened."""

from collections.abc import Collection
from pathlib import Path

from PIL import Image

from diffjax.errors import UserError
from diffjax.utils.files import describe_error, is_single_line

_MAX_PATH_LETTERS = 255  # letters of an invalid path that a message repeats


def image_suffixes() -> frozenset[str]:
    """The suffixes, in lower case, of all formats that Pillow opens; not all of them are read (`image_io.FORMATS`)."""
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN)


def image_files(folder: str | Path, name: str) -> tuple[Path, list[Path]]:
    """A folder, and the relative paths of all image files below it, sorted, without hidden and other files.

    The folder itself may be a link. Raises UserError, which calls the folder `name`, where it is missing or empty, for
    a link to a folder, for a link to a file outside of this folder, and for a name with control characters.
    """
    root = _resolve_folder(folder, name)
    extensions = image_suffixes()
    files = []
    for path in root.rglob("*"):
        file = path.relative_to(root)
        if any(part.startswith(".") for part in file.parts):
            continue
        if path.is_symlink():
            _check_link(root, path, extensions, name)
        if file.suffix.lower() in extensions and path.is_file():
            if not is_single_line(str(file)):
                raise UserError(f"{name}: {str(file)!r} has control characters in its name; rename it")
            files.append(file)
    if not files:
        raise UserError(f"{name}: no images in it; put images there, or in one subfolder for each class")
    return root, sorted(files)


def _resolve_folder(path: str | Path, name: str) -> Path:
    try:
        root = Path(path).expanduser()
        if root.is_dir():
            return root
        problem = "no such folder"
    except (OSError, RuntimeError, ValueError) as error:  # too long a name, no such home
        problem = describe_error(error)
    raise UserError(f"{name[:_MAX_PATH_LETTERS]}: {problem}; give the path of a folder of images")


def _check_link(root: Path, path: Path, extensions: Collection[str], name: str) -> None:
    """Raise UserError for a link to a folder, which would be left out, and for one to an image outside of the root."""
    if path.is_dir():
        raise UserError(f"{name}: {path.relative_to(root)} is a link to a folder; put the folder itself there")
    try:
        inside = path.resolve(strict=True).is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # to nowhere, or in a circle
        inside = False
    if path.suffix.lower() in extensions and not inside:
        raise UserError(f"{name}: {path.relative_to(root)} is a link out of it; put the file itself there")
