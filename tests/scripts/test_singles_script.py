"""Samples as single files, beside the grid: the same pictures, and not so many that a folder is full of them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def singles(out: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)) for path in sorted((out / "samples").glob("*"))}


def test_each_sample_is_a_picture_of_its_own(drawn) -> None:
    with np.load(drawn / "samples.npz", allow_pickle=False) as file:
        images = file["arr_0"]
    found = singles(drawn)
    assert list(found) == [f"{place:02}.png" for place in range(12)]
    np.testing.assert_array_equal(np.stack([*found.values()]), images[..., 0])


def test_they_can_be_left_out_and_those_of_an_earlier_call_are_reported(call, tiny, tmp_path) -> None:
    sample = ["sample.py", "--workdir", tiny.workdir, "--out", tmp_path / "out", "--steps=1"]
    assert call(*sample, "--num=3", "--nosingles").code == 0
    assert not (tmp_path / "out" / "samples").exists()
    told = call(*sample, "--num=3")
    assert (told.code, len(told.err.splitlines()), len(singles(tmp_path / "out"))) == (0, 1, 3), told.err
    told = call(*sample, "--num=11")
    assert (told.code, len(told.err.splitlines()), len(singles(tmp_path / "out"))) == (0, 2, 11 + 3), told.err
    assert "3 pictures" in told.err
    assert "0.png" in told.err


MANY = ["--num=1001", "--steps=1", "--batch=1001"]


def test_of_many_there_are_none_by_default(call, tiny, tmp_path) -> None:
    told = call("sample.py", "--workdir", tiny.workdir, "--out", tmp_path, *MANY)
    assert told.code == 0, told.err
    assert "--singles" in told.err
    assert not (tmp_path / "samples").exists()


@pytest.mark.long
def test_of_many_they_are_written_when_that_is_asked_for(call, tiny, tmp_path) -> None:
    told = call("sample.py", "--workdir", tiny.workdir, "--out", tmp_path, *MANY, "--singles")
    assert told.code == 0, told.err
    assert len(singles(tmp_path)) == 1001


def test_a_sweep_has_none(call, tiny, tmp_path) -> None:
    argv = ["--workdir", tiny.workdir, "--out", tmp_path / "out", "--sweep=steps=1,2"]
    told = call("sample.py", *argv, "--singles")
    assert (told.code, len(told.err.splitlines())) == (2, 1)
    assert "--singles" in told.err
    assert not (tmp_path / "out").exists()
