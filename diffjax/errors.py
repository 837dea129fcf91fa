"""The one exception that means "the user can mend this"."""

from unicodedata import category


class UserError(ValueError):
    """A mistake in what the user gave: a field, a flag, a file.

    The message is one line that names the field or file, says what was expected and what to do. Scripts print
    it on stderr and exit with code 2; in a notebook it is an ordinary `ValueError`. What it repeats of a stranger's
    files cannot break the line or steer a terminal: white space becomes a space, control characters are spelt out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(visible(message))


def visible(text: str) -> str:
    """The text on one line: white space becomes a space, and what could steer a terminal is spelt out."""
    return "".join(map(_visible, text))


def _visible(letter: str) -> str:
    if letter.isspace():
        return " "
    return ascii(letter)[1:-1] if category(letter) in ("Cc", "Cs") else letter
