"""Converting a TFDS set of tfrecord files, beside themselves."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from diffjax.commands import convert
from diffjax.data import open_dataset
from diffjax.errors import UserError

HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None
PREPARE = """
import sys
import tensorflow_datasets as tfds
from diffjax.data.digits import Digits

Digits(data_dir=sys.argv[1], file_format="tfrecord").download_and_prepare()
"""


def test_a_set_that_can_be_read_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    open_dataset("digits", tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert convert.convert("digits", tmp_path) == next(tmp_path.glob("digits/*"))
    assert "already" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(UserError, match=r"--data mnist.*nothing is prepared"):
        convert.convert("mnist", tmp_path)
    open_dataset("digits", tmp_path)
    info = next(tmp_path.glob("digits/*/dataset_info.json"))
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    with pytest.raises(UserError, match=r"python -m diffjax\.commands\.convert --data digits --data_dir"):
        open_dataset("digits", tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as end:
        convert.main(["--data", "digits", "--data_dir", str(tmp_path)])
    assert end.value.code == 2
    assert "pip install 'diffjax[prepare]'" in capsys.readouterr().err


@pytest.mark.skipif(not HAS_TENSORFLOW, reason="needs TensorFlow")
def test_converted_examples_are_those_of_a_set_prepared_as_array_record(tmp_path: Path):
    """In processes of their own, since TensorFlow warns."""
    old = tmp_path / "old"
    subprocess.run([sys.executable, "-c", PREPARE, str(old)], check=True, capture_output=True)
    command = [sys.executable, "-m", "diffjax.commands.convert", "--data", "digits", "--data_dir", str(old)]
    subprocess.run(command, check=True, capture_output=True)
    converted, expected = open_dataset("digits", old), open_dataset("digits", tmp_path / "new")
    for split in expected.splits:
        for one, other in zip(converted.arrays(split), expected.arrays(split), strict=True):
            assert (one == other).all()
