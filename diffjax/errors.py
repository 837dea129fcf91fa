"""The exception for a user's mistake, and warnings on stderr."""

import sys
from contextlib import suppress
from io import TextIOWrapper
from unicodedata import category


class UserError(ValueError):
    """A user's mistake in an argument, a field, a flag or a file.

    The message is one line that names the field or file, says what was expected and what to do. Scripts print
    it on stderr and exit with code 2; in a notebook it is an ordinary `ValueError`. What it repeats of a stranger's
    files cannot break the line or steer a terminal: white space becomes a space, control characters are spelt out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(escape(message))


def escape(text: str) -> str:
    """The text on one line: white space becomes a space, and what could steer a terminal is spelt out."""
    return "".join(map(_escape_letter, text))


def warn(message: str, *, new_line: bool = False) -> None:
    """Print one line on stderr; `new_line` where a progress bar may stand there.

    Of any path, also of one that is not UTF-8, on any stream: what the stream cannot encode is spelt out.
    """
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    line = escape(f"diffjax: {message}").encode(encoding, "backslashreplace").decode(encoding)
    tell(f"\n{line}" if new_line else line)


def tell(*lines: str) -> None:
    """Print lines on stderr; where that cannot be written, such as a file on a full disk, they are lost."""
    with suppress(OSError):
        print(*lines, sep="\n", file=sys.stderr, flush=True)


def escape_unencodable() -> None:
    """Make stdout and stderr spell out what they cannot encode, such as a path that is not UTF-8, and not raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _escape_letter(letter: str) -> str:
    if letter.isspace():
        return " "
    return ascii(letter)[1:-1] if category(letter) in ("Cc", "Cs") else letter
