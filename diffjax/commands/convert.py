"""Convert a TFDS set that is prepared as tfrecord to array_record, beside itself, so that training can read it:

pip install 'diffjax[prepare]'
python -m diffjax.commands.convert --data mnist [--data_dir ~/tensorflow_datasets]

Nothing is downloaded again, and the old files stay as they are. TensorFlow is needed for this once.
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from absl import logging

from diffjax.data.tfds_source import ARRAY_RECORD, find_builder
from diffjax.errors import UserError, tell, warn
from diffjax.utils.files import describe_error

_MAX_SHOWN = 160  # letters of another library's message that ours quote


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert the set; a mistake is one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True, help="TFDS name of the data set, name[/config][:version]; no default.")
    parser.add_argument("--data_dir", help="TFDS folder of the data set; by default that of TFDS.")
    values = parser.parse_args(arguments)
    try:
        print(convert(values.data, values.data_dir))
    except UserError as mistake:
        warn(str(mistake))
        sys.exit(2)


def convert(name: str, data_dir: str | Path | None = None) -> Path:
    """The folder of a set, which has array_record files afterwards.

    Raises `UserError` for a set that is not prepared, without TensorFlow, and where a file cannot be read or written.
    """
    builder = find_builder(name, data_dir)
    folder = Path(builder.data_path)
    if not builder.info.splits:
        raise UserError(f"--data {name}: nothing is prepared in {folder}; prepare it as array_record")
    if ARRAY_RECORD in builder.info.available_file_formats():
        tell(f"{folder} has array_record files already")
        return folder
    count = sum(split.num_shards for split in builder.info.splits.values())
    tell(f"converting {count} file(s) of {folder} from {builder.info.file_format.value} to array_record")
    convert_format = _import_convert_format()
    logging.set_verbosity(logging.ERROR)  # its warnings count the files of other splits
    try:
        convert_format(
            out_dir=None, out_file_format=ARRAY_RECORD, dataset_version_dir=[folder], num_workers=1, fail_on_error=True
        )
    except Exception as error:  # of TensorFlow, array_record or the disk
        problem = f"cannot be converted ({describe_error(error)[:_MAX_SHOWN]})"
        raise UserError(f"--data {name}: {folder} {problem}; make room, or prepare it anew") from error
    if ARRAY_RECORD not in find_builder(name, data_dir).info.available_file_formats():
        raise UserError(f"--data {name}: {folder} still lacks array_record files; prepare it anew")
    return folder


def _import_convert_format() -> Callable[..., None]:
    """TFDS's own conversion, with progress bars on stderr. Raises `UserError` without TensorFlow."""
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError("convert: needs TensorFlow, this once; run: pip install 'diffjax[prepare]'")
    if importlib.util.find_spec("apache_beam") is None:
        # TFDS's module derives a class from Beam's as it is imported; without a pipeline it uses nothing of Beam.
        beam = ModuleType("apache_beam")
        beam.__dict__["DoFn"] = object
        sys.modules.setdefault("apache_beam", beam)
    from tensorflow_datasets.scripts.cli import convert_format_utils

    return convert_format_utils.convert_dataset


if __name__ == "__main__":
    main()
