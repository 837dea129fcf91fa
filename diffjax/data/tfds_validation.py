"""Validation of a prepared TFDS set, which may be untrusted, before TFDS opens it.

TFDS imports the module of any class that a set's features.json names, reads any file that its dataset_info.json names,
and trusts every number in them. So those files are checked first, and may only name files in the set's own folder.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tensorflow_datasets.core import DatasetBuilder, naming
from tensorflow_datasets.core.utils import file_utils

from diffjax.data.class_names import MAX_NAME
from diffjax.errors import UserError
from diffjax.utils.image_io import MAX_PIXELS, format_size

MAX_JSON_BYTES = 2**22  # of a file that describes a set
MAX_TEXT_BYTES = 2**24  # of a file that lists its classes

_NAME = re.compile(r"[A-Za-z]\w{0,99}(/\w[\w.+-]{0,99})?(:(\d{1,9}|\*)(\.(\d{1,9}|\*)){2})?", re.ASCII)
_FEATURE = re.compile(r"tensorflow_datasets\.core\.features\.\w+\.\w+", re.ASCII)
_CLASS_KEYS = ("pythonClassName", "python_class_name", "type")


def check_name(name: str) -> None:
    """Raises `UserError` unless it is name[/config][:version]: for paths, namespaces, builder arguments."""
    if not _NAME.fullmatch(name) or ".." in name:
        name_text = repr(name[:MAX_NAME])
        raise UserError(
            f"data set {name_text}: TFDS cannot open such a name; write name[/config][:version] in data.name"
        )


def check_metadata(name: str, data_dir: str | Path | None) -> None:
    """Raises `UserError` if the files that describe a set would make TFDS run code or read other files.

    All prepared versions and configurations are checked. Features must be TFDS's own.
    """
    parsed, _ = naming.parse_builder_name_kwargs(name)
    for root in file_utils.list_data_dirs(given_data_dir=data_dir):
        if "://" in str(root):
            raise UserError(f"data.dir: expected a folder of this machine, got {str(root)!r}; copy the set here first")
        folder = Path(root).expanduser() / parsed.name
        for file in (path for level in ("*", "*/*", "*/*/*") for path in folder.glob(level)):
            kind = file.name.lower()  # some file systems ignore case
            if file.suffix.lower() in (".json", ".txt"):
                _check_size(file)
            if kind == "features.json":
                _check_features(file)
            if file.parent.name.lower() == ".config" and kind == "metadata.json":
                _check_config(file)


def check_files(builder: DatasetBuilder, name: str) -> None:
    """Raises `UserError` unless the shards lie in the set's own folder and are large enough for their examples."""
    folder = Path(builder.data_path).resolve()
    for split in builder.info.splits.values():
        files = [Path(file) for file in split.filepaths]
        outside = [file for file in files if not file.resolve().is_relative_to(folder)]
        if outside:
            raise UserError(f"data set {name!r}: {outside[0]} is not in its folder {folder}; prepare the set again")
        missing = [file for file in files if not file.is_file()]
        if missing:
            raise UserError(
                f"data set {name!r} is damaged: {missing[0]} is missing; delete {folder} and prepare it again"
            )
        if split.num_examples > sum(file.stat().st_size for file in files):  # an example takes more than a byte
            problem = f"split {split.name!r} cannot hold {split.num_examples:,} examples"
            raise UserError(f"data set {name!r} is damaged: {problem}; delete {folder} and prepare it again")


def check_pixels(height: int, width: int, name: str) -> None:
    """Raises `UserError` for images of more than `MAX_PIXELS` pixels."""
    if not 0 < height * width <= MAX_PIXELS:
        problem = f"expected 1 … {MAX_PIXELS:,} pixels an image, got {format_size(height, width)}"
        raise UserError(f"data set {name!r}: {problem}; use another set")


def _check_size(file: Path) -> None:
    max_bytes = MAX_JSON_BYTES if file.suffix.lower() == ".json" else MAX_TEXT_BYTES
    if not file.is_file() or file.stat().st_size > max_bytes:
        raise UserError(
            f"{file}: not a file of at most {max_bytes:,} bytes; delete its folder and prepare the set again"
        )


def _check_features(file: Path) -> None:
    foreign = next((kind for kind in _classes(_read_json(file)) if not _FEATURE.fullmatch(kind)), None)
    if foreign is not None:
        problem = f"its feature {foreign[:MAX_NAME]!r} is not one of TFDS's own and would run code"
        raise UserError(f"{file}: {problem}; use a set of tensorflow_datasets.features")


def _check_config(file: Path) -> None:
    """The default configuration must be the name of a folder inside the set's folder."""
    default = _read_json(file).get("default_config_name") or "none"
    check_name(f"x/{default}")


def _read_json(file: Path) -> dict[str, object]:
    try:
        document = json.loads(file.read_text())
    except (ValueError, OSError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise UserError(f"{file}: cannot be read as JSON; delete its folder and prepare the set again")
    return document


def _classes(node: object) -> Iterator[str]:
    """All Python classes that a features.json names, also in JSON within strings, as in older sets."""
    if isinstance(node, dict):
        yield from (str(node[key]) for key in _CLASS_KEYS if isinstance(node.get(key), str))
    if isinstance(node, (dict, list)):
        for inner in node.values() if isinstance(node, dict) else node:
            yield from _classes(inner)
    if isinstance(node, str) and node.lstrip()[:1] in ("{", "["):
        try:
            inner = json.loads(node)
        except ValueError:
            return
        yield from _classes(inner)
