"""Stored latents of a data set: made once by a codec, so that training computes none.

A folder has latents.json, which says what they are of, and for each split an .npz (`data.array_source`) of latents,
classes and further features. Latents are the means of the codec's encoder, each channel less its mean over the training
pictures and divided by its standard deviation there.
"""

import json
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffjax.data.array_source import open_array
from diffjax.data.examples import Feature
from diffjax.data.pixel_representation import to_unit
from diffjax.data.splits import Dataset
from diffjax.errors import UserError
from diffjax.experiment.codec_record import CodecRecord, parse_codec_record
from diffjax.experiment.codecs import codec_hash
from diffjax.nets.autoencoder_kl import CHANNELS
from diffjax.parallel.batch_progress import BatchProgress
from diffjax.published.autoencoder_kl import Codec, encode
from diffjax.published.latent_scale import LatentScale
from diffjax.utils.files import describe_error, write_atomically
from diffjax.utils.image_io import format_size
from diffjax.utils.untrusted import read_json

ABOUT = "latents.json"
MAX_BYTES = 1_000_000  # of it
SPLITS = ("train", "validation", "test")
FIELDS = ("name", "image_size", "fit", "background")  # fields of a config's data on which the pictures depend
BATCH = 16  # pictures that are encoded at once
CHUNK = 1024  # latents that are normalised at once
FLIPPED = "flipped"  # the feature of mirrored pictures


Pictures = Mapping[str, str]  # the data set, and how its pictures are brought to a size


class StoredLatents(NamedTuple):
    """The data set of stored latents, and the codec that made them."""

    dataset: Dataset
    codec: CodecRecord


class _Encoded(NamedTuple):
    """The latents of a split in a file, and the sums of each channel and of its squares."""

    latents: np.memmap
    total: np.ndarray
    squares: np.ndarray


def picture_fields(data: Mapping[str, object]) -> Pictures:
    """Those fields of a config's data section on which the pictures depend."""
    return {name: str(data[name]) for name in FIELDS}


def write_latents(
    dataset: Dataset, pictures: Pictures, codec: Codec, source: str, out: Path, flips: bool = False
) -> None:
    """Store the latents of the splits of a data set of pictures, and what they are of, in a new folder.

    `pictures` are the fields that open the data set, and `source` is where the codec lies. With `flips` the
    training split has every picture twice, as it is and then mirrored. Raises UserError for pictures that are no RGB
    images, or whose sides do not divide by the codec's factor.
    """
    _check_pictures(dataset, codec)
    if (out / ABOUT).exists():
        raise UserError(f"--out {out}: holds latents already; delete it, or choose another folder")
    copies = {name: 1 + (flips and name == "train") for name in SPLITS if len(dataset.splits.get(name, ()))}
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".encoding-", dir=out) as scratch:
        encoded = {name: _encode_split(dataset, name, codec, Path(scratch), count) for name, count in copies.items()}
        mean, std = _statistics(encoded["train"])
        if not std.all():
            problem = f"a channel of its latents is constant over {dataset.name}"
            raise UserError(f"codec {source}: {problem}; train it longer")
        for name, part in encoded.items():
            for start in range(0, len(part.latents), CHUNK):
                rows = slice(start, start + CHUNK)
                part.latents[rows] = (part.latents[rows] - mean) / std
            columns = _columns(dataset, name, copies[name], flips)
            write_atomically(out / f"{name}.npz", partial(_write_arrays, {"image": part.latents, **columns}))
    statistics = tuple(mean.tolist()), tuple(std.tolist())
    record = CodecRecord(source, codec_hash(codec), codec.factor, *statistics, codec.latents.black)
    about = {"codec": record._asdict(), "data": {**pictures}, "flips": flips}
    text = json.dumps(about, indent=1) + "\n"
    write_atomically(out / ABOUT, lambda file: file.write(text.encode()))


