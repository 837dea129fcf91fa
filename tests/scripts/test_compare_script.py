"""Two evaluations side by side, as a shell asks for it."""

import json

import numpy as np
import pytest

from diffjax.evaluation import feature_scores
from diffjax.reports import Curves, Report, provenance, write_report


@pytest.fixture
def scored(tmp_path):
    """The folders of two reports on equal samples but for chance."""
    folders, real = [tmp_path / "first", tmp_path / "second"], np.zeros((30, 4, 4, 1), np.uint8)
    source = provenance(40, "ddim", 5, 0, dict.fromkeys(("train", "validation", "test"), (real, None)))
    for seed, folder in enumerate(folders):
        x, y = np.random.default_rng(seed).normal(size=(2, 40, 3))
        curves = {"levels": Curves("Errors", {"this model": (x[:, 0], x[:, 1])}, "error", "log-SNR")}
        write_report(folder, Report("A run", feature_scores("pixels", x, y, y + 1), source, curves=curves))
    return folders


def test_equal_models_differ_by_noise_alone(scored, tmp_path, call) -> None:
    told = call("evaluate.py", "--compare", *scored, "--out", tmp_path)
    assert (told.code, told.err.count("\n")) == (0, 1)
    assert f"{tmp_path}/comparison.html" in told.err
    assert "within noise" in told.out
    assert "beyond noise" not in told.out
    rows = json.loads((tmp_path / "comparison.json").read_text())
    assert {row["measure"] for row in rows} >= {"KID of pixels", "recall of pixels"}
    page = (tmp_path / "comparison.html").read_text()
    assert page.count(">within noise<") == len(rows)
    assert (tmp_path / "comparison_levels.png").exists()


def test_what_cannot_be_compared_is_one_line(scored, tmp_path, call) -> None:
    mistakes = [
        (scored[:1], "compare: give two or more runs, each once"),
        ([scored[0], tmp_path], f"{tmp_path}/report.json: no such file; run evaluate.py --workdir {tmp_path} first"),
        ([*scored, "--num=twelve"], "flag --num=twelve: "),
        ([*scored, "--workdir", tmp_path], "--compare: takes no --workdir; give the runs themselves"),
    ]
    for argv, message in mistakes:
        told = call("evaluate.py", "--compare", *argv, "--out", tmp_path / "out")
        assert (told.code, told.out) == (2, ""), argv
        assert message in told.err
        assert told.err.count("\n") == 1
        assert not (tmp_path / "out").exists()
    assert "'more'" in call("sample.py", "--workdir", tmp_path, "more").err
