"""Atomic writing of files, and checks of paths and folders."""

import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from diffjax.errors import UserError
from diffjax.utils.waiting import Waiting

_PART = re.compile(r"\..*\.([0-9]{1,10})\.part", re.DOTALL)  # of a file that is being written, with its process
_MAX_NAME_LETTERS = 50  # of a file's name that the name of its part repeats: file systems take 255 bytes
_STALE_SECONDS = 3600.0  # after which a part is no longer written, whoever has the number of its process


def write_atomically(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Call `write` on a file beside `path` and rename it to `path`: readers see the old file or the new one.

    The first call for a folder deletes such files that killed processes left there. Raises UserError where the file
    cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_parts_once(path.parent.resolve())
        part = path.with_name(f".{path.name[:_MAX_NAME_LETTERS]}.{os.getpid()}.part")
        with _open_part(part) as file:
            try:
                write(file)
                file.flush()
                os.fsync(file.fileno())
                part.replace(path)
            except BaseException:
                with suppress(OSError):
                    part.unlink()
                raise
    except OSError as error:
        message = f"cannot write {path.name} there ({describe_error(error)}); choose another folder"
        raise UserError(f"{path.parent}: {message}") from None


def clear_parts(folder: Path) -> None:
    """Delete the files that killed calls of `write_atomically` left in a folder, where that is possible.

    Only the user's own unlocked files with such names are deleted, once the process in their name does not run on this
    machine, or after an hour: process numbers are reused, and the process may run on another machine.
    """
    with suppress(OSError):
        for path in folder.iterdir():
            if (match := _PART.fullmatch(path.name)) is not None:
                with suppress(OSError):
                    _clear_part(path, int(match[1]))


@lru_cache(1024)
def _clear_parts_once(folder: Path) -> None:
    clear_parts(folder)


def _clear_part(part: Path, writer: int) -> None:
    status = part.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        return
    if _is_running(writer) and time.time() - status.st_mtime < _STALE_SECONDS:
        return
    descriptor = os.open(part, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), part.lstat()):
            part.unlink()
    finally:
        os.close(descriptor)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _open_part(part: Path) -> BinaryIO:
    """An empty file of that name, locked until it is closed, so that `clear_parts` does not delete it."""
    while True:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), part.lstat()):
                os.ftruncate(descriptor, 0)
                return os.fdopen(descriptor, "wb")
        os.close(descriptor)  # cleared, or renamed by another thread, before we had the lock


def describe_error(error: Exception) -> str:
    """The message of an error, on one line and without the path."""
    text = error.strerror if isinstance(error, OSError) else None
    return " ".join((text or str(error)).split()) or type(error).__name__


def cause(error: Exception) -> Exception:
    """The OSError behind a UserError of `write_atomically`; any other error itself."""
    context = error.__context__
    return context if isinstance(error, UserError) and isinstance(context, OSError) else error


def check_writable(folder: str | Path, flag: str) -> None:
    """Raise UserError where files could not be written into the folder, which need not exist yet; writes nothing."""
    nearest = nearest_existing(folder)
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"{flag} {folder}: cannot be written ({nearest} is no folder of yours); choose another")


def cache_folder() -> Path:
    """The user's folder for what can be computed again: DIFFJAX_CACHE, or `diffjax` in the folder of all caches.

    Raises RuntimeError where the user has no home.
    """
    folder = os.environ.get("DIFFJAX_CACHE")
    return Path(folder) if folder else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "diffjax"


def nearest_existing(path: str | Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    nearest = Path(path).absolute()
    while not nearest.exists():
        nearest = nearest.parent
    return nearest


def is_single_line(name: str) -> bool:
    """Whether a name is one line of Unicode text, without control characters."""
    return not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", name)


@contextmanager
def lock_folder(folder: Path | None) -> Iterator[None]:
    """A context that locks a folder against other processes; a folder that does not exist is not locked.

    Raises UserError where another process holds the lock.
    """
    if folder is None or not folder.is_dir():
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UserError(f"{folder}: another process is at work here; wait for its end, or use another folder") from None
    finally:
        os.close(descriptor)


@contextmanager
def lock_when_free(folder: Path, name: str) -> Iterator[None]:
    """A context that holds the lock of a folder, once other processes do not; `name` is what is waited for.

    The folder is made if there is none. Where that, or locking, cannot be done, nothing is locked.
    """
    descriptor = None
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        _wait_for_lock(descriptor, name)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _wait_for_lock(descriptor: int, name: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        waiting = Waiting(f"waiting for {name}, which another process fills")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        finally:
            waiting.end()
