"""Texts as bytes: back again whatever the language, one form for what looks alike, nothing cut in silence."""

import numpy as np
import pytest

from diffjax.data.byte_tokenizer import VOCAB, decode, encode, normalize_text
from diffjax.errors import UserError

TEXTS = ["a bold three, leaning left", "eine schräge Sieben", "七", "🙂 x", "\x00 and ~", "a"]


def test_texts_come_back():
    assert decode(encode(TEXTS, 40)) == TEXTS


def test_tokens_are_bytes_and_one_more_and_padding_is_zero():
    tokens = encode(["ab", "é"], 4)
    np.testing.assert_array_equal(tokens, [[98, 99, 0, 0], [0xC3 + 1, 0xA9 + 1, 0, 0]])
    assert tokens.dtype == np.int32
    assert encode(["\x00", "~"], 1).min() == 1
    assert encode(TEXTS, 40).max() < VOCAB == 257


def test_a_longer_room_only_pads():
    short, long = encode(TEXTS, 30), encode(TEXTS, 50)
    np.testing.assert_array_equal(long[:, :30], short)
    assert not long[:, 30:].any()


def test_what_looks_alike_is_alike():
    alike = ["caf\u00e9 au lait", "cafe\u0301 au lait", "  caf\u00e9\t au\n lait ", "caf\u00e9\u00a0au lait"]
    assert len({row.tobytes() for row in encode(alike, 20)}) == 1
    assert normalize_text("A b") != normalize_text("a b")
    assert all(normalize_text(normalize_text(text)) == normalize_text(text) for text in (*alike, *TEXTS))


def test_a_text_that_fills_its_room_is_whole():
    assert decode(encode(["x" * 8], 8)) == ["x" * 8]


def test_what_is_too_long_is_told_with_what_would_be_lost():
    with pytest.raises(UserError, match=r"30 bytes.*26.*'left'.*length"):
        encode(["a handwritten two leaning left"], 26)


@pytest.mark.parametrize("text", ["", "  \n "])
def test_an_empty_text_is_refused_with_the_way_to_say_nothing(text: str):
    with pytest.raises(UserError, match="text"):
        encode([text], 8)


def test_what_is_no_unicode_and_no_room_are_refused():
    with pytest.raises(UserError, match=r"^text "):
        encode(["a \udcff"], 8)
    with pytest.raises(UserError, match=r"^length: "):
        encode(["a"], 0)


def test_tokens_that_are_no_text_are_shown_all_the_same():
    assert decode(np.array([[0xFF + 1, 0, 98, 0]])) == ["�a"]
