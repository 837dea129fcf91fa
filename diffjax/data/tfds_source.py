"""TFDS data sets, read from array_record files without TensorFlow."""

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from diffjax.data import digits as digits  # importing a builder registers it with TFDS
from diffjax.data import faces25 as faces25
from diffjax.data import photos as photos
from diffjax.data import split_rules, tfds_validation
from diffjax.data.class_names import MAX_CLASSES, check_class_names
from diffjax.data.examples import Feature
from diffjax.data.framing import OWN_SIZE, Frame
from diffjax.data.prepare import prepare_once
from diffjax.data.split_rules import SplitRule
from diffjax.data.splits import Dataset, Split, complete_splits
from diffjax.data.tfds_framing import ImageFeature, Records, check_image, frame_records
from diffjax.errors import UserError
from diffjax.utils.files import describe_error
from diffjax.utils.image_fit import Place
from diffjax.utils.image_io import decode_bytes

Builder = Any  # tfds.core.DatasetBuilder and its features, whose annotations a type checker cannot follow
Record = Mapping[str, Any]  # by the names of features
Source = Any  # TFDS's data source; checking the type of its items would read one

ARRAY_RECORD = tfds.core.FileFormat.ARRAY_RECORD
_MAX_SHOWN = 160  # letters of another library's message that ours quote


def open_prepared(
    name: str, data_dir: str | Path | None = None, frame: Frame = OWN_SIZE, rule: SplitRule = split_rules.by_key
) -> Dataset:
    """A TFDS image set that is prepared as array_record, or that prepares itself on first use.

    Pixels have the `levels` of the builder's metadata, else 256. A missing test or validation split is a tenth of train
    by the `rule`; `by_key` reads train once, since a record's key is the hash of its image. Raises `UserError` for a
    set that is unknown, not prepared, damaged, or without 8-bit images, or would run code or read outside its folder.
    """
    with user_error_on_failure(name):
        builder = open_builder(name, data_dir)
        key, label = _image_and_label_keys(builder, name)
        kind = builder.info.features[key]
        image = ImageFeature(key, kind, isinstance(kind, tfds.features.Image), _levels(builder, name))
        check_image(image, name, frame)
        names = _class_names(builder, label, name)
        splits, notes = _splits(builder, image, label if names else None, frame, rule)
        further = _features(builder, {key, label if names else None})
        framing = splits["train"].framing
        shape = kind.shape if framing is None else (*framing.size, image.channels)
        return Dataset(
            name, shape, len(names), names, image.levels, splits, features=further, notes=notes, framing=framing
        )


def find_builder(name: str, data_dir: str | Path | None = None) -> Builder:
    """The builder of a set, validated, whether or not it is prepared. Raises `UserError` if there is none."""
    tfds_validation.check_name(name)
    with user_error_on_failure(name):
        tfds_validation.check_metadata(name, data_dir)
        return _find_builder(name, data_dir)


def open_builder(name: str, data_dir: str | Path | None = None) -> Builder:
    """The builder of a set, validated and prepared. Raises `UserError` if it cannot be."""
    builder = find_builder(name, data_dir)
    with user_error_on_failure(name):
        if getattr(builder, "PREPARES_ITSELF", False):
            prepare_once(type(builder), data_dir)
            builder = _find_builder(name, data_dir)
        _require_prepared(builder, name, data_dir)
        return builder


@contextmanager
def user_error_on_failure(name: str) -> Iterator[None]:
    """Turns any error of TFDS on a damaged set into a `UserError` that names the set."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        problem = f"TFDS cannot read it ({describe_error(error)[:_MAX_SHOWN]}); delete its folder and prepare it again"
        raise UserError(f"data set {name!r}: {problem}") from error


def _find_builder(name: str, data_dir: str | Path | None) -> Builder:
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        _restore_formats(builder)
        return builder
    except tfds.core.DatasetNotFoundError as error:
        similar = difflib.get_close_matches(name, tfds.list_builders(with_community_datasets=False))
        hint = f" (close names: {', '.join(similar)})" if similar else ""
        raise UserError(f"data set {name!r}: TFDS has none of that name{hint}; or give folder:PATH") from error
    except (ValueError, AssertionError, TypeError, ImportError) as error:
        problem = f"TFDS cannot open it ({describe_error(error)[:_MAX_SHOWN]}); write name[/config][:version]"
        raise UserError(f"data set {name!r}: {problem}") from error


def _restore_formats(builder: Builder) -> None:
    """The formats of files beside the first, which TFDS reads of a set without a builder class alone."""
    for value in dict.fromkeys(builder.info.as_proto.alternative_file_formats):
        if tfds.core.FileFormat.from_value(value) not in builder.info.available_file_formats():
            builder.info.add_alternative_file_format(value)


def _require_prepared(builder: Builder, name: str, data_dir: str | Path | None) -> None:
    """Raises `UserError`, with the command to run, unless all files of the set exist as array_record."""
    location = f", data_dir={str(data_dir)!r}" if data_dir else ""
    call = f"tfds.builder({name!r}{location}).download_and_prepare(file_format='array_record')"
    command = f"pip install 'diffjax[prepare]' && python -c \"import tensorflow_datasets as tfds; {call}\""
    splits = builder.info.splits
    path = builder.data_path
    if not splits:
        raise UserError(f"data set {name!r} is not prepared in {path}; run: {command}")
    if ARRAY_RECORD not in builder.info.available_file_formats():
        problem = f"is prepared as {builder.info.file_format.value}, not array_record"
        where = f" --data_dir {data_dir}" if data_dir else ""
        convert = f"python -m diffjax.commands.convert --data {name}{where}"
        raise UserError(
            f"data set {name!r} {problem}; convert it where it is: pip install 'diffjax[prepare]' && {convert}"
        )
    if builder.info.file_format != ARRAY_RECORD:  # it has files of both
        builder.info.set_file_format(ARRAY_RECORD, override=True, override_if_initialized=True)
    tfds_validation.check_files(builder, name)
    if "train" not in splits:
        raise UserError(f"data set {name!r} has no split 'train' (it has {', '.join(splits)}); use another set")


def _image_and_label_keys(builder: Builder, name: str) -> tuple[str, str | None]:
    """The names of the image feature, and of the class feature, if any."""
    features = builder.info.features
    pair = builder.info.supervised_keys or ()
    image = next((key for key in ("image", *pair[:1]) if isinstance(key, str) and key in features), None)
    if image is None or not isinstance(features[image], (tfds.features.Image, tfds.features.Tensor)):
        raise UserError(f"data set {name!r}: no image among its features ({', '.join(features)}); use an image set")
    label_keys = [key for key in ("label", *pair[1:2]) if isinstance(key, str) and key in features]
    return image, next((key for key in label_keys if isinstance(features[key], tfds.features.ClassLabel)), None)


def _class_names(builder: Builder, label: str | None, name: str) -> tuple[str, ...]:
    """The names of the classes; they are shown and compared, and never name a file."""
    count = (builder.info.features[label].num_classes or 0) if label else 0
    if not 0 <= count <= MAX_CLASSES:
        raise UserError(f"data set {name!r}: expected at most {MAX_CLASSES:,} classes, got {count:,}")
    names = tuple(builder.info.features[label].names) if count else ()
    check_class_names(names, f"data set {name!r}")
    return names


def _levels(builder: Builder, name: str) -> int:
    """How many values a pixel may take: what the builder's metadata say, else 256."""
    levels = (builder.info.metadata or {}).get("levels", 256)
    if type(levels) is not int or not 2 <= levels <= 256:
        raise UserError(f"data set {name!r}: expected 2 … 256 levels in its metadata, got {str(levels)[:_MAX_SHOWN]!r}")
    return levels


