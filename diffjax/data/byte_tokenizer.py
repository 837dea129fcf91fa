"""Byte-level tokenizer: UTF-8 in 257 tokens, without a stored vocabulary. 0 is padding, and byte b is b + 1.

Texts are normalised first: Unicode NFC, runs of white space as one space, none at either end. Case is kept.
"""

import unicodedata
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32, Integer

from diffjax.errors import UserError

VOCAB = 257
_MAX_SHOWN = 40  # letters of a text that a message repeats


def encode(texts: Sequence[str], length: int) -> Int32[np.ndarray, "n length"]:
    """The bytes of each text (UTF-8, plus 1), then padding. Raises `UserError` for an empty or too long text."""
    if length < 1:
        raise UserError(f"length: expected at least 1 byte of text, got {length}; raise it")
    tokens = np.zeros((len(texts), length), np.int32)
    for row, text in zip(tokens, texts, strict=True):
        data = _utf8_bytes(text, length)
        row[: len(data)] = np.frombuffer(data, np.uint8).astype(np.int32) + 1
    return tokens


def decode(tokens: Integer[np.ndarray, "n length"]) -> list[str]:
    """The texts, without padding; invalid UTF-8 becomes U+FFFD, �."""
    return [bytes((row[row > 0] - 1).astype(np.uint8).tolist()).decode(errors="replace") for row in np.asarray(tokens)]


def normalize_text(text: str) -> str:
    """The text in NFC with single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _utf8_bytes(text: str, length: int) -> bytes:
    plain = normalize_text(text)
    if not plain:
        raise UserError("text: expected some words, got none; to ask for anything at all, leave the text out")
    try:
        data = plain.encode()
    except UnicodeEncodeError:
        raise UserError(f"text {plain[:_MAX_SHOWN]!r}: is not Unicode throughout; write it as UTF-8") from None
    if len(data) > length:
        lost = data[length:].decode(errors="ignore")
        problem = f"has {len(data):,} bytes of at most {length:,}, so that its last {len(lost):,} letters would be cut"
        raise UserError(
            f"text {plain[:_MAX_SHOWN]!r}…: {problem} ({lost[:_MAX_SHOWN]!r}); shorten it, or raise the length"
        )
    return data
