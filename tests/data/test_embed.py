"""A set written again with embeddings: all that was there, in its order, and each text has its own; no TensorFlow."""

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from test_catalogue import picture, png, write

from diffjax.commands import embed
from diffjax.commands.embed import write_embedded
from diffjax.data import build_parts, condition_parts, encoders, open_dataset
from diffjax.data.condition_batches import split_conditions
from diffjax.errors import UserError

LENGTH = 12


def encoder(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Each letter as its number and its place: a tiny encoder, of which the answer is known."""
    letters = [np.array([[ord(letter), i] for i, letter in enumerate(text)], np.float32) for text in texts]
    return encoders.pad(letters, LENGTH)


ROWS = [
    {"image": picture(i), "label": i % 2, "note": f"no. {i} é", "extra": np.arange(i, i + 3, dtype=np.int32)}
    for i in range(20)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("told")
    features = {
        "image": tfds.features.Image(shape=(6, 9, 3)),
        "label": tfds.features.ClassLabel(names=["cat", "dog"]),
        "note": tfds.features.Text(),
        "extra": tfds.features.Tensor(shape=(3,), dtype=np.int32),
    }
    rows = [{**row, "image": io.BytesIO(png(row["image"]))} for row in ROWS]
    write(root, "little_told", features, rows, {"train": slice(15), "test": slice(15, 20)})
    return root


def test_all_is_there_again_and_each_text_has_its_own(folder: Path, tmp_path: Path):
    path = write_embedded("little_told", "note", encoder, tmp_path, data_dir=folder, batch=4)
    assert path.is_relative_to(tmp_path)
    old, new = open_dataset("little_told", folder), open_dataset("little_told_embedded", tmp_path)
    assert (new.shape, new.class_names, new.levels) == (old.shape, old.class_names, old.levels)
    assert new.features.keys() == {"note", "extra", "note_embedding", "note_mask"}
    chosen = build_parts([condition_parts.feature(name) for name in ("extra", "note_embedding", "note_mask")], new)
    for split in old.splits:
        for ours, theirs in zip(new.arrays(split), old.arrays(split), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        cond = split_conditions(new, split, None, chosen)
        texts = [old.splits[split].features(row)["note"].decode() for row in range(len(old.split(split)))]
        embeddings, mask = encoder(texts)
        np.testing.assert_array_equal(cond["note_embedding"].value, embeddings)
        np.testing.assert_array_equal(cond["note_mask"].value, mask)
        np.testing.assert_array_equal(cond["extra"].value[:, 0], [int(text.split()[1]) for text in texts])
    assert "tensorflow" not in sys.modules


def test_the_command_does_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    monkeypatch.setattr(encoders, "letters", lambda: encoder, raising=False)
    monkeypatch.setattr(encoders, "__all__", ["letters"])
    flags = ["--data=little_told", f"--data_dir={folder}", "--text=note", "--encoder=letters()", f"--out={tmp_path}"]
    embed.main(flags)
    assert "little_told_embedded" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        embed.main(flags)
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("diffjax: --out")
    assert told.count("\n") == 1


def wrong(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((len(texts), 3)), np.ones((len(texts), 3), bool)


@pytest.mark.parametrize(
    ("text", "by", "message"),
    [
        ("extra", encoder, "--text: .*'little_told'.*'extra'.*note"),
        ("note", wrong, r"--encoder: .*float32.*float64 \(1, 3\)"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    folder: Path, tmp_path: Path, text: str, by: Any, message: str
):
    with pytest.raises(UserError, match=message):
        write_embedded("little_told", text, by, tmp_path, data_dir=folder)
    assert list(tmp_path.iterdir()) == []


class Pretended:
    """A stand-in for the library's class: a token for each word, of three features."""

    def __init__(self, model: str, **_: Any) -> None:
        if model == "nowhere":
            raise OSError("no such\nmodel")

    def tokenizer(self, texts: list[str], truncation: bool) -> dict[str, list[list[str]]]:
        return {"input_ids": [text.split() for text in texts]}

    def encode(self, texts: list[str], **_: Any) -> list[Any]:
        arrays = [np.full((len(text.split()), 3), len(text), np.float32) for text in texts]
        return [SimpleNamespace(cpu=lambda array=array: array) for array in arrays]


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    library = ModuleType("sentence_transformers")
    monkeypatch.setattr(library, "SentenceTransformer", Pretended, raising=False)
    monkeypatch.setitem(sys.modules, "sentence_transformers", library)


@pytest.mark.usefixtures("pretended")
def test_token_embeddings_are_padded_to_one_length_and_never_cut():
    encode = encoders.sentence_transformer("some", length=4)
    embeddings, mask = encode(["a bold three", "two"])
    np.testing.assert_array_equal(mask, [[1, 1, 1, 0], [1, 0, 0, 0]])
    np.testing.assert_array_equal(embeddings[..., 0], [[12, 12, 12, 0], [3, 0, 0, 0]])
    with pytest.raises(UserError, match=r"5 tokens.*4.*length"):
        encode(["a text that is longer"])
    with pytest.raises(UserError, match=r"'nowhere'.*\(no such model\)"):
        encoders.sentence_transformer("nowhere")


def test_a_missing_library_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(UserError, match=r"pip install 'diffjax\[embed\]'"):
        encoders.sentence_transformer()
    with pytest.raises(UserError, match="length"):
        encoders.sentence_transformer(length=0)
