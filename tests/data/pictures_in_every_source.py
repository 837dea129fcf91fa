"""The same pictures with classes, captions and numbers, written as a folder, an array, shards and parquet."""

import csv
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image


def encoded(pixels: np.ndarray) -> bytes:
    """Pixels as a PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


class Item(NamedTuple):
    """One picture, by the path that it has in a folder, and what goes with it."""

    path: str
    pixels: np.ndarray
    kind: str
    text: str
    stars: int

    @property
    def png(self) -> bytes:
        """The encoded picture."""
        return encoded(self.pixels)


def items(count: int = 12, split: str = "") -> list[Item]:
    """Pictures of two classes in the order of their paths; the caption of every fifth is empty."""
    found = []
    for i in range(count):
        kind = ("cat", "dog")[i >= count // 2]
        pixels = np.random.default_rng((i, len(split))).integers(0, 256, (4, 6, 3), np.uint8)
        text = "" if i % 5 == 0 else f"{split} {kind} number {i}"
        found.append(Item(f"{split}/{kind}/{i:02}.png".lstrip("/"), pixels, kind, text, i % 3))
    return found


def write_folder(root: Path, of: Iterable[Item], metadata: str = "metadata.jsonl") -> str:
    """A folder with a subfolder for each class, and one file of metadata."""
    of = list(of)
    for item in of:
        (root / item.path).parent.mkdir(parents=True, exist_ok=True)
        (root / item.path).write_bytes(item.png)
    rows = [{"file_name": item.path, "text": item.text, "stars": item.stars} for item in reversed(of)]
    if metadata.endswith("jsonl"):
        (root / metadata).write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with (root / metadata).open("w", newline="") as file:
            writer = csv.DictWriter(file, ["file_name", "text", "stars"])
            writer.writeheader()
            writer.writerows(rows)
    return f"folder:{root}"


def write_array(path: Path, of: Iterable[Item], compressed: bool = False) -> str:
    """An .npz of images, texts of classes and captions, and numbers."""
    of = list(of)
    write = np.savez_compressed if compressed else np.savez
    write(
        path,
        images=np.stack([item.pixels for item in of]),
        labels=np.array([item.kind for item in of]),
        text=np.array([item.text for item in of]),
        stars=np.array([item.stars for item in of]),
    )
    return f"array:{path}"


def write_tar(path: Path, members: Mapping[str, bytes]) -> None:
    """A tar of files by their names."""
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def sample_files(item: Item) -> dict[str, bytes]:
    """The files of a sample of a shard."""
    stem = item.path.removesuffix(".png")
    texts = {"cls": item.kind, "txt": item.text, "json": json.dumps({"stars": item.stars})}
    return {f"{stem}.png": item.png, **{f"{stem}.{name}": text.encode() for name, text in texts.items()}}


def write_shards(folder: Path, of: Iterable[Item], shards: int = 3, name: str = "part") -> str:
    """Shards of consecutive samples."""
    folder.mkdir(parents=True, exist_ok=True)
    of = list(of)
    for number, group in enumerate(np.array_split(np.arange(len(of)), shards)):
        members: dict[str, bytes] = {}
        for i in group:
            members |= sample_files(of[i])
        write_tar(folder / f"{name}-{number:03}.tar", members)
    return f"shards:{folder}/{name}-{{000..{shards - 1:03}}}.tar"


def write_parquet(path: Path, of: Iterable[Item]) -> str:
    """A parquet as Hugging Face's library writes it: encoded pictures, classes, captions and numbers."""
    import datasets

    of = list(of)
    kinds = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=["cat", "dog"]),
        "text": datasets.Value("string"),
        "stars": datasets.Value("int64"),
    }
    columns = {
        "image": [{"bytes": item.png, "path": None} for item in of],
        "label": [("cat", "dog").index(item.kind) for item in of],
        "text": [item.text for item in of],
        "stars": [item.stars for item in of],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(columns, datasets.Features(kinds)).to_parquet(str(path))
    return f"hf:{path}"
