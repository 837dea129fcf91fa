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

from diffjax.utils.files import write_atomically

FORMAT = 2
READABLE_FORMATS = (
    1,
    2,
)  # 1 (diffjax 0.1.0 before issue of the first release): no position, faults, versions or own hash
MANIFEST = "manifest.json"
MAX_BYTES = 16_000_000  # bytes of a manifest that is read
_MAX_SHOWN = 100  # characters of what it says that a message repeats
PACKAGES = ("diffjax", "jax", "flax", "optax", "orbax-checkpoint")


def write_manifest(folder: Path, about: dict[str, Any]) -> None:
    """Make the folder a checkpoint, with this said of it: every file is on the disk before the manifest is."""
    for path in folder.rglob("*"):
        sync(path)
    versions = {name: version(name) for name in PACKAGES}
    document = {"format": FORMAT, **about, "versions": versions, "files": file_hashes(folder)}
    text = json.dumps({**document, "sha256": _manifest_hash(document)}, indent=1)
    write_atomically(folder / MANIFEST, lambda file: file.write(text.encode()))
    sync(folder)


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a whole checkpoint says of itself."""
    path = folder / MANIFEST
    if path.exists() and not path.is_file():  # a pipe would be waited for, a device has no end
        raise ValueError(f"{path} is no file")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} is larger than {MAX_BYTES:,} bytes")
    return json.loads(path.read_text())


def find_damage(folder: Path) -> str:
    """What is wrong with a checkpoint, in words; empty where nothing is."""
    try:
        document = read_manifest(folder)
        expected, made_by = dict(document["files"]), document["format"]
        changed = (
            made_by in READABLE_FORMATS and made_by > 1 and document.pop("sha256", None) != _manifest_hash(document)
        )
    except (FileNotFoundError, NotADirectoryError):
        return f"it has no {MANIFEST}, so its writing was never finished"
    except (ValueError, KeyError, TypeError, RecursionError, OSError):
        return f"its {MANIFEST} cannot be read"
    if made_by not in READABLE_FORMATS:
        return (
            f"its format is {str(made_by)[:_MAX_SHOWN]}, and this version reads {', '.join(map(str, READABLE_FORMATS))}"
        )
    if changed:
        return f"its {MANIFEST} has changed since it was written"
    if folder.name.isdecimal() and document.get("step") != int(folder.name):
        return f"its {MANIFEST} speaks of step {str(document.get('step'))[:_MAX_SHOWN]}"
    try:
        return _first_difference(folder, expected)
    except FileNotFoundError:
        return "a file of it was deleted while it was read"


def file_hashes(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file of a checkpoint but the manifest."""
    return {str(file.relative_to(folder)): _hash(file) for file in _files(folder)}


def _first_difference(folder: Path, expected: dict[str, Any]) -> str:
    """The first file that is not as the manifest says; sizes are compared before anything is read."""
    present = {str(file.relative_to(folder)): file for file in _files(folder)}
    for name in sorted(expected.keys() | present.keys()):
        if name not in present:
            return f"{name[:_MAX_SHOWN]} is missing"
        if name not in expected:
            return f"{name[:_MAX_SHOWN]} was not there when it was written"
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
    with file.open("rb") as stream:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def _manifest_hash(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def sync(path: Path) -> None:
    """Ask the system to put a file, or the names in a folder, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
