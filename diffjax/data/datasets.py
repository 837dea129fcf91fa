"""Data sets by name."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from diffjax.data import autoregressive, split_rules
from diffjax.data.array_source import open_array
from diffjax.data.fits import Fit, crop
from diffjax.data.folder import open_folder
from diffjax.data.framing import Frame, ImageSize, read_image_size
from diffjax.data.hf_source import open_hf
from diffjax.data.pictures import DEFAULT_RULES, PictureRules
from diffjax.data.shards import open_shards
from diffjax.data.split_rules import SplitRule
from diffjax.data.splits import Dataset
from diffjax.data.synthetic_shapes import PREFIX, open_known
from diffjax.errors import UserError

FOLDER_PREFIX = "folder:"


class Columns(NamedTuple):
    """The names of what a source holds as images and as classes; empty: as its convention has it."""

    image: str = ""
    label: str = ""


BY_CONVENTION = Columns()


class Options(NamedTuple):
    """How a source is read: see `open_dataset`."""

    columns: Columns
    frame: Frame
    rule: SplitRule
    pictures: PictureRules
    data_dir: str | Path | None


def _open_folder(path: str, options: Options) -> Dataset:
    columns = options.columns
    if columns.image:
        raise UserError(f"data.image: a folder has its pictures as files, and no {columns.image!r}; leave it out")
    return open_folder(path, options.frame, options.rule, columns.label, options.pictures)


def _open_shards(pattern: str, options: Options) -> Dataset:
    columns = options.columns
    return open_shards(pattern, options.frame, options.rule, image=columns.image, label=columns.label)


def _open_array(path: str, options: Options) -> Dataset:
    columns = options.columns
    return open_array(path, options.frame, options.rule, image=columns.image, label=columns.label)


def _open_hf(name: str, options: Options) -> Dataset:
    columns = options.columns
    return open_hf(name, options.frame, options.rule, image=columns.image, label=columns.label)


def _open_photos(rest: str, options: Options) -> Dataset:
    from diffjax.data.photo_patches import open_photos  # loads TFDS, which folders do not need

    _refuse_columns("photos", options.columns)
    return open_photos(options.data_dir, options.frame)


def _open_ar_process(rest: str, options: Options) -> Dataset:
    _refuse_columns(autoregressive.NAME, options.columns)
    return autoregressive.open_ar_process(options.frame.size)


OPENERS: Mapping[str, Callable[[str, Options], Dataset]] = {
    FOLDER_PREFIX: _open_folder,
    "array:": _open_array,
    "shards:": _open_shards,
    "hf:": _open_hf,
    "photos": _open_photos,
    autoregressive.NAME: _open_ar_process,
}
"""How a source is opened, by what its name begins with."""


def _check_rules(name: str, rules: PictureRules) -> None:
    """Raises `UserError` for a rule on the files of a folder, where there is none."""
    differing = [field for field, value in vars(rules).items() if value != vars(DEFAULT_RULES)[field]]
    if differing:
        raise UserError(f"data.{differing[0]}: is for the files of folder:PATH, and not for {name!r}; leave it out")


def open_dataset(
    name: str,
    data_dir: str | Path | None = None,
    *,
    image_size: ImageSize = None,
    fit: Fit | None = None,
    rule: SplitRule = split_rules.by_key,
    columns: Columns = BY_CONVENTION,
    pictures: PictureRules = DEFAULT_RULES,
) -> Dataset:
    """The data set of a name.

    `name` is `folder:PATH`, a folder of images; `array:FILE`, an .npy or .npz; `shards:PATTERN`, tar files in the
    WebDataset format; `hf:PATH_OR_NAME`, a set of Hugging Face; `photos`, patches of the photographs that come with
    scikit-image; `known16`, synthetic images of 16 × 16 pixels (or 8 … 64) whose distribution is known; `ar_process`,
    signals of an autoregressive process; or a TFDS name, such as `digits`, `faces25`, `mnist` or
    `imagenet_resized/32x32`.
    `data_dir` is the folder of TFDS sets, by default TFDS_DATA_DIR, else ~/tensorflow_datasets. Encoded images and
    arrays of bytes are brought to `image_size`, the side of a square, (height, width) or
    `data.aspect_buckets.buckets(…)`, by the `fit` of `data.fits`, a crop; by default they keep their size.
    `rule` assigns images to the splits that a set does not define (`data.split_rules`). `columns` names the images and
    classes of a source that calls them by names of its own.
    `pictures` say how the files of a folder are read, and which of them are used.

    Raises UserError for an image size below 1, and for a set that is unknown or cannot be read.
    """
    frame = Frame(read_image_size(image_size), fit or crop())
    if fit is not None and image_size is None:
        raise UserError("data.fit: pictures keep their own size, so there is nothing to fit; set data.image_size")
    kind, colon, rest = name.partition(":")
    if kind + colon != FOLDER_PREFIX:
        _check_rules(name, pictures)
    if fit is not None and (name == "photos" or name.removeprefix(PREFIX).isdecimal()):
        raise UserError(f"data.fit: the pictures of {name!r} are made in their size; leave it out")
    if kind + colon in OPENERS:
        return OPENERS[kind + colon](rest, Options(columns, frame, rule, pictures, data_dir))
    _refuse_columns(name, columns)
    if name.removeprefix(PREFIX).isdecimal():
        return open_known(name, frame.size)
    from diffjax.data.tfds_source import open_prepared  # loads TFDS, which folders do not need

    return open_prepared(name, data_dir, frame, rule)


def _refuse_columns(name: str, columns: Columns) -> None:
    if columns.image or columns.label:
        field = "image" if columns.image else "label"
        problem = f"{name!r} says itself what its images and classes are"
        raise UserError(f"data.{field}: {problem}; leave it out, or give a source such as folder:PATH")
