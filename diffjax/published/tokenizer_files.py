"""The files of a tokenizer by byte pair encoding, as transformers writes them: vocabulary, merges and special tokens.

Older folders have vocab.json and merges.txt, newer ones tokenizer.json. Settings are in tokenizer_config.json; where
that has no added_tokens_decoder, those in special_tokens_map.json and added_tokens.json come before.
"""

import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from diffjax.errors import UserError
from diffjax.utils.files import describe_error
from diffjax.utils.untrusted import read_bytes, read_json

CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS = "special_tokens_map.json"
ADDED_TOKENS = "added_tokens.json"
WHOLE = "tokenizer.json"
VOCABULARY = "vocab.json"
MERGES = "merges.txt"
MAX_BYTES = 2 * 10**7  # of a file: CLIP's tokenizer.json has 4 MB
VERSION = "#version"  # what the first line of merges.txt begins with, which is no merge
WORD_END = "</w>"  # of the last piece of a word

ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
EXTRAS = ("additional_special_tokens", "extra_special_tokens")
FLAGS = ("single_word", "lstrip", "rstrip", "normalized")  # of a special token
LENGTHS = ("model_max_length", "max_len")

Merge = tuple[str, str]
JsonObject = dict[str, object]


class SpecialToken(NamedTuple):
    """A text that is one token wherever it stands in a prompt, before the prompt is normalized or after it."""

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False


class TokenizerFiles(NamedTuple):
    """What the files say: ids 0, 1, … by token, merges in their order, special tokens, and which has which role.

    `length` is the largest number of tokens of a prompt; None where no file says it.
    """

    vocabulary: Mapping[str, int]
    merges: list[Merge]
    special: list[SpecialToken]
    roles: Mapping[str, str]
    length: int | None
    config: JsonObject


def read_tokenizer_files(folder: Path, roles: Mapping[str, str]) -> TokenizerFiles:
    """The files in a folder; `roles` are special tokens that need not be named there.

    Raises UserError, with the path of the file, for one that is missing, damaged or too large, and for tokens that are
    not in the vocabulary.
    """
    config = _read_object(folder / CONFIG) if (folder / CONFIG).exists() else {}
    settings = dict(config)
    if "added_tokens_decoder" not in config and (folder / SPECIAL_TOKENS).exists():
        settings |= _read_object(folder / SPECIAL_TOKENS)
    whole = _read_object(folder / WHOLE) if (folder / WHOLE).exists() else None
    vocabulary, merges = (
        _vocabulary_beside_merges(folder) if whole is None else _whole_vocabulary(folder / WHOLE, whole)
    )
    named = {role: settings[role] for role in ROLES if settings.get(role) is not None}
    tokens = {role: _parse_token(folder / CONFIG, value) for role, value in {**roles, **named}.items()}
    added = _added_tokens(folder, config, whole, {token.content for token in tokens.values()})
    for i, token in sorted(added.items()):
        # A token that the vocabulary has not yet is its next one.
        expected = vocabulary.setdefault(token.content, len(vocabulary))
        if i != expected:
            problem = f"the added token {token.content!r:.80} has the id {i}, and the vocabulary has {expected} for it"
            raise UserError(f"{folder}: {problem}; use the files as published")
    special = {token.content: token for token in added.values()}
    further = [*tokens.values(), *_extra_tokens(folder / CONFIG, settings)]
    special = {token.content: token for token in further} | special
    lacking = next((content for content in special if content not in vocabulary), None)
    if lacking is not None:
        raise UserError(f"{folder}: its vocabulary has no special token {lacking!r:.80}; use the files as published")
    contents = {role: token.content for role, token in tokens.items()}
    return TokenizerFiles(vocabulary, merges, [*special.values()], contents, _length(folder, config), config)


def _read_object(path: Path) -> JsonObject:
    """The JSON object in a file. Raises UserError where there is none."""
    try:
        value = read_json(path, MAX_BYTES)
    except (OSError, ValueError) as error:
        raise _damage(path, f"cannot be read ({describe_error(error)[:200]})") from None
    if not isinstance(value, dict):
        raise _damage(path, "is no JSON object")
    return value


def _vocabulary_beside_merges(folder: Path) -> tuple[dict[str, int], list[Merge]]:
    """Those of vocab.json and merges.txt."""
    for name in (VOCABULARY, MERGES):
        if not (folder / name).exists():
            problem = f"has no {WHOLE}, and no {name}"
            raise UserError(f"{folder}: {problem}; give the folder tokenizer of a pipeline, with all of its files")
    path = folder / MERGES
    try:
        lines = read_bytes(path, MAX_BYTES).decode().replace("\r\n", "\n").split("\n")
    except (OSError, ValueError) as error:
        raise _damage(path, f"cannot be read ({describe_error(error)[:200]})") from None
    pairs = [line.split(" ") for line in lines if line and not line.startswith(VERSION)]
    vocabulary = _checked_vocabulary(folder / VOCABULARY, _read_object(folder / VOCABULARY))
    return vocabulary, _checked_merges(path, pairs, vocabulary)


