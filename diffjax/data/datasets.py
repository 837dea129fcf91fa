"""Data sets by name."""

from pathlib import Path

from diffjax.data import split_rules
from diffjax.data.folder import open_folder
from diffjax.data.pictures import DEFAULT_RULES, PictureRules
from diffjax.data.split_rules import SplitRule
from diffjax.data.splits import Dataset
from diffjax.data.synthetic_shapes import PREFIX, open_known
from diffjax.errors import UserError

FOLDER_PREFIX = "folder:"


def open_dataset(
    name: str,
    data_dir: str | Path | None = None,
    *,
    image_size: int | None = None,
    rule: SplitRule = split_rules.by_key,
    pictures: PictureRules = DEFAULT_RULES,
) -> Dataset:
    """The data set of a name.

    `name` is `folder:PATH`, a folder of images; `known16`, synthetic images of 16 × 16 pixels (or 8 … 64) whose
    distribution is known; or a TFDS name, such as `digits`, `mnist` or `imagenet_resized/32x32`. `data_dir` is the
    folder of TFDS sets, by default TFDS_DATA_DIR, else ~/tensorflow_datasets. `image_size`, at least 1 pixel, is the
    side to which the centred square of each encoded image is scaled; by default images keep their size. `rule` assigns
    images to the splits that a set does not define (`data.split_rules`). `pictures` say how the files of a folder are
    read, and which of them are used.

    Raises UserError for an image size below 1, and for a set that is unknown or cannot be read.
    """
    if image_size is not None and image_size < 1:
        raise UserError(f"image_size: expected at least 1 pixel, got {image_size}; leave it out to keep the sizes")
    if name.startswith(FOLDER_PREFIX):
        return open_folder(name.removeprefix(FOLDER_PREFIX), image_size, rule, pictures)
    if name.removeprefix(PREFIX).isdecimal():
        return open_known(name, image_size)
    from diffjax.data.tfds_source import open_prepared  # loads TFDS, which folders do not need

    return open_prepared(name, data_dir, image_size, rule)
