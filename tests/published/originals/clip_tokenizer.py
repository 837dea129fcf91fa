"""CLIPTokenizer of transformers, with the vocabulary of openai/CLIP: the first of its merges, and all.

ORIGINALS/CLIP is a clone of openai/CLIP, of which clip/bpe_simple_vocab_16e6.txt.gz is read. With all merges nothing is
written: our tokens are compared at once, of 1,000 texts and each form in which the folder of a tokenizer is published.
"""

import gzip
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from transformers import CLIPTokenizer

from diffjax.published.clip_tokenizer import read_tokenizer
from tests.published.originals import golden
from tests.published.originals.clip_prompts import sample_texts

FOLDER = "tokenizer"  # of the small vocabulary, beside the golden files
BYTES = (*range(33, 127), *range(161, 173), *range(174, 256))  # that stand for themselves in a vocabulary
ALL_MERGES = 48_894
FEW_MERGES = 1_000
MAX_VOCABULARY = ALL_MERGES + 2 * 256 + 4  # with the special tokens and two learned ones
MANY_TEXTS, FEW_TEXTS = 1_000, 300
LENGTH = 77
BEGIN, END = "<|startoftext|>", "<|endoftext|>"

Merges = list[tuple[str, str]]


def flags(content: str, normalized: bool, **others: object) -> dict[str, object]:
    """A special token as the files write it."""
    return {
        "content": content,
        "lstrip": False,
        "normalized": normalized,
        "rstrip": False,
        "single_word": False,
        **others,
    }


COMMON = {"model_max_length": LENGTH, "tokenizer_class": "CLIPTokenizer", "do_lower_case": True, "errors": "replace"}
NAMED = {"bos_token": BEGIN, "eos_token": END, "unk_token": END}
SD1_MAP = {
    "bos_token": flags(BEGIN, True),
    "eos_token": flags(END, True),
    "pad_token": END,
    "unk_token": flags(END, True),
}
SD1_CONFIG = COMMON | {
    name: {"__type": "AddedToken", **value} if isinstance(value, dict) else value for name, value in SD1_MAP.items()
}
DECODER = {"49406": flags(BEGIN, True, special=True), "49407": flags(END, False, special=True)}
SD2_CONFIG = (
    COMMON
    | NAMED
    | {
        "added_tokens_decoder": {"0": flags("!", False, special=True), **DECODER},
        "pad_token": "!",
    }
)
LEARNED = {"49408": flags("<sks>", True, special=False), "49409": flags("<Other Toy>", False, special=True)}
FORMS = {  # of a folder: further files by name
    "sd1": {"tokenizer_config.json": SD1_CONFIG, "special_tokens_map.json": SD1_MAP},
    "sd1 without a config": {"special_tokens_map.json": SD1_MAP},
    "sd2": {
        "tokenizer_config.json": SD1_CONFIG,
        "special_tokens_map.json": SD1_MAP | {"pad_token": "!"},
    },
    "sd2 with a decoder": {"tokenizer_config.json": SD2_CONFIG, "special_tokens_map.json": SD1_MAP},
    "sdxl": {
        "tokenizer_config.json": COMMON | NAMED | {"pad_token": END, "added_tokens_decoder": DECODER},
        "special_tokens_map.json": NAMED | {"pad_token": END},
        "added_tokens.json": {END: 49407, BEGIN: 49406},
    },
    "learned tokens": {
        "tokenizer_config.json": SD1_CONFIG,
        "special_tokens_map.json": SD1_MAP,
        "added_tokens.json": {"<sks>": 49408, "<Other Toy>": 49409},
    },
    "learned tokens in a decoder": {
        "tokenizer_config.json": COMMON | NAMED | {"pad_token": END, "added_tokens_decoder": DECODER | LEARNED},
    },
    "extra tokens": {
        "tokenizer_config.json": SD1_CONFIG | {"additional_special_tokens": ["cat</w>", "dog</w>"]},
    },
    "plain": {},
}


def make(originals: Path) -> None:
    """Write the small vocabulary, its folder and tokens of texts; then compare the full vocabulary."""
    merges = read_merges(originals / "CLIP" / "clip" / "bpe_simple_vocab_16e6.txt.gz")
    first = golden.GOLDEN / FOLDER
    write_folder(first, merges[:FEW_MERGES], FORMS["sd1"])
    texts = sample_texts(FEW_TEXTS)
    with TemporaryDirectory() as folder:
        second = Path(folder)
        write_folder(second, merges[:FEW_MERGES], FORMS["sd2"])
        ids = {"ids": tokens_of(first, texts), "ids_sd2": tokens_of(second, texts)}
    about = {"file": FOLDER, "texts": texts}
    golden.save("clip_tokenizer", {"shapes": {}, "kept": {}}, about, **ids)
    compare_all(merges[:ALL_MERGES])


def compare_all(merges: Merges) -> None:
    """Print how many of the texts have the same tokens, by the form of the folder; an error where not all have."""
    texts, counts = sample_texts(MANY_TEXTS), {}
    with TemporaryDirectory() as parent:
        for name, folder in folders(Path(parent), merges):
            theirs = tokens_of(folder, texts)
            ours = read_tokenizer(folder, LENGTH, MAX_VOCABULARY).encode(texts)
            counts[name] = int((theirs == ours).all(axis=1).sum())
            print(f"{name:<60} {counts[name]} of {len(texts)} equal")
    assert set(counts.values()) == {MANY_TEXTS}


def folders(parent: Path, merges: Merges) -> Iterator[tuple[str, Path]]:
    """A folder of each form, and what transformers makes of it as it saves it."""
    for i, (name, files) in enumerate(FORMS.items()):
        folder, saved = parent / f"{i}", parent / f"{i}_saved"
        write_folder(folder, merges, files)
        yield name, folder
        CLIPTokenizer.from_pretrained(folder).save_pretrained(saved)
        yield f"{name}, saved", saved
        shutil.copy(folder / "vocab.json", saved)
        shutil.copy(folder / "merges.txt", saved)
        yield f"{name}, saved beside the old files", saved


def tokens_of(folder: Path, texts: Iterable[str]) -> np.ndarray:
    """Those of transformers, [n, LENGTH]."""
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    output = tokenizer(list(texts), padding="max_length", max_length=LENGTH, truncation=True)
    return np.asarray(output.input_ids, np.int32)


def read_merges(path: Path) -> Merges:
    """All merges of the file, in their order."""
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")
    return [(first, second) for first, second in (line.split(" ") for line in lines[1:] if line)]


def write_folder(folder: Path, merges: Merges, files: dict[str, object]) -> None:
    """The folder of a tokenizer: vocab.json, merges.txt and the files."""
    folder.mkdir(parents=True, exist_ok=True)
    rest = (byte for byte in range(256) if byte not in BYTES)
    letters = [*map(chr, BYTES), *(chr(256 + i) for i, _ in enumerate(rest))]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges), BEGIN, END]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    lines = ["#version: 0.2", *map(" ".join, merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", "utf-8")
