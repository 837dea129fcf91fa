"""The image files of an untrusted folder: links and names are checked before a file is opened."""

import os
from collections import Counter
from collections.abc import Collection, Mapping
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from diffjax.errors import UserError
from diffjax.utils.files import describe_error, is_single_line

# Of formats that a Pillow without their codec does not name: such files are refused and not passed over.
_SUFFIXES = frozenset((".avif", ".avifs", ".jp2", ".j2k", ".jpx", ".jpf", ".webp", ".mpo"))
_OF_SYSTEMS = ("__MACOSX", "Thumbs.db", "desktop.ini")  # left in folders by archives and file managers
_UNREAD_SUFFIXES = (".heic", ".heif", ".jxl", ".svg", ".cr2", ".cr3", ".nef", ".arw", ".dng")  # of pictures
_MAX_PATH_LETTERS = 255  # letters of an invalid path that a message repeats


def image_suffixes() -> frozenset[str]:
    """The suffixes, in lower case, of all formats that Pillow opens; not all of them are read (`image_io.FORMATS`)."""
    registered = Image.registered_extensions().items()
    return _SUFFIXES.union(suffix for suffix, kind in registered if kind in Image.OPEN)


class Listing(NamedTuple):
    """The image files of a folder: their paths relative to `root`, sorted.

    `passed_over` counts, by kind, what was left out without being an ordinary file of another kind; `outside` are links
    to files outside of the folder.
    """

    root: Path
    files: list[Path]
    passed_over: Mapping[str, int]
    outside: int

    def without(self, names: Collection[str]) -> "Listing":
        """The listing without the files of these relative paths."""
        return self._replace(files=[file for file in self.files if file.as_posix() not in names]) if names else self


def image_files(folder: str | Path, name: str) -> tuple[Path, list[Path]]:
    """A folder, and the relative paths of all image files below it: see `list_folder`."""
    listing = list_folder(folder, name)
    return listing.root, listing.files


def list_folder(folder: str | Path, name: str, follow_outside: bool = False) -> Listing:
    """All image files below a folder, without hidden ones and those that systems leave in folders.

    The folder itself may be a link; links to files are followed, to those outside of it with `follow_outside` alone.
    Raises UserError, which calls the folder `name`, where it is missing, empty or cannot be read, for a link to a
    folder, for a link to a file that is not there, and for a name with control characters.
    """
    root = _resolve_folder(folder, name)
    walk = _Walk(root, name, follow_outside, image_suffixes())
    try:
        walk.visit(str(root))
    except OSError as error:
        raise UserError(f"{name}: {error.filename}: {describe_error(error)}; give a folder that you may read") from None
    if not walk.files:
        raise UserError(f"{name}: no images in it; put images there, or in one subfolder for each class")
    return Listing(root, sorted(map(Path, walk.files), key=attrgetter("parts")), dict(walk.passed_over), walk.outside)


class _Walk:
    """What is found on the way through a folder."""

    def __init__(self, root: Path, name: str, follow_outside: bool, suffixes: Collection[str]) -> None:
        self.files: list[str] = []
        self.passed_over: Counter[str] = Counter()
        self.outside = 0
        self._root = root
        self._start = len(str(root / "x")) - 1  # of a relative path in a whole one
        self._name = name
        self._follow_outside = follow_outside
        self._suffixes = tuple(suffixes)

    def visit(self, folder: str) -> None:
        """Gather the files of a folder."""
        with os.scandir(folder) as entries:
            for entry in entries:
                kind = _passed_over(entry.name)
                if kind:
                    self.passed_over[kind] += 1
                elif entry.is_dir(follow_symlinks=False):
                    self.visit(entry.path)
                else:
                    self._add(entry, entry.path[self._start :])

    def _add(self, entry: os.DirEntry[str], file: str) -> None:
        is_image = entry.name.lower().endswith(self._suffixes)
        if entry.is_symlink():
            self._check_link(file, is_image)
        if is_image and entry.is_file():
            if not is_single_line(file):
                raise UserError(f"{self._name}: {file!r} has control characters in its name; rename it")
            self.files.append(file)

    def _check_link(self, file: str, is_image: bool) -> None:
        """Raise UserError for a link to a folder, which may lead in a circle, and for one that is not to be followed.

        A stranger's folder may link to what its user never meant to train on.
        """
        path = self._root / file
        if path.is_dir():
            raise UserError(f"{self._name}: {file} is a link to a folder; put the folder itself there")
        if not is_image:
            return
        try:
            inside = path.resolve(strict=True).is_relative_to(self._root.resolve())
        except (OSError, RuntimeError):  # to nowhere, or in a circle
            raise UserError(f"{self._name}: {file} is a link to no file; put the file itself there") from None
        if not inside and not self._follow_outside:
            problem = "is a link out of it; put the file itself there, or set data.follow_links=True"
            raise UserError(f"{self._name}: {file} {problem}")
        self.outside += not inside


def _passed_over(name: str) -> str:
    """Why an entry of a folder is passed over; empty for any other."""
    if name.startswith("."):
        return "hidden"
    if name in _OF_SYSTEMS:
        return name
    lower = name.lower()
    return f"*{Path(lower).suffix} (a format that is not read)" if lower.endswith(_UNREAD_SUFFIXES) else ""


def _resolve_folder(path: str | Path, name: str) -> Path:
    try:
        root = Path(path).expanduser()
        if root.is_dir():
            return root
        problem = "no such folder"
    except (OSError, RuntimeError, ValueError) as error:  # too long a name, no such home
        problem = describe_error(error)
    raise UserError(f"{name[:_MAX_PATH_LETTERS]}: {problem}; give the path of a folder of images")