def open_latents(folder: Path, pictures: Pictures) -> StoredLatents:
    """The stored latents in a folder. Raises UserError where they are damaged, or of other pictures."""
    folder = folder.expanduser()
    try:
        about = read_json(folder / ABOUT, MAX_BYTES)
        record = parse_codec_record([about["codec"][field] for field in CodecRecord._fields])
        stored_pictures = dict(about["data"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        problem = f"{folder / ABOUT} cannot be read as what diffjax encode wrote ({describe_error(error)[:120]})"
        raise UserError(f"data.latents: {problem}; make them by diffjax encode") from None
    assert record is not None
    for field, value in pictures.items():
        if stored_pictures.get(field) != value:
            problem = f"{folder} has latents of data.{field}={stored_pictures.get(field)!r:.80}, got {value!r}"
            raise UserError(f"data.latents: {problem}; set that, or make the latents again")
    return StoredLatents(open_array(str(folder)), record)


def _check_pictures(dataset: Dataset, codec: Codec) -> None:
    if len(dataset.shape) != 3 or dataset.shape[2] != CHANNELS or not dataset.has_levels:
        problem = f"holds arrays of shape {dataset.shape}, and codecs take RGB pictures"
        raise UserError(f"data set {dataset.name!r}: {problem}; use another set")
    if len(dataset.sizes) > 1 or any(side % codec.factor for side in dataset.shape[:2]):
        sizes = " and ".join(format_size(*size) for size in dataset.sizes[:3])
        raise UserError(f"data.image_size: latents need one size of sides that divide by {codec.factor}, got {sizes}")


def _statistics(train: _Encoded) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the standard deviation of each channel."""
    count = train.latents[..., 0].size
    mean = train.total / count
    return mean, np.sqrt(np.maximum(train.squares / count - mean**2, 0))


def _encode_split(dataset: Dataset, name: str, codec: Codec, scratch: Path, copies: int) -> _Encoded:
    """The latents of a split, of all pictures and then of all mirrored ones, in a file of their own for now."""
    count = len(dataset.splits[name])
    height, width = (side // codec.factor for side in dataset.shape[:2])
    shape = (copies * count, height, width, codec.channels)
    latents = np.lib.format.open_memmap(scratch / f"{name}.npy", "w+", np.float32, shape)
    total, squares = np.zeros(codec.channels), np.zeros(codec.channels)
    unscaled = replace(codec, latents=LatentScale(1.0, black=codec.latents.black))
    with BatchProgress(count) as progress:
        for start in range(0, count, BATCH):
            rows = np.arange(start, min(start + BATCH, count))
            images, _ = dataset.arrays(name, np.resize(rows, BATCH))  # one program serves the last ones too
            pixels = to_unit(images, dataset.levels)
            progress.begin(len(rows), compiles=start == 0)
            for copy, part in enumerate((pixels, pixels[:, :, ::-1])[:copies]):
                z = np.asarray(_encode(unscaled, jnp.asarray(part)))[: len(rows)]
                latents[copy * count + rows] = z
                total += z.sum((0, 1, 2), np.float64)
                squares += np.square(z, dtype=np.float64).sum((0, 1, 2))
            progress.end()
    return _Encoded(latents, total, squares)


_encode = jax.jit(encode)


def _write_arrays(arrays: Mapping[str, np.ndarray], file: BinaryIO) -> None:
    """An .npz, as `numpy.savez` writes it: stored, so that its arrays can be mapped."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _columns(dataset: Dataset, name: str, copies: int, flips: bool) -> dict[str, np.ndarray]:
    """The classes and the further features of a split, but for pictures, as arrays."""
    split = dataset.splits[name]
    features = {key: kind for key, kind in dataset.features.items() if not kind.picture}
    values: dict[str, list[object]] = {key: [] for key in features}
    for row in range(len(split) if features else 0):
        stored = split.features(row)
        for key, kind in features.items():
            values[key].append(_plain(stored[key], kind))
    columns = {key: np.concatenate(copies * [np.asarray(rows)]) for key, rows in values.items()}
    if dataset.classes:
        columns |= {"label": np.tile(split.labels(), copies), "class_names": np.asarray(dataset.class_names)}
    if flips:
        columns[FLIPPED] = np.arange(copies * len(split)) >= len(split)
    return columns


def _plain(value: object, kind: Feature) -> object:
    """A number, an array or a text; of a category its name."""
    if kind.text:
        return value.decode() if isinstance(value, bytes) else str(value)
    return kind.names[int(str(value))] if kind.names else value