def _features(builder: Builder, excluded: set[str | None]) -> dict[str, Feature]:
    """The features beside image and class that are arrays of numbers, classes or texts."""
    kinds = {key: kind for key, kind in builder.info.features.items() if key not in excluded}
    plain = {key: kind for key, kind in kinds.items() if isinstance(kind, tfds.features.Tensor)}
    features = {key: _feature(kind) for key, kind in plain.items()}
    return {key: kind for key, kind in features.items() if kind.text or kind.dtype.kind in "biuf"}


def _feature(kind: Builder) -> Feature:
    shape = tuple(kind.shape)
    dtype = np.dtype(kind.np_dtype)
    classes = (isinstance(kind, tfds.features.ClassLabel) and kind.num_classes) or 0
    return Feature(shape, dtype, isinstance(kind, tfds.features.Text), classes)


def _splits(
    builder: Builder, image: ImageFeature, label: str | None, frame: Frame, rule: SplitRule
) -> tuple[dict[str, Split], tuple[str, ...]]:
    """All splits of the set, and notes; images stay encoded until they are read, and are decoded by Pillow alone."""
    kinds = builder.info.features.items()
    skip = {key: tfds.decode.SkipDecoding() for key, kind in kinds if isinstance(kind, tfds.features.Image)}
    splits = {}
    read = {}
    notes: tuple[str, ...] = ()
    for name in builder.info.splits:
        source = builder.as_data_source(name, decoders=skip or None)
        location = f"{builder.data_path}, split {name!r}"
        read[name] = partial(_read_record, source, location)
        framing = None
        if image.encoded:
            framing, lines = frame_records(frame, image, Records(read[name], len(source), location))
            notes = (*notes, *lines)
        fetch = partial(_fetch, source, location, (image.key, label), image.kind.shape)
        splits[name] = Split(np.arange(len(source)), fetch, read[name], framing=framing)
    missing = [name for name in split_rules.SPLIT_SHARES if name not in splits]
    if not missing:
        return splits, notes
    key = partial(_record_key, read["train"], image.key)
    return complete_splits(splits, rule.partition_train(len(splits["train"]), key, missing)), notes


def _record_key(stored: Callable[[int], Record], image: str, index: int) -> bytes:
    """The key of a record: the hash of its stored image, so that equal images are in one split."""
    pixels = stored(index).get(image)
    return sha256(pixels.tobytes() if isinstance(pixels, np.ndarray) else pixels or b"").digest()


def _fetch(
    source: Source, location: str, keys: tuple[str, str | None], shape: tuple[int | None, ...], index: int
) -> tuple[Callable[..., np.ndarray], int]:
    image, label = keys
    record = _read_record(source, location, index)
    pixels = record.get(image)
    number = record.get(label) if label else 0
    if pixels is None or number is None:  # what array_record and TFDS make of a file that was cut short
        raise UserError(f"{location} is damaged (record {index} is empty); delete the folder and prepare it again")
    return partial(_decode, pixels, shape, f"{location}, record {index}"), number


def _read_record(source: Source, location: str, index: int, place: Place | None = None) -> Record:
    try:
        return source[index]
    except Exception as error:  # damage leads array_record, protobuf and TFDS to errors of any kind
        problem = f"is damaged ({describe_error(error)[:_MAX_SHOWN]}); delete the folder and prepare it again"
        raise UserError(f"{location} {problem}") from error


def _decode(stored: Any, shape: tuple[int | None, ...], name: str, place: Place | None = None) -> np.ndarray:
    """The pixels of a record, which stores an encoded image, or an array."""
    if place is not None:
        return decode_bytes(stored, shape[2] or 3, place, name)
    if stored.shape != shape:
        raise UserError(f"{name}: expected an array of shape {shape}, got {stored.shape}; prepare the set again")
    return stored
