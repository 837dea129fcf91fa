"""manifest.json, the last file of a checkpoint to be written: a folder without it is no checkpoint.

It holds the format, the step, the versions of the libraries, and size and SHA-256 of every other file of the folder;
and the SHA-256 of all this, so that a flipped bit in the manifest itself is detected.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from diffjax.utils import untrusted
from diffjax.utils.files import write_atomically

FORMAT = 2
MANIFEST = "manifest.json"
MAX_BYTES = 16_000_000  # of a manifest that is read
PACKAGES = ("diffjax", "jax", "flax", "optax", "orbax-checkpoint")
_MAX_SHOWN = 100  # characters of its content that a message repeats


FileEntry = dict[str, int | str]  # {"bytes": size, "sha256": hash}


def write_manifest(folder: Path, about: Mapping[str, object]) -> None:
    """Make the folder a checkpoint with these fields in its manifest, once every file is on the disk."""
    for path in folder.rglob("*"):
        sync(path)
    versions = {name: version(name) for name in PACKAGES}
    document = {"format": FORMAT, **about, "versions": versions, "files": file_hashes(folder)}
    text = json.dumps({**document, "sha256": _manifest_hash(document)}, indent=1)
    write_atomically(folder / MANIFEST, lambda file: file.write(text.encode()))
    sync(folder)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The fields of a manifest. Raises ValueError or OSError where it cannot be read."""
    return untrusted.read_json(folder / MANIFEST, MAX_BYTES)


def read_if_possible(folder: Path) -> dict[str, Any]:
    """The fields of a manifest; empty where it cannot be read."""
    try:
        document = read_manifest(folder)
    except (ValueError, OSError):
        return {}
    return document if isinstance(document, dict) else {}


def find_damage(folder: Path) -> str:
    """The damage of a checkpoint, as a clause for a message; empty for a valid one."""
    try:
        document = read_manifest(folder)
        expected = dict(document["files"])
        format_ = document["format"]
        recorded_hash = document.pop("sha256", None)
    except (FileNotFoundError, NotADirectoryError):
        return f"it has no {MANIFEST}, so its writing was never finished"
    except (ValueError, KeyError, TypeError, OSError):
        return f"its {MANIFEST} cannot be read"
    if format_ != FORMAT:
        return f"its format is {str(format_)[:_MAX_SHOWN]}, and this version reads {FORMAT}"
    if recorded_hash != _manifest_hash(document):
        return f"its {MANIFEST} has changed since it was written"
    if folder.name.isdecimal() and document.get("step") != int(folder.name):
        return f"its {MANIFEST} speaks of step {str(document.get('step'))[:_MAX_SHOWN]}"
    try:
        return _first_difference(folder, expected)
    except FileNotFoundError:
        return "a file of it was deleted while it was read"


def file_hashes(folder: Path) -> dict[str, FileEntry]:
    """Size and SHA-256 of every file of a checkpoint but the manifest."""
    return {str(file.relative_to(folder)): _file_entry(file) for file in _files(folder)}


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _first_difference(folder: Path, expected: Mapping[str, object]) -> str:
    """The first file that differs from the manifest; sizes are compared before anything is read."""
    present = {str(file.relative_to(folder)): file for file in _files(folder)}
    for name in sorted(expected.keys() | present.keys()):
        if name not in present:
            return f"{name[:_MAX_SHOWN]} is missing"
        if name not in expected:
            return f"{name[:_MAX_SHOWN]} was not there when it was written"
        if present[name].is_symlink() or not present[name].is_file():
            return f"{name} is no ordinary file"
    for name, file in present.items():
        entry = expected[name]
        if not isinstance(entry, dict) or file.stat().st_size != entry.get("bytes"):
            return f"{name} has another size than when it was written"
    for name, file in present.items():
        if _file_entry(file) != expected[name]:
            return f"{name} has changed since it was written"
    return ""


def _files(folder: Path) -> list[Path]:
    """Everything in a folder but its manifest and its folders; links are not followed."""
    paths = (path for path in folder.rglob("*") if path != folder / MANIFEST)
    return sorted(path for path in paths if path.is_symlink() or not path.is_dir())


def _file_entry(file: Path) -> FileEntry:
    return {"bytes": file.stat().st_size, "sha256": untrusted.file_sha256(file)}


def _manifest_hash(document: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
