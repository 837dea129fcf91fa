"""Data that a stranger made to do harm: each refused in one line, at once, with no code run and nothing written."""

import io
import json
import re
import struct
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from strangers import SECONDS, refused

from diffjax.data import BatchConfig, batches, open_dataset
from diffjax.errors import UserError
from diffjax.utils.image_io import MAX_BYTES, decode_bytes, read_header, read_image


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *before: bytes, bits: int = 8) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    rows = zlib.compress(bytes(10_000), 9)
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(before) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def deflated(megabytes: int) -> bytes:
    return zlib.compress(bytes(megabytes * 10**6), 9)


def gif(width: int, height: int) -> bytes:
    """A small screen, and on it a frame of another size."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x08\x01\x00\x00;"
    return b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + frame


def webp(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    data = b"VP8L" + struct.pack("<I", 10) + b"\x2f" + struct.pack("<I", bits) + bytes(5)
    return b"RIFF" + struct.pack("<I", 4 + len(data)) + b"WEBP" + data


def saved(kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(file, kind, **options)
    return file.getvalue()


def exif(size: int) -> bytes:
    """A directory of as many tags as fit, each of which holds all bytes that there are."""
    count = min(size // 12, 2**16 - 1)
    tags = b"".join(struct.pack("<HHII", number, 7, size - 8, 8) for number in range(1, count))
    return (b"II*\0" + struct.pack("<IH", 8, count - 1) + tags).ljust(size, b"\0")


def tiff(tags: int, length: int, size: int, tag: int = 40_000, width: int = 8) -> bytes:
    """A TIFF of so many tags, each of `length` bytes from the start of the file; a directory may name itself."""
    fields = [(256, 4, 1, width), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
    fields += [(277, 3, 1, 1), (278, 4, 1, 8), (279, 4, 1, 64), *[(tag + i, 7, length, 8) for i in range(tags)]]
    entries = b"".join(struct.pack("<HHII", *each) for each in fields)
    return (b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + bytes(4)).ljust(size, b"\0")


def nested_tiff() -> bytes:
    """A TIFF whose Exif directory is the first one."""
    return tiff(0, 0, 4096)[:8] + struct.pack("<HHHII", 1, 34665, 4, 1, 8) + bytes(4)


def scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes so many times more."""
    data = saved("JPEG", progressive=True)
    return data[:-2] + b"\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x10" * count + data[-2:]


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(harm) (w) file\nshowpage\n"
SVG = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><svg width="9" height="9">&e;</svg>'

