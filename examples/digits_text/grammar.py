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


MAX_LENGTH = 64  # bytes of a sentence
Traits = Mapping[str, str]  # attribute -> trait, of those that are named
Item = TypeVar("Item")

_MAX_REPEATS = 500  # draws on end that bring nothing new, after which there is no more to ask for
_LEAN_WORDS = re.compile(r"\b(?:lean|slant|tilt)\w*(?: over)?(?: to)?(?: the)? (left|right)\b")
_SIDE_WORDS = re.compile(r"\b(left|right)\b")


class CaptionMeaning(NamedTuple):
    """What a text says: which digit, and which traits it has."""

    digit: int
    traits: Traits


def write_caption(digit: int, traits: Traits, seed: int | None = None) -> str:
    """A sentence that says the digit and all of the traits: the same one always, or one of many that a seed chooses."""
    rng = None if seed is None else np.random.default_rng(seed)
    words = {name: _choose(rng, WORDS[name][traits[name]]) for name in WORDS if name in traits}
    looks = _arrange(rng, [words[name] for name in ("weight", "width") if name in words])
    stands = _arrange(rng, [words[name] for name in ("slant", "position") if name in words])
    return _choose(rng, _SENTENCES)(DIGITS[digit], looks, stands, _choose(rng, ("handwritten ", "", "digit ")))


def parse_caption(text: str) -> CaptionMeaning:
    """The digit and the traits that a text names; words that are not of the grammar are passed over.

    Raises `UserError` for a text of no digit or of several, or of traits that exclude each other.
    """
    plain = " ".join(re.findall(r"\w+", text.lower()))
    words = plain.split()
    digits = {number for number, name in enumerate(DIGITS) for word in words if word in (name, str(number))}
    if len(digits) != 1:
        digit_names = ", ".join(DIGITS[number] for number in sorted(digits)) or "none"
        raise UserError(f"prompt {text!r}: expected one digit, got {digit_names}; write zero … nine, or 0 … 9, once")
    traits = {
        name: {trait for trait, synonyms in WORDS[name].items() if {*synonyms} & {*words}}
        for name in ("weight", "width")
    }
    traits["slant"] = {*_LEAN_WORDS.findall(plain)}
    traits["position"] = {*_SIDE_WORDS.findall(_LEAN_WORDS.sub("", plain))}
    torn = next((sorted(synonyms) for synonyms in traits.values() if len(synonyms) > 1), None)
    if torn:
        raise UserError(f"prompt {text!r}: a digit is not both {torn[0]} and {torn[1]}; write one of them")
    return CaptionMeaning(digits.pop(), {name: synonyms.pop() for name, synonyms in traits.items() if synonyms})


def distinct_prompts(count: int, about: Sequence[str] = (), seed: int = 0) -> list[str]:
    """So many prompts, no two of which mean the same, of the digits in turn, with one trait or more.

    `about`: all of these prompts are of these combinations, as "bold three", in turn, with further traits or none.
    """
    rng = np.random.default_rng((seed, len(DIGITS)))
    starts = [parse_caption(text) for text in about] or [CaptionMeaning(digit, {}) for digit in range(len(DIGITS))]
    prompts: dict[str, str] = {}  # by what it means
    attempt = repeats = 0
    while len(prompts) < count and repeats < _MAX_REPEATS:
        digit, traits = starts[(attempt if about else len(prompts)) % len(starts)]
        unused = [name for name in WORDS if name not in traits]
        added = rng.permutation(unused)[: rng.integers(0 if traits else 1, min(2, len(unused)) + 1)]
        all_traits = {**traits, **{str(name): str(rng.choice(list(WORDS[name]))) for name in added}}
        repeats = repeats + 1 if write_caption(digit, all_traits) in prompts else 0
        prompts.setdefault(write_caption(digit, all_traits), write_caption(digit, all_traits, int(rng.integers(2**32))))
        attempt += 1
    if len(prompts) < count:
        raise UserError(
            f"prompts: there are no {count:,} combinations to ask for, only {len(prompts):,}; ask for fewer"
        )
    return list(prompts.values())


def _sentence_with_commas(noun: str, looks: list[str], stands: list[str], kind: str) -> str:
    """a bold narrow handwritten three, leaning left, on the right"""
    return ", ".join([_with_article(" ".join([*looks, f"{kind}{noun}"])), *stands])


def _sentence_with_colon(noun: str, looks: list[str], stands: list[str], kind: str) -> str:
    """handwritten three: bold, narrow, leaning left, on the right"""
    description = ", ".join([*looks, *stands])
    return f"{kind}{noun}: {description}" if description else f"{kind}{noun}"


def _sentence_with_clause(noun: str, looks: list[str], stands: list[str], kind: str) -> str:
    """a three that is bold, narrow, leaning left and on the right"""
    *first, last = [*looks, *stands] or [""]
    description = f"{', '.join(first)} and {last}" if first else last
    return f"{_with_article(noun)} that is {description}" if description else _with_article(noun)


_SENTENCES: tuple[Callable[[str, list[str], list[str], str], str], ...] = (
    _sentence_with_commas,
    _sentence_with_colon,
    _sentence_with_clause,
)


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' and not noun.startswith('one') else 'a'} {noun}"


def _choose(rng: np.random.Generator | None, items: Sequence[Item]) -> Item:
    """The first, or one by chance."""
    return items[0] if rng is None else items[int(rng.integers(len(items)))]


def _arrange(rng: np.random.Generator | None, items: list[str]) -> list[str]:
    """As they are, or in an order of chance."""
    return items if rng is None else [items[int(i)] for i in rng.permutation(len(items))]
