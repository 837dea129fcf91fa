"""What configs of earlier versions called things: read as their names of today, and hashed as those of their time.

The format of a run, a number in its config.json, grows where a text changes its meaning: in format 1, `DiT(…)` has no
gates.

A run's meaning is a hash of its config's texts, so what has moved is hashed under the name that it had.
"""

import ast
import re
from collections.abc import Mapping

_EXAMPLE = "examples.digits_text"
_PARTS = {"caption": f"{_EXAMPLE}.parts:caption", "measured": f"{_EXAMPLE}.parts:measured"}  # of data.parts
_DATA = {"described_digits": f"{_EXAMPLE}.dataset:described_digits"}  # of data.name
_WITHOUT = re.compile(rf"{re.escape(_EXAMPLE)}\.dataset:digits\(leave_out=(\(.*\))\)")
_SQUARE = re.compile(r"([1-9][0-9]*)(?:x\1)?")  # a size that was an integer


FORMAT = 2  # of the runs that this version writes


def to_current(document: Mapping[str, Mapping[str, object]], written: int) -> dict[str, Mapping[str, object]]:
    """A config's JSON document, of a run of format `written`, under the names of today."""
    data = dict(document["data"])
    data["name"] = _DATA.get(str(data["name"]), data["name"])
    parts = data.get("parts")
    if isinstance(parts, list):
        data["parts"] = [_rename(text, _PARTS) for text in parts]
    size = data.get("image_size")
    if isinstance(size, int):  # of a square, 0 for the images' own size
        data["image_size"] = str(size) if size else ""
    left_out = data.pop("leave_out", ())
    if isinstance(left_out, list) and left_out:
        data["name"] = f"{_EXAMPLE}.dataset:digits(leave_out={tuple(left_out)!r})"
    model = dict(document["model"])
    if written < FORMAT:
        model["net"] = _with_argument(str(model["net"]), "DiT", "adaln_zero=False")
    return {**document, "data": data, "model": model}


def to_historic(fields: Mapping[str, object]) -> dict[str, object]:
    """A config's fields, by dotted path, under the names that older runs were hashed with."""
    result = dict(fields)
    name = str(fields["data.name"])
    result["data.name"] = {new: old for old, new in _DATA.items()}.get(name, name)
    square = _SQUARE.fullmatch(str(fields["data.image_size"]))
    if square is not None:
        result["data.image_size"] = int(square[1])
    left_out = _left_out(name)
    if left_out:
        result |= {"data.name": "digits", "data.leave_out": left_out}
    result["model.net"] = re.sub(r"^DiT\((?:(.*), )?adaln_zero=False\)$", _without_gates, str(fields["model.net"]))
    parts = fields["data.parts"]
    if isinstance(parts, tuple):
        result["data.parts"] = tuple(_rename(text, {new: old for old, new in _PARTS.items()}) for text in parts)
    return result


def _left_out(name: str) -> tuple[str, ...]:
    """The combinations that a data set by import path leaves out; none where it is another."""
    match = _WITHOUT.fullmatch(name)
    try:
        return ast.literal_eval(match[1]) if match else ()
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return ()


def _without_gates(match: re.Match[str]) -> str:
    """The text that format 1 had for a DiT without gates."""
    return f"DiT({match[1] or ''})"


def _with_argument(text: str, name: str, argument: str) -> str:
    """The text of a call of `name` with one more argument; any other text as it is."""
    called, _, arguments = text.strip().partition("(")
    if called.strip() != name:
        return text
    inner = arguments.rstrip().removesuffix(")").rstrip().removesuffix(",")
    return f"{name}({inner}, {argument})" if inner else f"{name}({argument})"


def _rename(text: object, names: Mapping[str, str]) -> object:
    """The text with another name before its arguments."""
    name, bracket, arguments = str(text).partition("(")
    return f"{names[name]}{bracket}{arguments}" if name in names else text
