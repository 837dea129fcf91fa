"""TFDS data sets, read from array_record files without TensorFlow."""

import difflib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from diffjax.data.prepare import prepare_once
from diffjax.data.splits import Dataset, Split, carve
from diffjax.errors import UserError
from diffjax.images import MODES, decode_bytes


def open_prepared(name: str, data_dir: str | Path | None = None, image_size: int | None = None) -> Dataset:
    """A TFDS image set that has been prepared as array_record, or that prepares itself on first use.

    Pixels have the `levels` that the builder's metadata record, else 256. A missing test split, then a missing
    validation split, is cut off the end of train, a tenth of it each. Raises `UserError` for a set that is unknown,
    not prepared, damaged, or has no 8-bit images.
    """
    builder = _builder(name, data_dir)
    if getattr(builder, "PREPARES_ITSELF", False):
        prepare_once(type(builder), data_dir)
        builder = _builder(name, data_dir)
    _require_prepared(builder, name, data_dir)
    image, label = _keys(builder, name)
    shape = _shape(builder.info.features[image], name, image_size)
    names = _class_names(builder, label)
    encoded = isinstance(builder.info.features[image], tfds.features.Image)
    decode = partial(_decoded, shape, image_size) if encoded else _stored
    splits = _splits(builder, image, label if names else None, decode)
    levels = int((builder.info.metadata or {}).get("levels", 256))
    return Dataset(name, shape, len(names), names, levels, splits)


def _builder(name: str, data_dir: str | Path | None) -> Any:
    try:
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        close = difflib.get_close_matches(name, tfds.list_builders(with_community_datasets=False))
        hint = f" (close names: {', '.join(close)})" if close else ""
        raise UserError(f"data set {name!r}: TFDS has none of that name{hint}; or give folder:PATH") from error
    except (ValueError, AssertionError, TypeError, ImportError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"data set {name!r}: TFDS cannot open it ({reason}); write name[/config][:version]") from error


def _require_prepared(builder: Any, name: str, data_dir: str | Path | None) -> None:
    """Raises `UserError`, with the command that mends it, unless all files of the set are there as array_record."""
    where = f", data_dir={str(data_dir)!r}" if data_dir else ""
    call = f"tfds.builder({name!r}{where}).download_and_prepare(file_format='array_record')"
    command = f"pip install 'diffjax[prepare]' && python -c \"import tensorflow_datasets as tfds; {call}\""
    splits, path = builder.info.splits, builder.data_path
    if not splits:
        raise UserError(f"data set {name!r} is not prepared in {path}; run: {command}")
    if tfds.core.FileFormat.ARRAY_RECORD not in builder.info.available_file_formats():
        found = builder.info.file_format.value
        raise UserError(f"data set {name!r} is prepared as {found}, not array_record; delete {path} and run: {command}")
    missing = [file for split in splits.values() for file in split.filepaths if not file.exists()]
    if missing:
        raise UserError(f"data set {name!r} is damaged: {missing[0]} is missing; delete {path} and prepare it again")
    if "train" not in splits:
        raise UserError(f"data set {name!r} has no split 'train' (it has {', '.join(splits)}); use another set")


def _keys(builder: Any, name: str) -> tuple[str, str | None]:
    """The names of the feature that is the image, and of the one that is the class, if any."""
    features, pair = builder.info.features, builder.info.supervised_keys or ()
    image = next((key for key in ("image", *pair[:1]) if isinstance(key, str) and key in features), None)
    if image is None or not isinstance(features[image], (tfds.features.Image, tfds.features.Tensor)):
        raise UserError(f"data set {name!r}: no image among its features ({', '.join(features)}); use an image set")
    wanted = [key for key in ("label", *pair[1:2]) if isinstance(key, str) and key in features]
    return image, next((key for key in wanted if isinstance(features[key], tfds.features.ClassLabel)), None)


def _shape(feature: Any, name: str, image_size: int | None) -> tuple[int, int, int]:
    """(h, w, c) of the decoded image."""
    shape, encoded = feature.shape, isinstance(feature, tfds.features.Image)
    if feature.np_dtype != np.uint8 or len(shape) != 3 or shape[2] not in MODES:
        raise UserError(f"data set {name!r}: expected 8-bit images [h, w, 1, 3 or 4], got {feature.np_dtype} {shape}")
    if image_size and encoded:
        return image_size, image_size, shape[2]
    if image_size and shape[:2] != (image_size, image_size):
        raise UserError(f"data set {name!r}: its arrays are {shape[1]}x{shape[0]} and are not scaled; drop image_size")
    if None in shape:
        raise UserError(f"data set {name!r}: its images differ in size; give image_size to crop and scale all to one")
    return shape


def _class_names(builder: Any, label: str | None) -> tuple[str, ...]:
    return tuple(builder.info.features[label].names or ()) if label else ()


def _splits(builder: Any, image: str, label: str | None, decode: Callable[[Any, str], np.ndarray]) -> dict[str, Split]:
    """All splits of the set; images stay encoded until they are asked for, and are decoded by Pillow alone."""
    kinds = builder.info.features.items()
    skip = {key: tfds.decode.SkipDecoding() for key, kind in kinds if isinstance(kind, tfds.features.Image)}
    splits = {}
    for name in builder.info.splits:
        source = builder.as_data_source(name, decoders=skip or None)
        fetch = partial(_fetch, source, f"{builder.data_path}, split {name!r}", image, label, decode)
        splits[name] = Split(np.arange(len(source)), fetch)
    return carve(splits)


def _fetch(
    source: Any, where: str, image: str, label: str | None, decode: Callable[[Any, str], np.ndarray], index: int
) -> tuple[Callable[[], np.ndarray], int]:
    try:
        record = source[index]
        pixels, number = record[image], record[label] if label else 0
    except (RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{where} is damaged ({reason}); delete the folder and prepare it again") from error
    if pixels is None or number is None:  # what array_record and TFDS make of a file that was cut short
        raise UserError(f"{where} is damaged (record {index} is empty); delete the folder and prepare it again")
    return partial(decode, pixels, f"{where}, record {index}"), number


def _stored(array: np.ndarray, name: str) -> np.ndarray:
    """A record that holds the pixels themselves."""
    return array


def _decoded(shape: tuple[int, int, int], image_size: int | None, data: bytes, name: str) -> np.ndarray:
    """A record that holds an encoded image."""
    image = decode_bytes(data, shape[2], image_size, name)
    if image.shape != shape:
        raise UserError(f"{name}: expected an image of shape {shape}, got {image.shape}; prepare the set again")
    return image
