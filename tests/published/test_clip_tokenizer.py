"""The tokenizer of CLIP against transformers', in each form of its files, and what it refuses."""

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from strangers import refused

from diffjax.errors import UserError
from diffjax.published.clip_tokenizer import Tokenizer, read_tokenizer
from diffjax.utils.files import is_single_line
from tests.published.golden_files import GOLDEN, read_case

FOLDER = GOLDEN / "tokenizer"
CASE = read_case(GOLDEN / "clip_tokenizer.npz")
TEXTS = CASE.about["texts"]
BEGIN, END = 1512, 1513
TRIALS = 150

Json = dict[str, object]


@cache
def tokenizer() -> Tokenizer:
    return read_tokenizer(FOLDER)


def copy(folder: Path) -> Path:
    return Path(shutil.copytree(FOLDER, folder / "tokenizer"))


def change(path: Path, **settings: object) -> None:
    """Write settings into a file of JSON, which may be new; None takes one out."""
    content = json.loads(path.read_text()) if path.exists() else {}
    content |= settings
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


@contextmanager
def refused_by_path(folder: Path, message: str) -> Iterator[None]:
    """A UserError of one line that begins with the path of a folder, or of a file in it."""
    with refused(f"^{re.escape(str(folder))}.*{re.escape(message)}", folder):
        yield


def as_single_file(folder: Path, pad: str = "<|endoftext|>") -> Path:
    """A folder as newer versions of transformers write it."""
    vocabulary = json.loads((FOLDER / "vocab.json").read_text())
    merges = [line.split(" ") for line in (FOLDER / "merges.txt").read_text().split("\n")[1:-1]]
    model = {"type": "BPE", "continuing_subword_prefix": "", "end_of_word_suffix": "</w>"}
    is_normalized = {pad: False, "<|startoftext|>": True, "<|endoftext|>": pad == "!"}  # as in the older files
    added = [
        {"id": vocabulary[name], "content": name, "normalized": flag, "special": True}
        for name, flag in is_normalized.items()
    ]
    whole = {"version": "1.0", "added_tokens": added, "model": {**model, "vocab": vocabulary, "merges": merges}}
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    roles = {
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": pad,
    }
    config = {"model_max_length": 77, "tokenizer_class": "CLIPTokenizer", "backend": "tokenizers", **roles}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def test_the_tokens_are_those_of_the_original() -> None:
    tokens = tokenizer().encode(TEXTS)
    assert (tokens.shape, tokens.dtype) == ((300, 77), np.int32)
    assert np.array_equal(tokens, CASE.arrays["ids"])


def test_a_padding_token_is_one_in_prompts_too(tmp_path) -> None:
    """As in Stable Diffusion 2, whose map of special tokens says another one than its config."""
    folder = copy(tmp_path)
    change(folder / "special_tokens_map.json", pad_token="!")
    assert np.array_equal(read_tokenizer(folder).encode(TEXTS), CASE.arrays["ids_sd2"])
    assert np.array_equal(read_tokenizer(as_single_file(tmp_path / "new", "!")).encode(TEXTS), CASE.arrays["ids_sd2"])
    (folder / "special_tokens_map.json").unlink()
    assert np.array_equal(read_tokenizer(folder).encode(TEXTS), CASE.arrays["ids"])


def test_a_config_with_added_tokens_comes_before_the_map(tmp_path) -> None:
    folder = copy(tmp_path)
    change(folder / "special_tokens_map.json", pad_token="x")
    decoder = {"0": {"content": "!", "normalized": False, "special": True}}
    change(folder / "tokenizer_config.json", added_tokens_decoder=decoder, pad_token="!")
    assert read_tokenizer(folder).padding == 0


def test_one_file_has_all(tmp_path) -> None:
    ours = read_tokenizer(as_single_file(tmp_path / "new"))
    assert np.array_equal(ours.encode(TEXTS), CASE.arrays["ids"])


