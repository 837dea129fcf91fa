"""Classes by their names: the same pictures as by their indices, and the known names where one is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Trained, trained
from PIL import Image

QUIET = ("--config.train.writers=('jsonl',)", "--config.model.data_std=0.5")
NAMES = ("2", "hearts", "smileys")  # in the order of their indices; the first is also the index of the last


@pytest.fixture(scope="module")
def named(tmp_path_factory) -> Trained:
    """Two steps on pictures of three classes with names."""
    folder = tmp_path_factory.mktemp("named")
    for i in range(90):
        path = folder / "pictures" / NAMES[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8), np.uint8)).save(path)
    return trained(folder, folder, True, *QUIET, f"--config.data.name=folder:{folder / 'pictures'}")


def drawn(call, workdir: Path, out: Path, *argv: str) -> dict[str, np.ndarray]:
    told = call("sample.py", "--workdir", workdir, "--out", out, "--num=3", *argv)
    assert told.code == 0, told.err
    with np.load(out / "samples.npz", allow_pickle=False) as saved:
        return dict(saved)


def test_a_name_draws_the_pictures_of_its_index(named, tmp_path, call) -> None:
    by_name = drawn(call, named.workdir, tmp_path / "name", "--label=smileys")
    by_index = drawn(call, named.workdir, tmp_path / "index", "--label", "2")
    assert list(by_name["arr_1"]) == [NAMES.index("smileys")] * 3
    for name in ("arr_0", "arr_1"):
        np.testing.assert_array_equal(by_name[name], by_index[name])


def test_a_way_ends_at_a_class_by_its_name(named, tmp_path, call) -> None:
    way = ["--edit=interpolate", "--label=hearts", "--label_to=smileys"]
    saved = drawn(call, named.workdir, tmp_path / "out", *way)
    assert json.loads(str(saved["provenance"]))["label_to"] == NAMES.index("smileys")


def test_a_sweep_over_names_is_the_one_over_their_indices(named, tmp_path, call, monkeypatch) -> None:
    """But for what is written beside the rows."""
    seen = []

    def crossed(images: np.ndarray, rows: list[str], columns: list[str]) -> np.ndarray:
        seen.append((images, rows))
        return np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr("diffjax.commands.sample_request.crossed_grid", crossed)
    for labels in ("hearts,smileys", "1,2"):
        argv = ["--workdir", named.workdir, "--out", tmp_path / "out", "--num=2", f"--sweep=label={labels}"]
        told = call("sample.py", *argv)
        assert told.code == 0, told.err
    (by_name, names), (by_index, indices) = seen
    np.testing.assert_array_equal(by_name, by_index)
    assert by_name.std() > 0
    assert names == ["label hearts", "label smileys"]
    assert indices == ["label 1", "label 2"]


WRONG = [
    (["--label=smiles"], ["--label smiles", "2, hearts, smileys", "0 … 2", "did you mean smileys?"]),
    (["--label=3"], ["--label 3", "2, hearts, smileys", "0 … 2"]),
    (["--label="], ["--label", "2, hearts, smileys"]),
    (["--sweep=label=hearts,smiles"], ["--sweep label smiles", "2, hearts, smileys"]),
    (["--edit=interpolate", "--label_to=smiles"], ["--label_to smiles", "2, hearts, smileys"]),
]


@pytest.mark.parametrize(("argv", "says"), WRONG, ids=[argv[-1] for argv, _ in WRONG])
def test_a_wrong_name_is_answered_with_the_known_ones(named, tmp_path, call, argv, says) -> None:
    told = call("sample.py", "--workdir", named.workdir, "--out", tmp_path / "out", *argv)
    assert (told.code, told.out, told.err.count("\n")) == (2, "", 1), told.err
    assert all(words in told.err for words in says), told.err
    assert not (tmp_path / "out").exists()
