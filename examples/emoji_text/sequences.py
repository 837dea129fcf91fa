"""Emoji as sequences of characters, with captions from their Unicode names and modifiers.

A person is a character, or a person and an object joined by a zero-width joiner (a firefighter is a person and a fire
engine). Modifiers are a skin tone, a gender (a joined sign, or another person) and hair (a joined component), as in
Unicode Technical Standard 51.
"""

import unicodedata
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

JOINER = "\N{ZERO WIDTH JOINER}"
COLOURED = "\N{VARIATION SELECTOR-16}"  # asks for the emoji of a character that is also a plain sign
TONES = {
    "light": "\N{EMOJI MODIFIER FITZPATRICK TYPE-1-2}",
    "medium-light": "\N{EMOJI MODIFIER FITZPATRICK TYPE-3}",
    "medium": "\N{EMOJI MODIFIER FITZPATRICK TYPE-4}",
    "medium-dark": "\N{EMOJI MODIFIER FITZPATRICK TYPE-5}",
    "dark": "\N{EMOJI MODIFIER FITZPATRICK TYPE-6}",
}
GENDERS = {"man": "\N{MAN}", "woman": "\N{WOMAN}"}
SIGNS = {"man": "\N{MALE SIGN}", "woman": "\N{FEMALE SIGN}"}
ADULT = "\N{ADULT}"
HAIR = ("RED HAIR", "CURLY HAIR", "WHITE HAIR", "BALD")
ROLES = {
    "health worker": "\N{STAFF OF AESCULAPIUS}",
    "student": "\N{GRADUATION CAP}",
    "teacher": "\N{SCHOOL}",
    "judge": "\N{SCALES}",
    "farmer": "\N{EAR OF RICE}",
    "cook": "\N{COOKING}",
    "mechanic": "\N{WRENCH}",
    "factory worker": "\N{FACTORY}",
    "office worker": "\N{BRIEFCASE}",
    "scientist": "\N{MICROSCOPE}",
    "technologist": "\N{PERSONAL COMPUTER}",
    "singer": "\N{MICROPHONE}",
    "artist": "\N{ARTIST PALETTE}",
    "pilot": "\N{AIRPLANE}",
    "astronaut": "\N{ROCKET}",
    "firefighter": "\N{FIRE ENGINE}",
}
SIGNED = (  # persons whose gender is a joined sign
    "👮🕵💂👷👳👱🙍🙎🙅🙆💁🙋🧏🙇🤦🤷🦸🦹🧙🧚🧛🧜🧝🧖💆💇🚶🧍🧎🏃🧗🏄🚣🏊⛹🏋🚴🚵🤸🤽🤾🤹🧘👰🤵"
)
TONED = "👶🧒👦👧👨👩🧑🧓👴👵🤰🤱🤴👸👲🧕🎅🤶👼💃🕺🏇🏂🛀🛌"  # persons that take a tone alone
FACES = (*range(0x1F600, 0x1F645), *range(0x1F910, 0x1F918), *range(0x1F920, 0x1F926), *range(0x1F927, 0x1F930))
MORE_FACES = (*range(0x1F970, 0x1F97B), 0x1F9D0, *range(0x1F479, 0x1F47C), 0x1F47D, 0x1F47F, 0x1F480)
_PARTS = 20  # of which combinations are divided: two for test, one for validation


@dataclass(frozen=True)
class Emoji:
    """A sequence and what it shows; modifiers that it does not have are empty."""

    text: str
    group: str  # people or faces
    person: str  # what is left of the caption without modifiers
    gender: str = ""
    tone: str = ""
    hair: str = ""

    @property
    def caption(self) -> str:
        """Such as `woman firefighter, dark skin tone`."""
        gendered = self.person if self.gender in ("", self.person) else f"{self.gender} {self.person}"
        hair = [self.hair] if self.hair else []
        tone = [f"{self.tone} skin tone"] if self.tone else []
        return ", ".join([gendered, *hair, *tone])

    @property
    def file_name(self) -> str:
        """The hexadecimal numbers of its characters."""
        return f"{'_'.join(f'{ord(letter):x}' for letter in self.text)}.png"

    @property
    def split(self) -> str:
        """`test` for a tenth of the combinations of a person with a tone and a further modifier, `validation` for half.

        By a hash of the caption, so that it does not depend on which others there are.
        """
        if not self.tone or not (self.gender or self.hair):
            return "train"
        place = zlib.crc32(self.caption.encode()) % _PARTS
        return {0: "test", 1: "test", 2: "validation"}.get(place, "train")


def all_emoji() -> Iterator[Emoji]:
    """Persons with all of their modifiers, and faces; a font need not have all of them."""
    for tone, modifier in (("", ""), *TONES.items()):
        yield from _with_roles(tone, modifier)
        yield from _with_signs(tone, modifier)
        yield from _with_hair(tone, modifier)
        for letter in TONED:
            name = describe(letter)
            yield Emoji(_coloured(letter, modifier), "people", name, name if name in GENDERS else "", tone)
    for number in (*FACES, *MORE_FACES):
        yield Emoji(chr(number), "faces", describe(chr(number)))


def describe(letter: str) -> str:
    """The Unicode name of a character in small letters; `person` for an adult of no gender."""
    return "person" if letter == ADULT else unicodedata.name(letter).lower()


def _with_roles(tone: str, modifier: str) -> Iterator[Emoji]:
    for role, sign in ROLES.items():
        for gender, person in (("", ADULT), *GENDERS.items()):
            text = f"{person}{modifier}{JOINER}{_coloured(sign)}"
            yield Emoji(text, "people", role, gender, tone)


def _with_signs(tone: str, modifier: str) -> Iterator[Emoji]:
    for letter in SIGNED:
        yield Emoji(_coloured(letter, modifier), "people", describe(letter), "", tone)
        for gender, sign in SIGNS.items():
            text = f"{_coloured(letter, modifier)}{JOINER}{sign}{COLOURED}"
            yield Emoji(text, "people", describe(letter), gender, tone)


def _with_hair(tone: str, modifier: str) -> Iterator[Emoji]:
    for person in (ADULT, *GENDERS.values()):
        name = describe(person)
        for hair in HAIR:
            text = f"{person}{modifier}{JOINER}{unicodedata.lookup(f'EMOJI COMPONENT {hair}')}"
            yield Emoji(text, "people", name, name if name in GENDERS else "", tone, hair.lower())


def _coloured(letter: str, modifier: str = "") -> str:
    """The character with its modifier; alone, one that is also a plain sign asks for its emoji."""
    plain = ord(letter) < 0x1F000 or letter in "🕵🏋"
    return f"{letter}{modifier or (COLOURED if plain else '')}"
