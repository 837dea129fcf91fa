"""One name for every data set."""

from pathlib import Path

from diffjax.data import split_rules
from diffjax.data.folder import open_folder
from diffjax.data.split_rules import SplitRule
from diffjax.data.splits import Dataset
from diffjax.data.synthetic_shapes import PREFIX, open_known
from diffjax.data.tfds_source import open_prepared
from diffjax.errors import UserError

_FOLDER_PREFIX = "folder:"


def open_dataset(
    name: str,
    data_dir: str | Path | None = None,
    *,
    image_size: int | None = None,
    rule: SplitRule = split_rules.by_key,
) -> Dataset:
    """The data set of that name: `folder:PATH`, `known16` (pictures of a known law, so many pixels a side), or a TFDS
    name such as `digits`, `mnist`, `imagenet_resized/32x32`.

    `data_dir` is TFDS's own folder (by default TFDS_DATA_DIR, else ~/tensorflow_datasets). `image_size` in pixels
    crops every encoded image to its centred square and scales it. `rule` divides what the set itself does not
    (`data.split_rules`).
    Raises `UserError` for a set that cannot be read.
    """
    if image_size is not None and image_size < 1:
        raise UserError(f"image_size: expected at least 1 pixel, got {image_size}; leave it out to keep the sizes")
    if name.startswith(_FOLDER_PREFIX):
        return open_folder(name.removeprefix(_FOLDER_PREFIX), image_size, rule)
    if name.removeprefix(PREFIX).isdecimal():
        return open_known(name, image_size)
    return open_prepared(name, data_dir, image_size, rule)
