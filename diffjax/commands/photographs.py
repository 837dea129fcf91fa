"""Write the photographs of the data set photos as PNG files, for edits of whole pictures:

python -m diffjax.commands.photographs --out photographs [--data_dir ~/tensorflow_datasets]

The parts for training and test are in train/ and test/, the photograph that training does not see and the two views of
one scene in held_out/, left_view/ and right_view/.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from diffjax.commands.command_line import exit_on_error
from diffjax.data import photos
from diffjax.data.photo_patches import read_photographs
from diffjax.reports import write_png
from diffjax.utils.files import check_writable


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the photographs; a mistake is one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", required=True, help="Folder for the photographs; no default.")
    parser.add_argument("--data_dir", help="TFDS folder of the data set; by default that of TFDS.")
    values = parser.parse_args(arguments)
    with exit_on_error():
        print(*write_photographs(Path(values.out), values.data_dir), sep="\n")


def write_photographs(out: Path, data_dir: str | Path | None = None) -> list[Path]:
    """The files, a folder for each split. Raises `UserError` for a folder that cannot be written."""
    check_writable(out, "--out")
    paths = []
    for split, photographs in read_photographs(data_dir).items():
        for photograph in photographs:
            paths.append(out / split / f"{photos.NAMES[photograph.label]}.png")
            write_png(paths[-1], photograph.pixels)
    return paths


if __name__ == "__main__":
    main()
