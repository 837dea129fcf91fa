"""Sentences about a digit, and back: "a bold handwritten three, leaning left" names a class and two traits."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from diffjax.errors import UserError

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {  # of the low end and the high end of each attribute, and how
    "weight": {"thin": ("thin", "light", "fine"), "bold": ("bold", "heavy", "thick")},
    "width": {"narrow": ("narrow", "slim"), "wide": ("wide", "broad")},
    "slant": {
        "left": ("leaning left", "slanted left", "tilted left"),
        "right": ("leaning right", "slanted right", "tilted right"),
    },
    "position": {
        "left": ("on the left", "at the left", "to the left"),
        "right": ("on the right", "at the right", "to the right"),
    },
}
"""The traits of each attribute, its low end first, and the phrases that say so."""


LONGEST = 64  # bytes of a sentence
Traits = Mapping[str, str]  # attribute -> trait, of those that are named
Thing = TypeVar("Thing")

_IDLE = 500  # draws on end that bring nothing new, after which there is no more to ask for
_LEANS = re.compile(r"\b(?:lean|slant|tilt)\w*(?: over)?(?: to)?(?: the)? (left|right)\b")
_SIDES = re.compile(r"\b(left|right)\b")


class Meant(NamedTuple):
    """What a text says: which digit, and which traits it has."""

    digit: int
    traits: Traits


def written(digit: int, traits: Traits, seed: int | None = None) -> str:
    """A sentence that says the digit and all of the traits: the same one always, or one of many that a seed chooses."""
    rng = None if seed is None else np.random.default_rng(seed)
    said = {name: _one(rng, WORDS[name][traits[name]]) for name in WORDS if name in traits}
    looks = _order(rng, [said[name] for name in ("weight", "width") if name in said])
    stands = _order(rng, [said[name] for name in ("slant", "position") if name in said])
    return _one(rng, _FORMS)(DIGITS[digit], looks, stands, _one(rng, ("handwritten ", "", "digit ")))


def understood(text: str) -> Meant:
    """The digit and the traits that a text names; words that are not of the grammar are passed over.

    Raises `UserError` for a text of no digit or of several, or of traits that exclude each other.
    """
    plain = " ".join(re.findall(r"\w+", text.lower()))
    words = plain.split()
    digits = {number for number, name in enumerate(DIGITS) for word in words if word in (name, str(number))}
    if len(digits) != 1:
        named = ", ".join(DIGITS[number] for number in sorted(digits)) or "none"
        raise UserError(f"prompt {text!r}: expected one digit, got {named}; write zero … nine, or 0 … 9, once")
    found = {name: {trait for trait, said in WORDS[name].items() if {*said} & {*words}} for name in ("weight", "width")}
    found["slant"] = {*_LEANS.findall(plain)}
    found["position"] = {*_SIDES.findall(_LEANS.sub("", plain))}
    torn = next((sorted(said) for said in found.values() if len(said) > 1), None)
    if torn:
        raise UserError(f"prompt {text!r}: a digit is not both {torn[0]} and {torn[1]}; write one of them")
    return Meant(digits.pop(), {name: said.pop() for name, said in found.items() if said})


def prompts(count: int, about: Sequence[str] = (), seed: int = 0) -> list[str]:
    """So many prompts, no two of which mean the same, of the digits in turn, with one trait or more.

    `about`: all of these prompts are of these combinations, as "bold three", in turn, with further traits or none.
    """
    rng = np.random.default_rng((seed, len(DIGITS)))
    starts = [understood(text) for text in about] or [Meant(digit, {}) for digit in range(len(DIGITS))]
    found: dict[str, str] = {}  # by what it means
    attempt = idle = 0
    while len(found) < count and idle < _IDLE:
        digit, given = starts[(attempt if about else len(found)) % len(starts)]
        free = [name for name in WORDS if name not in given]
        more = rng.permutation(free)[: rng.integers(0 if given else 1, min(2, len(free)) + 1)]
        meant = {**given, **{str(name): str(rng.choice(list(WORDS[name]))) for name in more}}
        idle = idle + 1 if written(digit, meant) in found else 0
        found.setdefault(written(digit, meant), written(digit, meant, int(rng.integers(2**32))))
        attempt += 1
    if len(found) < count:
        raise UserError(f"prompts: there are no {count:,} combinations to ask for, only {len(found):,}; ask for fewer")
    return list(found.values())


def _listed(noun: str, looks: list[str], stands: list[str], kind: str) -> str:
    """a bold narrow handwritten three, leaning left, on the right"""
    return ", ".join([_with_article(" ".join([*looks, f"{kind}{noun}"])), *stands])


def _noted(noun: str, looks: list[str], stands: list[str], kind: str) -> str:
    """handwritten three: bold, narrow, leaning left, on the right"""
    said = ", ".join([*looks, *stands])
    return f"{kind}{noun}: {said}" if said else f"{kind}{noun}"


def _told(noun: str, looks: list[str], stands: list[str], kind: str) -> str:
    """a three that is bold, narrow, leaning left and on the right"""
    *first, last = [*looks, *stands] or [""]
    said = f"{', '.join(first)} and {last}" if first else last
    return f"{_with_article(noun)} that is {said}" if said else _with_article(noun)


_FORMS: tuple[Callable[[str, list[str], list[str], str], str], ...] = (_listed, _noted, _told)


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' and not noun.startswith('one') else 'a'} {noun}"


def _one(rng: np.random.Generator | None, things: Sequence[Thing]) -> Thing:
    """The first, or one by chance."""
    return things[0] if rng is None else things[int(rng.integers(len(things)))]


def _order(rng: np.random.Generator | None, things: list[str]) -> list[str]:
    """As they are, or in an order of chance."""
    return things if rng is None else [things[int(i)] for i in rng.permutation(len(things))]