PICTURES: dict[str, tuple[Callable[[], bytes], str]] = {  # the bytes of x.png, and what is said of them
    "a header of 50,000 x 50,000": (lambda: png(50_000, 50_000), "64 "),
    "a header of 2^31 x 2^31": (lambda: png(2**31 - 1, 2**31 - 1), "64 "),
    "a header of 0 x 0": (lambda: png(0, 0), ""),
    "text that unpacks": (lambda: png(8, 8, chunk(b"zTXt", b"k\0\0" + deflated(60))), ""),
    "text that unpacks, again and again": (lambda: png(8, 8, *[chunk(b"zTXt", b"k\0\0" + deflated(1))] * 99), ""),
    "text in many languages": (lambda: png(8, 8, chunk(b"iTXt", b"k\0\1\0\0\0" + deflated(60))), ""),
    "a GIF whose frame outgrows its screen": (lambda: gif(60_000, 60_000), "64 "),
    "a WebP of 16,384 x 16,384": (lambda: webp(16_384, 16_384), ""),
    "a TIFF of many tags": (lambda: tiff(50_000, 8, 2**20, 1_000), "tags"),
    "a TIFF whose tags are the file": (lambda: tiff(900, 2**20, 2**20), "tags"),
    "a TIFF whose Exif is the file": (lambda: tiff(1, 2**30, 2**20, 34_665), "tags"),
    "a TIFF in itself": (nested_tiff, ""),
    "a BigTIFF": (lambda: b"II+\0\x08\0\0\0" + bytes(99), "TIFF"),
    "a TIFF of 60,000,000 x 8": (lambda: tiff(0, 0, 4096, width=60_000_000), "64 "),
    "a cut TIFF": (lambda: saved("TIFF", compression="tiff_deflate")[:-60], ""),
    "an EPS": (lambda: EPS, ""),
    "a PDF": (lambda: saved("PDF"), ""),
    "an SVG": (lambda: SVG, ""),
    "a JPEG of many scans": (lambda: scans(10_000), "64 scans"),
    "a cut JPEG": (lambda: saved("JPEG")[:-200], ""),
    "a cut PNG": (lambda: saved("PNG")[:60], ""),
    "nothing": (lambda: b"", ""),
    "an archive": (lambda: b"PK\3\4" + bytes(99), ""),
    "a pickle": (lambda: b"cos\nsystem\n(S'touch harm'\ntR.", ""),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture(tmp_path: Path, name: str):
    data, message = PICTURES[name][0](), PICTURES[name][1]
    path = tmp_path / "x.png"
    path.write_bytes(data)
    with refused(rf"x\.png: .*({message})", tmp_path):
        read_image(path)
    with refused(rf"record 7: .*({message})"):
        decode_bytes(data, 3, None, "record 7")
    with refused(rf"x\.png: .*({message})", tmp_path):
        next(batches(open_dataset(f"folder:{tmp_path}"), "train", BatchConfig(1, 0)))


def test_exif_without_end_is_refused_and_the_most_that_is_not_is_read_at_once(tmp_path: Path):
    (tmp_path / "x.png").write_bytes(png(8, 8, chunk(b"eXIf", exif(2**20))))
    for read in (read_header, read_image):
        with refused(r"x\.png: .*EXIF"):
            read(tmp_path / "x.png")
    (tmp_path / "x.png").write_bytes(png(8, 8, chunk(b"eXIf", exif(2**17 - 6))))
    start = time.process_time()
    with suppress(UserError):  # of a warning, which here is an error
        read_header(tmp_path / "x.png")
    assert time.process_time() - start < SECONDS


def test_a_file_of_many_bytes_is_not_read(tmp_path: Path):
    with (tmp_path / "x.png").open("wb") as file:
        file.write(saved("PNG"))
        file.truncate(MAX_BYTES + 1)  # they take no room on the disk
    for read in (read_header, read_image):
        with refused(r"x\.png: .*320"):
            read(tmp_path / "x.png")


def test_a_device_is_not_read(tmp_path: Path):
    for path in ("/dev/zero", "/dev/stdin", tmp_path):
        with refused(str(path)):
            read_image(path)


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(saved("PNG"))
    return path


def linked(root: Path, name: str, target: str | Path, folder: bool = False) -> None:
    (root / name).symlink_to(target, target_is_directory=folder)


FOLDERS: dict[str, tuple[Callable[[Path, Path], object], str]] = {  # what lies beside a picture, and what is said of it
    "a link to a file outside": (lambda root, out: linked(root, "y.png", image(out / "y.png")), r"y\.png"),
    "a link to the password file": (lambda root, out: linked(root, "y.png", "/etc/passwd"), r"y\.png"),
    "a relative link upwards": (lambda root, out: linked(root, "y.png", "../out/y.png"), r"y\.png"),
    "a link to nowhere": (lambda root, out: linked(root, "y.png", root / "none.png"), r"y\.png"),
    "a link to itself": (lambda root, out: linked(root, "y.png", root / "y.png"), r"y\.png"),
    "a link to a folder": (lambda root, out: linked(root, "cat", out, folder=True), r"\bcat\b"),
    "a link to the root": (lambda root, out: linked(root, "cat", "/", folder=True), r"\bcat\b"),
    "a link to the folder itself": (lambda root, out: linked(root, "cat", ".", folder=True), r"\bcat\b"),
    "a name of two lines": (lambda root, out: image(root / "a\nb.png"), "control characters"),
    "a class of two lines": (lambda root, out: image(root / "a\nb" / "x.png"), "control characters"),
    "a name that steers a terminal": (lambda root, out: image(root / "\x1b[2J.png"), "control characters"),
    "a name that is not Unicode": (lambda root, out: image(root / "\udcff.png"), "control characters"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder(tmp_path: Path, name: str):
    (tmp_path / "out").mkdir()
    image(tmp_path / "root" / "x.png")
    FOLDERS[name][0](tmp_path / "root", tmp_path / "out")
    with refused(FOLDERS[name][1], tmp_path):
        open_dataset(f"folder:{tmp_path / 'root'}")


def test_links_within_the_folder_and_a_folder_that_is_a_link_are_read(tmp_path: Path):
    image(tmp_path / "root" / "a" / "x.png")
    (tmp_path / "root" / "b").mkdir()
    linked(tmp_path / "root" / "b", "y.png", "../a/x.png")
    linked(tmp_path / "root" / "b", "notes.txt", "/etc/passwd")  # left out, as any other kind of file
    linked(tmp_path, "link", "root", folder=True)
    for root in ("root", "link"):
        assert open_dataset(f"folder:{tmp_path / root}").class_names == ("a", "b")


NAMES = ["../x", "../../etc/passwd", "/etc/passwd", "a/../../b", "ns:thing", "huggingface:glue", "kaggle:x/y:1.0.0"]
NAMES += ["x/..", "digits/../..", "digits/data_dir=..", "https://host/x", "gs://bucket/x", "file:///etc", "~/x", "x\ny"]
NAMES += ["x\0", "digits:1.0.0/../..", "x" * 10**6, "folder:" + "x" * 10**5, "folder:x\0y", "folder:~nobody-here/x"]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name[:30]))
def test_a_name(tmp_path: Path, name: str):
    with refused("^(data set|folder:)", tmp_path):
        open_dataset(name, tmp_path)


@pytest.mark.parametrize("folder", ["gs://bucket/sets", "s3://bucket", "https://host/sets", "file:///sets"])
def test_a_folder_of_another_machine(folder: str):
    with refused(rf"^data\.dir: .*'{folder}'"):
        open_dataset("digits", folder)


FEATURES, INFO = "features.json", "dataset_info.json"
EVIL = {"pythonClassName": "harm.Feature", "jsonFeature": {"json": "{}"}}
LEGACY = {"type": "harm.Feature", "content": {}}


def feature(**changes: Any) -> Callable[[Path], None]:
    """Puts other features beside, or in the place of, those of the set."""
    return edited(FEATURES, lambda fields: fields["featuresDict"]["features"].update(changes))


def edited(file: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        fields = json.loads((folder / file).read_text())
        change(fields)
        (folder / file).write_text(json.dumps(fields))

    return edit


def split(**changes: Any) -> Callable[[Path], None]:
    return edited(INFO, lambda fields: fields["splits"][0].update(changes))


def written(file: str, data: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_bytes(data)

    return write


def pixels(*sizes: int) -> dict[str, Any]:
    tensor = {"dtype": "uint8", "encoding": "none", "shape": {"dimensions": [str(size) for size in sizes]}}
    return {"pythonClassName": "tensorflow_datasets.core.features.tensor_feature.Tensor", "tensor": tensor}


def classes(count: int) -> dict[str, Any]:
    kind = "tensorflow_datasets.core.features.class_label_feature.ClassLabel"
    return {"pythonClassName": kind, "classLabel": {"numClasses": str(count)}}


def shards(data: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for path in folder.glob("*.array_record*"):
            path.write_bytes(data)

    return write


def moved(folder: Path) -> None:
    """The shard of the training split is a link to its like outside."""
    (path,) = folder.glob("*train*")
    path.rename(folder.parents[2] / path.name)
    path.symlink_to(folder.parents[2] / path.name)


RUNS = "run code"  # the one refusal that is no mere damage
NOISE = np.random.default_rng(0).bytes(200_000)
SETS: dict[str, tuple[Callable[[Path], None], str]] = {  # what is done to a prepared set, and what is said of it
    "a class of another module": (feature(other=EVIL), RUNS),
    "a class that is the whole": (written(FEATURES, json.dumps(EVIL).encode()), RUNS),
    "a class in the old form": (feature(other=LEGACY), RUNS),
    "the whole in the old form": (written(FEATURES, json.dumps(LEGACY).encode()), RUNS),
    "a class deep within": (feature(other={"sequence": {"feature": {"sequence": {"feature": EVIL}}}}), RUNS),
    "a class within a string": (feature(other={"jsonFeature": {"json": json.dumps({"a": LEGACY})}}), RUNS),
    "a class that looks like theirs": (feature(other={"pythonClassName": "tensorflow_datasets_harm.core.X"}), RUNS),
    "a module of theirs that is no feature": (
        feature(other={"pythonClassName": "tensorflow_datasets.scripts.X"}),
        RUNS,
    ),
    "files above": (split(filepathTemplate="../../{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"), ""),
    "files elsewhere": (split(filepathTemplate="/etc/{SPLIT}"), ""),
    "a split that is a path": (split(name="x/../../../x"), ""),
    "a shard that is a link": (moved, ""),
    "an array too large": (feature(image=pixels(100_000, 100_000, 1)), ""),
    "an array larger than its record": (feature(image=pixels(2000, 2000, 1)), ""),
    "an array of nothing": (feature(image=pixels(0, 0, 1)), ""),
    "numbers beyond a byte": (feature(image=pixels(8, 8, 2**40)), "8-bit"),
    "more examples than bytes": (split(shardLengths=["1000000000000"]), "1,?000,?000,?000,?000"),
    "fewer examples than none": (split(shardLengths=["-5"]), ""),
    "classes without end": (feature(label=classes(10**12)), "1,048,576"),
    "a class that steers a terminal": (written("label.labels.txt", b"a\x1b[2J\nb\nc"), "control characters"),
    "a class that is a book": (written("label.labels.txt", b"x" * 10**6), "255"),
    "no JSON": (written(FEATURES, b"{"), "JSON"),
    "JSON without end": (written(FEATURES, b"[" * 10**6), "JSON"),
    "much JSON": (written(INFO, b" " * 10**7 + b"{}"), "4,194,304"),
    "other JSON": (written(INFO, b'{"splits": 3}'), ""),
    "levels that are no number": (written("metadata.json", b'{"levels": "__import__(0)"}'), "256"),
    "garbage for records": (shards(NOISE), ""),
    "no records": (shards(b""), ""),
}


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A little set that TFDS has no code for, so that its files alone say what it is; `harm` could be imported."""
    open_dataset("digits", tmp_path / "sets")
    (tmp_path / "sets" / "digits").rename(tmp_path / "sets" / "little")
    folder = tmp_path / "sets" / "little" / "1.0.0"
    for path in folder.glob("digits-*"):
        path.rename(folder / path.name.replace("digits", "little"))
    edited(INFO, lambda fields: fields.update(name="little", splits=fields["splits"]))(folder)
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "harm.py").write_text("raise SystemExit('harm')")
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    return folder


@pytest.mark.parametrize("name", SETS)
def test_a_prepared_set(tmp_path: Path, prepared: Path, name: str):
    open_dataset("little", tmp_path / "sets").arrays("train")
    SETS[name][0](prepared)
    for named in ("little", "little:1.0.0"):
        with refused(f"(little|{re.escape(str(prepared))}).*({SETS[name][1]})", tmp_path):
            open_dataset(named, tmp_path / "sets").arrays("train")


def test_a_default_configuration_that_is_a_path(tmp_path: Path, prepared: Path):
    written("../.config/metadata.json", b'{"default_config_name": "../../elsewhere"}')(prepared)
    with refused("default|name", tmp_path):
        open_dataset("little", tmp_path / "sets")


def test_classes_that_look_like_paths_are_names_and_nothing_else(tmp_path: Path, prepared: Path):
    names = ["../../x", "/etc/passwd", "..", "~", "a/b", "$(touch harm)", "%s", "{0}", "<b>", "e"]
    written("label.labels.txt", "\n".join(names).encode())(prepared)
    before = set(tmp_path.rglob("*"))
    little = open_dataset("little", tmp_path / "sets")
    little.arrays("train")
    assert little.class_names == tuple(names)
    assert set(tmp_path.rglob("*")) == before