def _whole_vocabulary(path: Path, whole: JsonObject) -> tuple[dict[str, int], list[Merge]]:
    """Those of tokenizer.json, whose other rules are those of its class and are not read."""
    model = whole.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE" or not isinstance(model.get("merges"), list):
        raise _damage(path, "has no model of byte pair encoding, type 'BPE' with merges")
    if model.get("end_of_word_suffix") != WORD_END or model.get("continuing_subword_prefix"):
        raise _damage(path, f"has words that do not end in {WORD_END!r}, or pieces with a prefix")
    vocabulary = _checked_vocabulary(path, model.get("vocab"))
    pairs = (pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"])
    return vocabulary, _checked_merges(path, pairs, vocabulary)


def _checked_vocabulary(path: Path, vocabulary: object) -> dict[str, int]:
    """Raise UserError where this is no map from tokens to 0, 1, …, each once."""
    if not isinstance(vocabulary, dict) or not vocabulary:
        raise _damage(path, "has no vocabulary from tokens to ids")
    ids = vocabulary.values()
    if any(type(i) is not int for i in ids) or {*ids} != {*range(len(vocabulary))}:
        raise _damage(path, f"has {len(vocabulary):,} tokens, whose ids are not 0 … {len(vocabulary) - 1:,}, each once")
    return dict(vocabulary)


def _checked_merges(path: Path, pairs: Iterable[object], vocabulary: Mapping[str, int]) -> list[Merge]:
    """Raise UserError for what is no pair of tokens that are one token together."""
    merges = []
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise _damage(path, f"has a merge {reprlib.repr(pair):.80}, which is no pair of tokens")
        first, second = pair
        lacking = [token for token in (first, second, first + second) if token not in vocabulary]
        if lacking:
            raise _damage(path, f"has a merge {first!r:.60} {second!r:.60}, and the vocabulary no {lacking[0]!r:.80}")
        merges.append((first, second))
    return merges


def _added_tokens(
    folder: Path, config: JsonObject, whole: JsonObject | None, named: Iterable[str]
) -> dict[int, SpecialToken]:
    """Added tokens by id; `named` are the texts of those that have a role."""
    if "added_tokens_decoder" in config:
        path, decoder = folder / CONFIG, config["added_tokens_decoder"]
        if not isinstance(decoder, dict) or not all(key.isdecimal() and len(key) < 10 for key in decoder):
            raise _damage(path, "has an added_tokens_decoder that is no map from ids to tokens")
        return {int(key): _parse_token(path, value) for key, value in decoder.items()}
    tokens = {}
    if (path := folder / ADDED_TOKENS).exists():
        for content, i in _read_object(path).items():
            tokens[_checked_id(path, i)] = SpecialToken(content, normalized=content not in named)
    if whole is not None:
        path, values = folder / WHOLE, whole.get("added_tokens", [])
        if not isinstance(values, list):
            raise _damage(path, "has added_tokens that are no list")
        for value in values:
            token = _parse_token(path, value)
            tokens[_checked_id(path, value.get("id") if isinstance(value, dict) else None)] = token
    return tokens


def _checked_id(path: Path, value: object) -> int:
    if type(value) is not int:
        raise _damage(path, f"has an added token of the id {reprlib.repr(value):.80}, which is no integer")
    return value


def _extra_tokens(path: Path, settings: JsonObject) -> list[SpecialToken]:
    """Special tokens that have no role."""
    tokens = []
    for name in EXTRAS:
        values = settings.get(name) or []
        if not isinstance(values, list):
            raise _damage(path, f"has {name} that are no list")
        tokens += [_parse_token(path, value) for value in values]
    return tokens


def _parse_token(path: Path, value: object) -> SpecialToken:
    """A special token, of its text or with its flags."""
    if isinstance(value, str):
        return SpecialToken(value)
    if isinstance(value, dict) and isinstance(value.get("content"), str):
        flags = {name: value.get(name, False) for name in FLAGS}
        if all(isinstance(flag, bool) for flag in flags.values()):
            return SpecialToken(value["content"], **flags)
    raise _damage(path, f"has a special token {reprlib.repr(value):.80}, which is no text with flags")


def _length(folder: Path, config: JsonObject) -> int | None:
    value = next((config[name] for name in LENGTHS if config.get(name) is not None), None)
    if value is not None and type(value) is not int:
        raise _damage(folder / CONFIG, f"expected {LENGTHS[0]} to be an integer, got {reprlib.repr(value):.80}")
    return value


def _damage(path: Path, problem: str) -> UserError:
    return UserError(f"{path}: {problem}; use the files as published")
