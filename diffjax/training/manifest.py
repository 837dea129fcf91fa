"""What a checkpoint says of itself: manifest.json, written last, without which a folder is no checkpoint.

It holds the format, the step, what wrote it, and size and SHA-256 of every other file of the folder; and the SHA-256 of
all this, so that a flipped bit in the manifest itself is seen as well.
"""

import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from diffjax.utils.files import write_whole

FORMAT = 2
READABLE = (1, 2)  # 1 (diffjax 0.1.0 before issue of the first release): no position, faults, versions or own hash
MANIFEST = "manifest.json"
LARGEST = 16_000_000  # bytes of a manifest that is read
_SHOWN = 100  # characters of what it says that a message repeats
PACKAGES = ("diffjax", "jax", "flax", "optax", "orbax-checkpoint")


def write(folder: Path, about: dict[str, Any]) -> None:
    """Make the folder a checkpoint, with this said of it: every file is on the disk before the manifest is."""
    for path in folder.rglob("*"):
        sync(path)
    versions = {name: version(name) for name in PACKAGES}
    told = {"format": FORMAT, **about, "versions": versions, "files": hashes(folder)}
    text = json.dumps({**told, "sha256": _own_hash(told)}, indent=1)
    write_whole(folder / MANIFEST, lambda file: file.write(text.encode()))
    sync(folder)


def about(folder: Path) -> dict[str, Any]:
    """What a whole checkpoint says of itself."""
    path = folder / MANIFEST
    if path.exists() and not path.is_file():  # a pipe would be waited for, a device has no end
        raise ValueError(f"{path} is no file")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} is larger than {LARGEST:,} bytes")
    return json.loads(path.read_text())


def damage(folder: Path) -> str:
    """What is wrong with a checkpoint, in words; empty where nothing is."""
    try:
        told = about(folder)
        expected, made_by = dict(told["files"]), told["format"]
        changed = made_by in READABLE and made_by > 1 and told.pop("sha256", None) != _own_hash(told)
    except (FileNotFoundError, NotADirectoryError):
        return f"it has no {MANIFEST}, so its writing was never finished"
    except (ValueError, KeyError, TypeError, RecursionError, OSError):
        return f"its {MANIFEST} cannot be read"
    if made_by not in READABLE:
        return f"its format is {str(made_by)[:_SHOWN]}, and this version reads {', '.join(map(str, READABLE))}"
    if changed:
        return f"its {MANIFEST} has changed since it was written"
    if folder.name.isdecimal() and told.get("step") != int(folder.name):
        return f"its {MANIFEST} speaks of step {str(told.get('step'))[:_SHOWN]}"
    try:
        return _difference(folder, expected)
    except FileNotFoundError:
        return "a file of it was deleted while it was read"


def hashes(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file of a checkpoint but the manifest."""
    return {str(file.relative_to(folder)): _hash(file) for file in _files(folder)}


def _difference(folder: Path, expected: dict[str, Any]) -> str:
    """The first file that is not as the manifest says; sizes are compared before anything is read."""
    present = {str(file.relative_to(folder)): file for file in _files(folder)}
    for name in sorted(expected.keys() | present.keys()):
        if name not in present:
            return f"{name[:_SHOWN]} is missing"
        if name not in expected:
            return f"{name[:_SHOWN]} was not there when it was written"
        if present[name].is_symlink() or not present[name].is_file():
            return f"{name} is no ordinary file"
    for name, file in present.items():
        if not isinstance(expected[name], dict) or file.stat().st_size != expected[name].get("bytes"):
            return f"{name} has another size than when it was written"
    for name, file in present.items():
        if _hash(file) != expected[name]:
            return f"{name} has changed since it was written"
    return ""


def _files(folder: Path) -> list[Path]:
    """All of a folder but its manifest and its folders; links are not followed."""
    return sorted(
        path for path in folder.rglob("*") if path != folder / MANIFEST and (path.is_symlink() or not path.is_dir())
    )


def _hash(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(opened, "sha256").hexdigest()}


def _own_hash(told: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def sync(path: Path) -> None:
    """Ask the system to put a file, or the names in a folder, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
