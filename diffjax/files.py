"""Files that are there whole or not at all."""

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from diffjax.errors import UserError


def write_whole(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Calls `write` on a file beside `path` and renames it to `path`: readers see the old file or the new one."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        told = f"cannot write {path.name} there ({reason(error)}); choose another folder"
        raise UserError(f"{path.parent}: {told}") from None
    finally:
        with suppress(OSError):
            part.unlink()


def reason(error: Exception) -> str:
    """What went wrong, on one line and without the path."""
    told = error.strerror if isinstance(error, OSError) else None
    return " ".join((told or str(error)).split()) or type(error).__name__


def check_writable(folder: str | Path, flag: str) -> None:
    """Raise UserError where files could not be written into the folder, which need not exist yet; writes nothing."""
    nearest = existing(folder)
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"{flag} {folder}: cannot be written ({nearest} is no folder of yours); choose another")


def existing(path: str | Path) -> Path:
    """The path, or the nearest of the folders above it that is there."""
    nearest = Path(path).absolute()
    while not nearest.exists():
        nearest = nearest.parent
    return nearest


def is_plain(name: str) -> bool:
    """Whether a name is one line of Unicode text, without control characters."""
    return not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", name)


@contextmanager
def claimed(folder: Path | None) -> Iterator[None]:
    """Holds a folder against other processes that claim it; nothing where there is none yet.

    Raises UserError where another has it.
    """
    if folder is None or not folder.is_dir():
        yield
        return
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UserError(f"{folder}: another process is at work here; wait for its end, or use another folder") from None
    finally:
        os.close(held)
