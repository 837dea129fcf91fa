"""Parts of a user's own by import path, `package.module:name(arg=1)`: found, recorded, and asked leave for.

What names a module of its own runs that module when it is built. A config file and a flag are the user's own word; a
run's folder or file may be a stranger's, so `check_leave` refuses to read one that names modules unless imports are
allowed.
"""

import difflib
import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from diffjax.errors import UserError
from diffjax.utils.untrusted import file_sha256

_PATH = re.compile(r"""'[^'\\]*+'|"[^"\\]*+"|@|(?<![\w.])([\w.]*+):(?=[^\W\d])""")  # linear in the text's length
_MARK = "@"  # between module and name in a marked text: an operator of Python that no other text has
_PLAIN = (
    "data.dir",
    "data.latents",
    "data.image",
    "data.label",
    "train.init_from",
)  # fields of paths and columns, never of parts
_SOURCES = ("folder:", "array:", "shards:", "hf:")  # the prefixes of data sets that a path or a name follows


def mark_imports(text: str) -> str:
    """The text, with `@` in place of the colon of each `module:name`, so that Python's grammar reads it.

    Raises ValueError where the text itself has such a mark.
    """

    def mark(match: re.Match[str]) -> str:
        if match[0] == _MARK:
            raise ValueError(f"{_MARK} is no part of a name")
        return match[0] if match[1] is None else f"{match[1]}{_MARK}"

    return _PATH.sub(mark, text)


def imported_modules(text: str) -> list[str]:
    """The modules that a text names, in their order."""
    return [match[1] for match in _PATH.finditer(text) if match[1] is not None]


def import_part(module: str, name: str, field: str) -> object:
    """The object of that name in a user's module. Raises UserError, naming the field, where it cannot be imported."""
    if not all(part.isidentifier() for part in module.split(".")):
        raise UserError(f"{field}: cannot read {module!r} as a module; expected package.module:name(argument=value, …)")
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as missing:
        raise UserError(
            f"{field}: {module}:{name} needs the module {missing.name}, which is not on Python's path; install it, or "
            "put the folder that holds it on PYTHONPATH"
        ) from None
    except Exception as mistake:
        raise UserError(f"{field}: {module} cannot be imported: {type(mistake).__name__}: {mistake}") from None
    if name not in vars(imported):
        similar = difflib.get_close_matches(name, vars(imported), 1)
        hint = f"did you mean {similar[0]}?" if similar else f"define it in {imported.__file__}"
        raise UserError(f"{field}: the module {module} has no {name!r}; {hint}")
    return vars(imported)[name]


def module_hashes(fields: Mapping[str, object]) -> dict[str, str]:
    """SHA-256 of the file of every module that a config names, by the module's name; empty for one without a file."""
    names = {module for _, text in _part_texts(fields) for module in imported_modules(text)}
    return {name: _file_hash(name) for name in sorted(names)}


def check_leave(fields: Mapping[str, object], allow_imports: bool, source: str) -> None:
    """Raise UserError for a config read from `source` that would import modules, unless that is allowed."""
    for path, text in _part_texts(fields):
        if imported_modules(text) and not allow_imports:
            raise UserError(
                f"{source}: {path} is {text[:80]!r}, so that reading this run imports code that is not "
                "diffjax's; if you trust it, give --allow_imports, or dj.load(…, allow_imports=True)"
            )


def changed_modules(recorded: Mapping[str, str]) -> list[str]:
    """The modules, imported by now, whose files have another hash than was recorded."""
    return [name for name, sha256 in recorded.items() if name in sys.modules and _file_hash(name) != sha256]


def is_data_source(name: str) -> bool:
    """Whether `data.name` is the import path of a user's own data set."""
    return bool(imported_modules(name)) and not name.startswith(_SOURCES)


def _part_texts(fields: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """The dotted path and the text of every field that may name parts."""
    for path, value in fields.items():
        texts = value if isinstance(value, tuple | list) else (value,)
        for text in texts:
            is_path = path in _PLAIN or (path == "data.name" and isinstance(text, str) and text.startswith(_SOURCES))
            if isinstance(text, str) and not is_path:
                yield path, text


def _file_hash(name: str) -> str:
    file = getattr(sys.modules.get(name), "__file__", None)
    return file_sha256(Path(file)) if file else ""