def test_learned_tokens_follow_the_vocabulary(tmp_path) -> None:
    folder = copy(tmp_path)
    (folder / "added_tokens.json").write_text('{"<sks>": 1514, "<|endoftext|>": 1513}')
    tokens = read_tokenizer(folder).encode(["a <sks> cat", "a <SKS>"])
    assert tokens[0, 2] == tokens[1, 2] == 1514
    (folder / "added_tokens.json").write_text('{"<sks>": 1515}')
    with refused_by_path(folder, "'<sks>' has the id 1515, and the vocabulary has 1514"):
        read_tokenizer(folder)


def test_files_that_say_nothing_have_the_published_tokens(tmp_path) -> None:
    folder = copy(tmp_path)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink()
    ours = read_tokenizer(folder, positions=20)
    assert (ours.length, ours.begin, ours.end, ours.padding) == (20, BEGIN, END, END)


def test_no_prompt_is_longer_than_the_encoder_or_the_files_allow(tmp_path) -> None:
    folder = copy(tmp_path)
    change(folder / "tokenizer_config.json", model_max_length=int(1e30))
    assert read_tokenizer(folder).length == 77
    change(folder / "tokenizer_config.json", model_max_length=16)
    assert read_tokenizer(folder).length == 16
    assert read_tokenizer(folder, positions=8).length == 8


def test_the_words_that_do_not_fit_are_told() -> None:
    words = [f"{'ab'[i % 2]}" for i in range(75)]
    prompt = " ".join(words)
    assert tokenizer().count(prompt) == 77
    assert tokenizer().overflow(prompt) == ""
    longer = f"  {prompt}  And Café, The END. "
    assert tokenizer().overflow(longer) == "And Café, The END."
    assert tokenizer().count(longer) > 77
    assert np.array_equal(*tokenizer().encode([prompt, longer]))
    for text in TEXTS:
        rest = tokenizer().overflow(text)
        assert bool(rest) == (tokenizer().count(text) > 77)
        assert text.rstrip().endswith(rest)


def test_an_empty_prompt_is_its_two_ends() -> None:
    tokens = tokenizer().encode(["", " \n\t"])
    assert (tokens == [BEGIN] + [END] * 76).all()
    assert tokenizer().count("") == 2
    assert tokenizer().encode([]).shape == (0, 77)


@pytest.mark.usefixtures("untyped")
def test_what_is_no_list_of_texts_is_refused() -> None:
    with pytest.raises(UserError, match=r"^prompts: expected a list of texts, got one text; give \['a cat'\]$"):
        tokenizer().encode("a cat")
    with pytest.raises(UserError, match=r"^prompt: .* are no text in UTF-8"):
        tokenizer().encode(["a \udcff"])


def test_without_the_library_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with refused_by_path(FOLDER, "pip install 'diffjax[text]'"):
        read_tokenizer(FOLDER)


CONFIGS: dict[str, Json] = {
    "tokenizer_class 'T5Tokenizer' is not known here; known is CLIPTokenizer": {"tokenizer_class": "T5Tokenizer"},
    "padding_side 'left' is not known here": {"padding_side": "left"},
    "expected model_max_length to be an integer": {"model_max_length": "77"},
    "prompts would have 2 tokens": {"model_max_length": 2},
    "prompts would have -1 tokens": {"model_max_length": -1},
    "no special token '<s>'": {"additional_special_tokens": ["<s>"]},
    "additional_special_tokens that are no list": {"additional_special_tokens": {"a": 1}},
    "added_tokens_decoder that is no map": {"added_tokens_decoder": {"-1": "!"}},
    "the added token '!' has the id 7": {"added_tokens_decoder": {"7": "!"}},
    "special token 3, which is no text": {"added_tokens_decoder": {"0": 3}},
    "which is no text with flags": {"added_tokens_decoder": {"0": {"content": "!", "normalized": "no"}}},
}


@pytest.mark.parametrize("message", CONFIGS)
def test_a_config_that_is_not_known_is_refused(message, tmp_path) -> None:
    folder = copy(tmp_path)
    change(folder / "tokenizer_config.json", **CONFIGS[message])
    with refused_by_path(folder, message):
        read_tokenizer(folder)


