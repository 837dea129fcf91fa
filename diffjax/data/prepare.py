"""Writing a TFDS data set once, whoever else is writing it at the same moment."""

import io
import tempfile
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import tensorflow_datasets as tfds

from diffjax.errors import UserError, warn


def prepare_once(builder_cls: type[tfds.core.GeneratorBasedBuilder], data_dir: str | Path | None = None) -> Path:
    """Prepare a builder's set as array_record, unless it is there, and return its folder.

    It is written into a temporary folder and renamed when whole, so that a half-prepared one is never taken and of
    several processes at once the first to finish wins. Raises `UserError` where the folder cannot be written.
    """
    target = Path(builder_cls(data_dir=data_dir).data_path)
    if (target / "dataset_info.json").exists():
        return target
    warn(f"preparing {builder_cls.name} in {target}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parents[1], prefix="incomplete.") as scratch:
            builder = builder_cls(data_dir=scratch, file_format=tfds.core.FileFormat.ARRAY_RECORD)
            with _silence():
                builder.download_and_prepare()
            _rename(Path(builder.data_path), target)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"{target}: cannot be written ({reason}); give another data_dir, or set TFDS_DATA_DIR"
        ) from error
    return target


def _rename(whole: Path, target: Path) -> None:
    """Move a whole folder into its place; where another process was faster, its folder stays."""
    try:
        whole.rename(target)
    except OSError:
        if not (target / "dataset_info.json").exists():
            raise


@contextmanager
def _silence():
    """Keeps TFDS's banner and progress bars off the terminal."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield
