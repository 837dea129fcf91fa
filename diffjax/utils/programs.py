"""Compiled programs, kept between processes: JAX's persistent compilation cache, in a folder of the user."""

import functools
import hashlib
import platform
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from diffjax.utils.files import cache_folder
from diffjax.utils.processor import read_cpu_info

MAX_BYTES = 2 * 2**30  # of all programs of one kind of machine
_STAMP = ".checked"  # its time is that of the last check
_ZLIB = b"\x78"  # the first byte of what JAX compresses by zlib


@functools.cache
def keep_programs() -> bool:
    """Keep compiled programs for later processes; whether that was done.

    Nothing is done where JAX's own settings name a folder or switch its cache off (JAX_COMPILATION_CACHE_DIR,
    JAX_ENABLE_COMPILATION_CACHE=0), or where the folder cannot be written. The oldest programs beyond MAX_BYTES and
    those that a full disk or a killed process cut off are deleted first.
    """
    if (
        jax.config.values["jax_compilation_cache_dir"] is not None
        or not jax.config.values["jax_enable_compilation_cache"]
    ):
        return False
    folder = cache_folder() / "programs" / _machine()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tidy(folder)
    except OSError:
        return False
    compilation_cache.reset_cache()  # JAX looks at its settings once, when the first program is compiled
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return True


def tidy(folder: Path, max_bytes: int = MAX_BYTES) -> None:
    """Delete the oldest programs of a folder beyond `max_bytes`, and those that are cut off."""
    stamp = folder / _STAMP
    checked = stamp.stat().st_mtime if stamp.exists() else 0.0
    stamp.touch()
    total = 0
    for modified, size, path in sorted(_programs(folder), reverse=True):
        total += size
        if total > max_bytes or (modified >= checked - 1 and _is_cut_off(path)):
            path.unlink(missing_ok=True)


def _programs(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """When each program was written, its bytes, and its file."""
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # another process tidies too
            status = path.stat()
            if path.name != _STAMP:
                yield status.st_mtime, status.st_size, path


def _is_cut_off(path: Path) -> bool:
    """Whether a file ends before its compressed program does; of another compression only empty files are told."""
    with suppress(OSError):
        data = path.read_bytes()
        if not data.startswith(_ZLIB):
            return not data
        stream = zlib.decompressobj()
        try:
            stream.decompress(data)
        except zlib.error:
            return True
        return not stream.eof
    return False


def _machine() -> str:
    """A name for this kind of processor: programs of another may use instructions that it lacks."""
    if lines := read_cpu_info():
        features = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
        return f"{platform.machine()}-{hashlib.sha256('|'.join(sorted({*features})).encode()).hexdigest()[:12]}"
    return f"{platform.machine()}-{platform.node()}"