FILES: dict[str, tuple[str, bytes]] = {
    "no JSON object": ("vocab.json", b"[]"),
    "cannot be read": ("vocab.json", b"\xff"),
    "nested too deeply": ("vocab.json", b"[" * 100_000),
    "larger than 20,000,000 bytes": ("vocab.json", b" " * 20_000_001),
    "has no vocabulary": ("vocab.json", b"{}"),
    "whose ids are not 0 … 1, each once": ("vocab.json", b'{"a": 0, "b": 0}'),
    "whose ids are not 0 … 0": ("vocab.json", b'{"a": true}'),
    "has a merge 'i' 'n', and the vocabulary no 'i'": ("vocab.json", b'{"a": 0}'),
    "no pair of tokens": ("merges.txt", b"#version: 0.2\ni n g\n"),
    "the vocabulary no 'zzz'": ("merges.txt", b"i zzz\n"),
    "merges.txt: cannot be read": ("merges.txt", b"\xff\xfe"),
    "tokenizer.json: has no model of byte pair encoding": ("tokenizer.json", b'{"model": {"type": "Unigram"}}'),
    "words that do not end in '</w>'": ("tokenizer.json", b'{"model": {"vocab": {"a": 0}, "merges": []}}'),
    "no special token '<|startoftext|>'": (
        "tokenizer.json",
        b'{"model": {"vocab": {"a": 0}, "merges": [], "end_of_word_suffix": "</w>"}}',
    ),
    "added token of the id None": (
        "tokenizer.json",
        b'{"added_tokens": ["a"], "model": {"vocab": {"a": 0}, "merges": [], "end_of_word_suffix": "</w>"}}',
    ),
    "special_tokens_map.json: is no JSON object": ("special_tokens_map.json", b"3"),
    "added token of the id '1'": ("added_tokens.json", b'{"a": "1"}'),
}


@pytest.mark.parametrize("message", FILES)
def test_a_damaged_file_is_refused_by_its_path(message, tmp_path) -> None:
    folder = copy(tmp_path)
    name, content = FILES[message]
    (folder / name).write_bytes(content)
    with refused_by_path(folder, message):
        read_tokenizer(folder)


def test_a_folder_that_lacks_files_is_refused(tmp_path) -> None:
    with refused_by_path(tmp_path, "no such folder"):
        read_tokenizer(tmp_path / "tokenizer")
    with refused_by_path(tmp_path, "has no tokenizer.json, and no vocab.json"):
        read_tokenizer(tmp_path)
    shutil.copy(FOLDER / "vocab.json", tmp_path)
    with refused_by_path(tmp_path, "and no merges.txt"):
        read_tokenizer(tmp_path)


@pytest.mark.parametrize("write", [copy, lambda folder: as_single_file(folder / "new")])
def test_damage_ends_in_tokens_or_in_one_line(write: Callable[[Path], Path], tmp_path) -> None:
    folder = write(tmp_path)
    rng, errors = np.random.default_rng(0), []
    files = [path for path in sorted(folder.iterdir()) if path.name != "LICENSE"]
    whole = {path: path.read_bytes() for path in files}
    for i in rng.integers(len(files), size=TRIALS):
        data = np.frombuffer(whole[files[i]], np.uint8).copy()
        places = rng.integers(len(data), size=rng.integers(1, 4))
        data[places] = rng.integers(256, size=len(places)) if rng.random() < 0.5 else data[places] ^ 1
        files[i].write_bytes(data.tobytes()[: rng.integers(len(data)) if rng.random() < 0.1 else None])
        try:
            assert read_tokenizer(folder).encode(TEXTS[:20]).shape[0] == 20
            errors.append("")
        except UserError as error:
            errors.append(str(error))
        files[i].write_bytes(whole[files[i]])
    assert all(is_single_line(error) and len(error) < 1500 for error in errors)
    assert all(not error or error.startswith(str(folder)) for error in errors)
    assert 0 < errors.count("") < TRIALS
