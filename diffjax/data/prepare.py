"""Preparing a TFDS data set once, also from several processes at the same time."""

import io
import tempfile
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import tensorflow_datasets as tfds

from diffjax.errors import UserError, warn


def prepare_once(builder_cls: type[tfds.core.GeneratorBasedBuilder], data_dir: str | Path | None = None) -> Path:
    """Prepares a builder's set as array_record, unless it exists, and returns its folder.

    It is written into a temporary folder and renamed when complete, so that a partial one is never read, and the first
    of several processes wins. Raises `UserError` if the folder cannot be written.
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
    """Renames a complete folder, unless another process has been faster."""
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
