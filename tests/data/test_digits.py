"""The default set: scikit-learn's values, stratified splits, prepared once by whoever comes first."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from diffjax.data import Dataset, open_dataset
from diffjax.errors import UserError

SIZES = {"train": 1257, "validation": 180, "test": 360}

RACE = """
import sys, time, warnings
from pathlib import Path
warnings.simplefilter("error")
from diffjax.data import open_dataset
here, me, other = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
import sklearn.datasets, sklearn.model_selection
(here / me).touch()
while not (here / other).exists(): time.sleep(0.001)
images, labels = open_dataset("digits").arrays("train")
print(len(images), images.sum(), labels.sum(), "tensorflow" in sys.modules)
"""


def test_it_says_what_it_is(digits: Dataset):
    assert digits.shape == (8, 8, 1)
    assert digits.levels == 17
    assert digits.classes == 10
    assert digits.class_names == tuple("0123456789")
    assert {name: len(split) for name, split in digits.splits.items()} == SIZES


def test_values_and_order_are_those_of_scikit_learn(digits: Dataset):
    images, labels = load_digits(return_X_y=True)
    rest, test = train_test_split(np.arange(1797), test_size=360, stratify=labels, random_state=0)
    train, validation = train_test_split(rest, test_size=180, stratify=labels[rest], random_state=0)
    for name, ids in {"train": train, "validation": validation, "test": test}.items():
        ours, classes = digits.arrays(name)
        assert ours.dtype == np.uint8
        np.testing.assert_array_equal(ours.reshape(-1, 64), images[np.sort(ids)])
        np.testing.assert_array_equal(classes, labels[np.sort(ids)])
        np.testing.assert_array_equal(digits.split(name).labels(), classes)


def test_every_class_has_its_share_of_every_split(digits: Dataset):
    counts = {name: np.bincount(digits.split(name).labels(), minlength=10) for name in SIZES}
    whole = sum(counts.values())
    for name, size in SIZES.items():
        assert np.abs(counts[name] - whole * size / 1797).max() <= 1


def test_a_second_opening_prepares_nothing(digits: Dataset, data_dir: Path, capfd: pytest.CaptureFixture[str]):
    open_dataset("digits", data_dir)
    assert capfd.readouterr() == ("", "")


def test_two_processes_prepare_at_once_without_tensorflow(tmp_path: Path):
    env = {**os.environ, "TFDS_DATA_DIR": str(tmp_path / "sets"), "JAX_PLATFORMS": "cpu"}
    names = ["a", "b"]
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(tmp_path), me, other],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for me, other in (names, names[::-1])
    ]
    for out, err in [run.communicate(timeout=60) for run in runs]:
        images, labels = load_digits(return_X_y=True)
        assert out.split()[0] == "1257", err
        assert out.split()[3] == "False"
        assert err.count("\n") <= 1
        assert int(out.split()[1]) < images.sum()
        assert int(out.split()[2]) < labels.sum()
    assert [run.returncode for run in runs] == [0, 0]
    assert [path.name for path in (tmp_path / "sets").iterdir()] == ["digits"]
    assert [path.name for path in (tmp_path / "sets" / "digits").iterdir()] == ["1.0.0"]


def test_a_damaged_one_is_not_taken(tmp_path: Path):
    open_dataset("digits", tmp_path)
    shard = next(tmp_path.glob("digits/*/*train*"))
    shard.write_bytes(shard.read_bytes()[: 2**16])
    with pytest.raises(UserError, match="digits"):
        open_dataset("digits", tmp_path).arrays("train")
    shard.unlink()
    with pytest.raises(UserError, match=r"'digits'.*train"):
        open_dataset("digits", tmp_path)


def test_another_file_format_is_refused_with_the_command(tmp_path: Path):
    open_dataset("digits", tmp_path)
    info = next(tmp_path.glob("digits/*/dataset_info.json"))
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    with pytest.raises(UserError, match=r"tfrecord.*array_record.*pip install"):
        open_dataset("digits", tmp_path)


def test_an_interrupted_preparation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr("sklearn.datasets.load_digits", lambda **_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            open_dataset("digits", tmp_path)
    assert list(tmp_path.glob("*/*")) == []
    assert len(open_dataset("digits", tmp_path).split("train")) == 1257


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/digits.*TFDS_DATA_DIR"):
        open_dataset("digits", tmp_path / "file")
