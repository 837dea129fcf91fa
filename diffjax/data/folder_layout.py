"""What the names of a folder's subfolders say: splits above, classes below them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diffjax.data.columns import Classes, describe_first
from diffjax.data.division import SPLIT_WORDS
from diffjax.errors import UserError


class Layout(NamedTuple):
    """The split of each file, or None without split folders; and the subfolders that hold splits."""

    splits: list[str] | None
    folders: tuple[str, ...]


def read_layout(root: Path, files: Sequence[Path]) -> Layout:
    """The splits of files by the first folder of their relative paths.

    They are splits if all first folders have names of splits. Raises `UserError` for a split folder beside others, and
    for two folders of one split.
    """
    tops = sorted({file.parts[0] if len(file.parts) > 1 else "" for file in files})
    words = [top for top in tops if top in SPLIT_WORDS]
    others = [top for top in tops if top not in SPLIT_WORDS]
    if not words:
        return Layout(None, ())
    if others:
        if words == ["train"] and "" not in others and not any(_below(file, "train") for file in files):
            return Layout(None, ())  # a class called train, among others
        beside = repr(others[0]) if others[0] else str(next(file for file in files if len(file.parts) == 1))
        problem = f"the split folder {words[0]!r} lies beside {beside}"
        raise UserError(f"folder:{root}: {problem}; put all classes into split folders, or none")
    by_split = [SPLIT_WORDS[word] for word in words]
    twice = next((word for word in words if by_split.count(SPLIT_WORDS[word]) > 1), None)
    if twice is not None:
        same = " and ".join(word for word in words if SPLIT_WORDS[word] == SPLIT_WORDS[twice])
        raise UserError(f"folder:{root}: {same} are the same split; put the pictures of both into one folder")
    if "train" not in by_split:
        raise UserError(f"folder:{root}: has {', '.join(words)} and no train; add it, or give folder:{root / words[0]}")
    return Layout([SPLIT_WORDS[file.parts[0]] for file in files], tuple(words))


def folder_classes(root: Path, files: Sequence[Path], layout: Layout) -> Classes:
    """The sorted names of the subfolders with images, below those of splits; none if images lie in no subfolder.

    Raises `UserError` for images beside the folders of classes.
    """
    depth = int(bool(layout.folders))
    direct = [file for file in files if len(file.parts) == 1 + depth]
    if len(direct) == len(files):
        return Classes((), np.zeros(len(files), np.int32))
    if direct:
        subject = f"{len(direct):,} pictures lie" if len(direct) > 1 else f"{direct[0]} lies"
        listed = f" ({describe_first([str(file) for file in direct])})" if len(direct) > 1 else ""
        raise UserError(f"folder:{root}: {subject} beside the class folders{listed}; move each into one of them")
    names = tuple(sorted({file.parts[depth] for file in files}))
    number = {name: i for i, name in enumerate(names)}
    return Classes(names, np.array([number[file.parts[depth]] for file in files], np.int32))


def _below(file: Path, folder: str) -> bool:
    """Whether a file lies in a subfolder of that folder."""
    return file.parts[0] == folder and len(file.parts) > 2
