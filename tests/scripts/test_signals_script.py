"""Signals from the command line: trained, drawn as numbers and as a plot, and evaluated against their exact density."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import NO_PICTURES, Trained, trained
from PIL import Image


@pytest.fixture(scope="module")
def signals(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Trained:
    """Two steps of a transformer on patches of signals."""
    options = [
        "--config.data.name=ar_process",
        "--config.data.form=real",
        "--config.model.net=DiT(patch=8, width=8, depth=1, heads=2)",
        *NO_PICTURES,
    ]
    return trained(tmp_path_factory.mktemp("signals"), data_dir, False, *options)


def test_samples_are_numbers_and_a_plot(call, signals, tmp_path) -> None:
    told = call("sample.py", "--workdir", signals.workdir, "--out", tmp_path / "out", "--num=3")
    assert told.code == 0, told.err
    with np.load(tmp_path / "out" / "samples.npz", allow_pickle=False) as file:
        assert (file["arr_0"].shape, file["arr_0"].dtype) == ((3, 32, 1), np.float32)
    with Image.open(tmp_path / "out" / "signals.png") as plot:
        assert plot.width > 300
    told = call("sample.py", "--workdir", signals.workdir, "--out", tmp_path / "other", "--size=9")
    assert told.code == 2
    assert "--size: is for pictures" in told.err


FLAGS = ["--num=4", "--bits_of=4", "--most=20", "--likelihood=bound"]


def test_the_report_has_bits_beside_the_entropy(call, signals, tmp_path) -> None:
    flags = [*FLAGS, "--without=training,steps,levels,truth"]
    told = call("evaluate.py", "--workdir", signals.workdir, "--out", tmp_path / "report", *flags)
    assert told.code == 0, told.err
    assert "this model above the data distribution" in told.out
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert not report["scores"]
    assert (tmp_path / "report" / "signals.png").exists()
    told = call("evaluate.py", "--workdir", signals.workdir, "--out", tmp_path / "other", "--classifier")
    assert told.code == 2
    assert "--classifier: is for images" in told.err


@pytest.mark.long
def test_the_report_compares_denoiser_and_samples_with_the_exact_density(call, signals, tmp_path) -> None:
    told = call("evaluate.py", "--workdir", signals.workdir, "--out", tmp_path / "report", *FLAGS)
    assert told.code == 0, told.err
    assert "bound minus entropy" in told.out
    assert "log density of samples" in told.out
