"""The values of --sweep: names of settings, each with a list of values."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from math import isfinite

from diffjax.errors import UserError

SETTINGS = ("sampler", "grid", "steps", "guidance")
_SETTING = re.compile(r"(\w+)\s*(?:=(.*))?", re.DOTALL)

Value = str | int | float
Lists = dict[str, list[Value]]


def parse_lists(texts: Sequence[str], names: Sequence[str] = SETTINGS) -> Lists:
    """Settings to vary, with their values: `steps=5,10,20`, `sampler=heun,ddim(eta=1.0),guidance`.

    A name alone has an empty list, which stands for default values. Raises UserError for anything else.
    """
    lists: Lists = {}
    for text in texts:
        name = ""
        for part in _split_at_commas(text):
            start = _SETTING.fullmatch(part)
            if start and (start[1] in names or start[2] is not None):
                name = _new_name(start[1], lists, names)
                lists[name] = [] if start[2] is None else [_parse_value(name, start[2].strip())]
            elif name and lists[name]:
                lists[name].append(_parse_value(name, part))
            else:
                raise UserError(f"--sweep: cannot read {part!r}; give names of {', '.join(names)}, or name=value,value")
    for name, values in lists.items():
        if len(set(values)) < len(values):
            raise UserError(f"--sweep {name}: a value is repeated; give each once")
    if not lists:
        raise UserError(f"--sweep: name what to vary, of {', '.join(names)}, as steps=5,10,20")
    return lists


def _new_name(name: str, lists: Mapping[str, object], names: Sequence[str]) -> str:
    """The name of a setting that has no values yet."""
    if name not in names:
        raise UserError(f"--sweep {name}: no such setting; choose from {', '.join(names)}")
    if name in lists:
        raise UserError(f"--sweep {name}: is given twice; give all its values in one list")
    return name


def _split_at_commas(text: str) -> list[str]:
    """The text between commas that are outside of brackets and quotes."""
    parts = [""]
    depth = 0
    quote = ""
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter in "'\"":
            quote = {quote: "", "": letter}.get(quote and letter, quote)
        if letter == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _parse_value(name: str, text: str) -> Value:
    """A value of that setting. Raises UserError for text that is none."""
    if not text:
        raise UserError(f"--sweep {name}: a value is missing; give them as {name}=…,…")
    is_quoted = len(text) > 1 and text[0] == text[-1] in ("'", '"')
    return _PARSERS.get(name, str)(text[1:-1] if is_quoted else text)


def _parse_integer(name: str, minimum: int, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10) or int(text) < minimum:
        raise UserError(f"--sweep {name}: expected whole numbers of at least {minimum}, got {text!r}")
    return int(text)


def _parse_finite(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise UserError(f"--sweep guidance: expected finite numbers, got {text!r}")
    return number


_PARSERS = {
    "steps": partial(_parse_integer, "steps", 1),
    "seed": partial(_parse_integer, "seed", 0),
    "guidance": _parse_finite,
}
