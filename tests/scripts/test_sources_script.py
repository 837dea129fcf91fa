"""Training and sampling from sources by the scripts alone: captions, categories by name, arrays of any rank."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Trained, trained

sys.path.append(str(Path(__file__).parents[1] / "data"))
from pictures_in_every_source import items, write_folder

QUIET = ("--config.train.writers=('jsonl',)", "--config.data.batch_size=8", "--config.train.validate_images=2")
SMALL = ("--config.model.net=MLP(width=8, depth=1)", "--config.sample.steps=2")
PARTS = ("--config.data.parts=(\"feature('text')\", \"category('kind')\")",)
ENCODERS = ("--config.model.conditions=('Text(width=8, depth=1)', \"Category(part='kind')\")",)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two steps on forty pictures with captions and a category."""
    folder = tmp_path_factory.mktemp("captions")
    name = write_folder(folder / "set", items(40))
    path = folder / "set" / "metadata.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text(
        "".join(json.dumps({**row, "kind": "tame" if i % 2 else "wild"}) + "\n" for i, row in enumerate(rows))
    )
    return trained(folder, folder, False, *QUIET, *SMALL, *PARTS, *ENCODERS, f"--config.data.name={name}")


def test_prompts_and_categories_are_taken_by_name(learnt: Trained, call, tmp_path: Path) -> None:
    common = ("sample.py", "--workdir", learnt.workdir, "--out", tmp_path / "out", "--num", 2)
    drawn = call(*common, "--prompt", "cat number 7", "--number", "kind=wild")
    assert drawn.code == 0, drawn.err
    assert np.load(tmp_path / "out" / "samples.npz")["arr_0"].shape == (2, 4, 6, 3)
    refused = call(*common, "--number", "kind=mild")
    assert refused.code == 2
    assert "tame, wild" in refused.err


def test_arrays_that_are_no_images_are_trained_on_and_drawn_as_numbers(call, tmp_path: Path) -> None:
    np.save(tmp_path / "signals.npy", np.random.default_rng(0).normal(size=(60, 16, 2)).astype(np.float32))
    name = f"--config.data.name=array:{tmp_path / 'signals.npy'}"
    form = ("--config.data.form=real", "--config.model.conditional=False")
    run = trained(tmp_path, tmp_path, False, *QUIET, *SMALL, *form, name)
    drawn = call("sample.py", "--workdir", run.workdir, "--out", tmp_path / "out", "--num", 3)
    assert drawn.code == 0, drawn.err
    samples = np.load(tmp_path / "out" / "samples.npz")["arr_0"]
    assert (samples.shape, samples.dtype) == ((3, 16, 2), np.float32)


def test_a_mistake_is_one_line_and_exit_code_two(call, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", items())
    for field, value, word in (
        ("data.label", "colour", "no column 'colour'"),
        ("data.image", "pixels", "data.image"),
        ("data.parts", "(\"feature('colour')\",)", "stars, text"),
    ):
        config = ("--config", "configs/digits.py", "--workdir", tmp_path / "run", *QUIET)
        refused = call("train.py", *config, f"--config.data.name={folder}", f"--config.{field}={value}")
        assert refused.code == 2
        assert word in refused.err
