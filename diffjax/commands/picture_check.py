"""What `train.py --check` says of the pictures of a run: all that cannot be read, duplicates, examples, two sheets."""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

import numpy as np
from absl import flags
from jaxtyping import Int64, UInt8

from diffjax.commands.flags import folder_flag
from diffjax.data import Dataset, picture_index, unreadable
from diffjax.data.datasets import FOLDER_PREFIX
from diffjax.data.duplicates import Pairs, find_duplicates
from diffjax.data.generated_split import GeneratedSplit
from diffjax.data.picture_index import PictureIndex
from diffjax.data.pictures import MAX_NAMED, check_readable
from diffjax.data.splits import PictureFiles, Split
from diffjax.evaluation import as_bytes
from diffjax.reports import grid, side_by_side, write_png
from diffjax.utils.files import check_writable
from diffjax.utils.image_folder import list_folder

MAX_SHEET = 64  # pictures of the contact sheet
MAX_PAIRS = 16  # in the sheet of duplicates
MAX_SHEET_VALUES = 2**26  # numbers of all pictures of a sheet: larger ones are fewer
COLUMNS = 8
MAX_LETTERS = 60  # of a text that an example shows


def sheet_folder() -> Path | None:
    """The folder of --check_out, if any. Raises UserError for one that cannot be written."""
    if flags.FLAGS.check_out is None:
        return None
    folder = folder_flag("check_out")
    check_writable(folder, "--check_out")
    return folder


def decode_folder(name: str, follow_links: bool) -> None:
    """Decode all pictures of the data set of that name, if it is a folder, and remember which can be read.

    What opens the folder later on names all files that cannot be, and finds duplicates, without decoding any again.
    """
    if name.startswith(FOLDER_PREFIX):
        listing = list_folder(name.removeprefix(FOLDER_PREFIX), name, follow_links)
        picture_index.decode_all(picture_index.open_index(listing.root, listing.files))


def describe_pictures(dataset: Dataset, out: Path | None) -> list[str]:
    """Duplicates among the files of a folder, and examples of the conditions, a line each; `out`: where sheets go.

    Raises UserError for files that cannot be read.
    """
    lines = []
    pairs = None
    if dataset.files is not None:
        index = picture_index.decode_all(PictureIndex(*dataset.files, problems={}), remember=False)
        check_readable(index, dataset.name, unreadable.refuse)  # of files that were changed just now, not known before
        pairs = find_duplicates(index.rows)
        lines.append(f"duplicates:  {_describe_pairs(dataset, dataset.files, pairs)}")
    lines.append(f"examples:    {'; '.join(_describe_examples(dataset))}")
    if out is not None:
        lines += [f"written:     {path}" for path in _write_sheets(dataset, pairs, out)]
    return lines


def _describe_pairs(dataset: Dataset, files: PictureFiles, pairs: Pairs) -> str:
    """The numbers of pairs, and the first three."""
    if not len(pairs.exact):
        return "none"
    splits, labels = _splits_and_labels(dataset, len(files.files))
    across = int((splits[pairs.first] != splits[pairs.second]).sum())
    mislabelled = int((labels[pairs.first] != labels[pairs.second]).sum())
    names = list(dataset.splits)
    examples = [
        f"{files.files[first]} ({names[splits[first]]}) {'=' if exact else '~'} "
        f"{files.files[second]} ({names[splits[second]]})"
        for first, second, exact in zip(*(column[:MAX_NAMED].tolist() for column in pairs), strict=True)
    ]
    exact = int(pairs.exact.sum())
    counts = f"{exact:,} exact (=) and {len(pairs.exact) - exact:,} near (~) pairs, {across:,} across splits"
    of_classes = f", {mislabelled:,} of two classes" if mislabelled else ""
    more = ", …" * (len(pairs.exact) > MAX_NAMED)
    return f"{counts}{of_classes}: {', '.join(examples)}{more}; data.duplicates='once()' keeps one of each"


def _splits_and_labels(dataset: Dataset, count: int) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """The number of the split, and the class, of each file."""
    splits = np.zeros(count, np.int64)
    labels = np.zeros(count, np.int64)
    for number, split in enumerate(dataset.splits.values()):
        if isinstance(split, Split):
            splits[split.ids] = number
            labels[split.ids] = split.labels()
    return splits, labels


def _describe_examples(dataset: Dataset) -> list[str]:
    """The conditions of three training examples, evenly spaced."""
    source = dataset.split("train")
    rows = np.unique(np.linspace(0, len(source) - 1, MAX_NAMED).round().astype(int))
    return [_describe_example(dataset, source, int(row)) for row in rows]


def _describe_example(dataset: Dataset, source: Split | GeneratedSplit, row: int) -> str:
    name = f"image {row}"
    if dataset.files is not None and isinstance(source, Split):
        name = str(dataset.files.files[int(source.ids[row])])
    label = int(source[row]["label"])
    values: Mapping[str, object] = {key: source.features(row).get(key) for key in dataset.features}
    parts = [f"class {dataset.class_names[label]!r}"] if dataset.classes else []
    parts += [f"{key} {_describe_value(value)}" for key, value in values.items()]
    return f"{name}: {', '.join(parts) or 'unconditional'}"


def _describe_value(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return repr(value if len(value) <= MAX_LETTERS else f"{value[:MAX_LETTERS]}…")
    array = np.asarray(value)
    return f"{array.dtype} {list(array.shape)}" if array.ndim else f"{array}"


def _write_sheets(dataset: Dataset, pairs: Pairs | None, out: Path) -> list[Path]:
    """A sheet of training pictures, and one of duplicates if there are any; their paths."""
    if not dataset.has_levels or len(dataset.shape) != 3 or dataset.shape[-1] not in (1, 3):
        return []
    source = dataset.split("train")
    limit = max(1, MAX_SHEET_VALUES // prod(dataset.shape))
    rows = np.unique(np.linspace(0, len(source) - 1, min(MAX_SHEET, limit, len(source))).round().astype(int))
    paths = [out / "contact_sheet.png"]
    write_png(paths[0], grid(_pixels(dataset, [source[int(row)]["image"] for row in rows]), COLUMNS))
    if pairs is not None and len(pairs.exact):
        whole = next(split for split in dataset.splits.values() if isinstance(split, Split))
        count = min(MAX_PAIRS, limit)
        columns = (pairs.first[:count].tolist(), pairs.second[:count].tolist())
        first, second = (_pixels(dataset, [whole.pixels(number) for number in column]) for column in columns)
        paths.append(out / "duplicates.png")
        write_png(paths[1], side_by_side(first, second, COLUMNS, names=("picture", "duplicate")))
    return paths


def _pixels(dataset: Dataset, images: Sequence[np.ndarray]) -> UInt8[np.ndarray, "n h w c"]:
    return as_bytes(np.stack(images), dataset.levels)
