"""A run on pictures of a known law: it goes on as if it had never stopped, and is held to the truth."""

import base64
import json
import shutil

import jax
import numpy as np
import pytest
from conftest import Trained, trained

from diffjax.experiment import trained_model

KNOWN = (
    "--config.data.name=known8",
    "--config.data.form=real",
    "--config.train.validate_images=0",
    "--config.train.steps=4",
)


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> Trained:
    """Four steps on pictures that nothing is read for, saved after two."""
    folder = tmp_path_factory.mktemp("known")
    return trained(folder, folder / "none", True, *KNOWN)


@pytest.mark.long
def test_a_run_that_goes_on_is_one_that_never_stopped(known, call, tmp_path) -> None:
    """To the bit: after step 2 it is given the pictures that it would have been given."""
    workdir = shutil.copytree(known.workdir, tmp_path / "broken")
    shutil.rmtree(workdir / "checkpoints" / "00000004")
    told = call("train.py", "--config", known.config, "--workdir", workdir, *KNOWN)
    assert told.code == 0, told.err
    assert "step 2 to 4" in told.err
    ours, theirs = (trained_model.read_weights(folder).params for folder in (workdir, known.workdir))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.long
def test_a_model_is_held_to_the_law(known, call, tmp_path) -> None:
    """Four steps teach little: far from the law in every way, and told so in words, in report and in numbers."""
    few = ("--num", 20, "--most", 20, "--bits_of", 8)
    told = call("evaluate.py", "--workdir", known.workdir, "--out", tmp_path, *few)
    assert told.code == 0, told.err
    for line in (
        "data distribution",
        "above the data distribution",
        "bound minus entropy: ",
        "label accuracy by density: ",
    ):
        assert line in told.out
    assert "; of a density;" in told.out
    coded = base64.b64encode((tmp_path / "truth.png").read_bytes()).decode()
    assert coded in (tmp_path / "report.html").read_text()
    scores = json.loads((tmp_path / "report.json").read_text())
    assert scores["bits_per_dim"]["this model above the data distribution"]["test"]["mean"] > 0.5
    assert float(scores["provenance"]["more"]["log density of samples"].split("z ")[1]) < -5
