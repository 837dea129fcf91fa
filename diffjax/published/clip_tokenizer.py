"""The tokenizer of CLIP (Radford et al. 2021, section 2.4): prompts as integers, by byte pairs of lower-case words.

A prompt is normalized (Unicode form C, white space as single spaces, lower case) and split into words by WORDS. A word
is its bytes, the last with the end `</w>`, and pairs of them are merged in the order of the merges (Sennrich et al.
2016, section 3.2). The text of a special token is that token within a prompt too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diffjax.errors import UserError
from diffjax.published.tokenizer_files import CONFIG, WORD_END, TokenizerFiles, read_tokenizer_files
from diffjax.utils.files import describe_error

POSITIONS = 77  # of a published encoder
VOCABULARY_SIZE = 49_408  # of a published encoder
BEGIN, END = "<|startoftext|>", "<|endoftext|>"
ROLES = {"bos_token": BEGIN, "eos_token": END, "unk_token": END, "pad_token": END}  # where no file says others
CLASSES = ("CLIPTokenizer", "CLIPTokenizerFast")
SIDES = ("padding_side", "truncation_side")
SPACES = r"\s+"
WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
ENDS = 2  # tokens around those of a prompt
MIN_LENGTH = ENDS + 1


class Tokens(NamedTuple):
    """The tokens of a text: their ids, and the start and end of each in the text."""

    ids: list[int]
    spans: list[tuple[int, int]]


@dataclass(frozen=True)
class Tokenizer:
    """Prompts to integers [b, length]: the begin token, those of the prompt, the end token, and padding.

    `split` is that of a text without begin and end.
    """

    length: int
    begin: int
    end: int
    padding: int
    split: Callable[[str], Tokens]

    def encode(self, prompts: Sequence[str]) -> np.ndarray:
        """The tokens of prompts, int32 [b, length]; what does not fit is left out. Raises UserError for no text."""
        if isinstance(prompts, str):
            raise UserError(f"prompts: expected a list of texts, got one text; give [{prompts!r:.40}]")
        tokens = np.full((len(prompts), self.length), self.padding, np.int32)
        for row, prompt in zip(tokens, prompts, strict=True):
            ids = [self.begin, *self._split(prompt).ids[: self.length - ENDS], self.end]
            row[: len(ids)] = ids
        return tokens

    def count(self, prompt: str) -> int:
        """The number of tokens of a prompt, with the begin and the end token; more than `length` do not fit."""
        return len(self._split(prompt).ids) + ENDS

    def overflow(self, prompt: str) -> str:
        """The end of a prompt that does not fit, as it is written there; empty where all fits."""
        spans = self._split(prompt).spans
        room = self.length - ENDS
        return prompt[spans[room][0] :].strip() if len(spans) > room else ""

    def _split(self, prompt: str) -> Tokens:
        try:
            prompt.encode()
        except UnicodeEncodeError:
            raise UserError(f"prompt: {prompt!r:.80} has bytes that are no text in UTF-8; write it anew") from None
        return self.split(prompt)


def read_tokenizer(folder: Path, positions: int = POSITIONS, vocabulary: int = VOCABULARY_SIZE) -> Tokenizer:
    """The tokenizer in a folder, for an encoder of this number of positions and of tokens.

    Raises UserError where the library tokenizers is missing, and for files that are missing, damaged, of another class,
    or have tokens that the encoder has not.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder tokenizer of a pipeline")
    files = read_tokenizer_files(folder, ROLES)
    _check_config(folder, files)
    if len(files.vocabulary) > vocabulary:
        problem = f"has {len(files.vocabulary):,} tokens, and the text encoder {vocabulary:,}"
        raise UserError(f"{folder}: {problem}; use the tokenizer and the encoder of one pipeline")
    length = min(positions, positions if files.length is None else files.length)
    if length < MIN_LENGTH:
        raise UserError(
            f"{folder}: prompts would have {length} tokens, expected at least {MIN_LENGTH}; use the files as published"
        )
    begin, end, padding = (files.vocabulary[files.roles[role]] for role in ("bos_token", "eos_token", "pad_token"))
    return Tokenizer(length, begin, end, padding, _build_split(folder, files))


def _check_config(folder: Path, files: TokenizerFiles) -> None:
    """Raise UserError for a tokenizer of another class, or of other rules than CLIP's."""
    kind = files.config.get("tokenizer_class") or CLASSES[0]
    if kind not in CLASSES:
        raise UserError(f"{folder / CONFIG}: tokenizer_class {kind!r:.80} is not known here; known is {CLASSES[0]}")
    for side in SIDES:
        if files.config.get(side, "right") != "right":
            problem = f"{side} {files.config[side]!r:.80} is not known here; known is 'right'"
            raise UserError(f"{folder / CONFIG}: {problem}")


def _build_split(folder: Path, files: TokenizerFiles) -> Callable[[str], Tokens]:
    """The function from a text to its tokens, by the library tokenizers."""
    try:
        from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
    except ImportError:
        raise UserError(f"{folder}: needs tokenizers; run: pip install 'diffjax[text]'") from None
    vocabulary, unknown = dict(files.vocabulary), files.roles["unk_token"]
    rules = [normalizers.NFC(), normalizers.Replace(Regex(SPACES), " "), normalizers.Lowercase()]
    words = pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True)
    try:
        library = Tokenizer(models.BPE(vocabulary, files.merges, unk_token=unknown, end_of_word_suffix=WORD_END))
        # Special tokens are normalized as they are added.
        library.normalizer = normalizers.Sequence(rules)
        library.add_special_tokens([AddedToken(**token._asdict(), special=True) for token in files.special])
    # The library's errors are of no type of their own.
    except Exception as error:
        problem = f"cannot be read as a tokenizer ({describe_error(error)[:200]})"
        raise UserError(f"{folder}: {problem}; use the files as published") from None
    library.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])

    def split(text: str) -> Tokens:
        encoding = library.encode(text, add_special_tokens=False)
        return Tokens(encoding.ids, encoding.offsets)

    return split
