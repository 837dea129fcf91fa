"""Reading of files that are not trusted or may be damaged: bounded size and depth, and hashes."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

MAX_DEPTH = 256  # brackets within brackets: parsers in C++ overflow their stack


def require_file(path: Path) -> None:
    """Raise ValueError for a pipe, which blocks, a device, which has no end, or a folder."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no ordinary file")


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """The content of a file. Raises ValueError if it is no ordinary file or too large, and OSError as `open` does."""
    require_file(path)
    if path.stat().st_size > max_bytes:
        raise ValueError(f"{path.name} is larger than {max_bytes:,} bytes")
    return path.read_bytes()


def read_json(path: Path, max_bytes: int) -> Any:
    """The JSON value in a file. Raises as `read_bytes`, and ValueError for invalid or too deeply nested JSON."""
    try:
        return json.loads(read_bytes(path, max_bytes))
    except RecursionError:
        raise ValueError(f"{path.name} is JSON that is nested too deeply") from None


def check_depth(text: bytes, name: str) -> None:
    """Raise ValueError where JSON may be nested more than MAX_DEPTH deep; brackets within its strings count as well."""
    content = np.frombuffer(text, np.uint8)
    opened = np.isin(content, np.frombuffer(b"[{", np.uint8)).astype(np.int8)
    closed = np.isin(content, np.frombuffer(b"]}", np.uint8))
    if np.cumsum(opened - closed, dtype=np.int32).max(initial=0) > MAX_DEPTH:
        raise ValueError(f"{name} is JSON that is nested more than {MAX_DEPTH} deep")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
