"""Runs beside one another: chance is not called a difference, and a difference is."""

import json

import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.evaluation.jackknife import Replicates
from diffjax.evaluation.paired import Score
from diffjax.reports.comparison import compare, comparison_table, short_names, write_comparison
from diffjax.reports.evaluation_report import Likelihoods, Report, provenance
from diffjax.reports.image_files import write_png
from diffjax.reports.json_report import ReportNumbers, read_numbers
from diffjax.reports.plots import Curves
from diffjax.reports.tables import write_report

NONE = np.zeros(0)


def mean(x: np.ndarray) -> Replicates:
    """The mean of rows, and without each of 20 in turn."""
    return Replicates(float(x.mean()), (x.sum() - x) / (len(x) - 1), NONE)


def numbers(name: str, scores=(), bits=None, about=("reference",)) -> ReportNumbers:
    found = {f"score {place}": mean(x) for place, x in enumerate(scores)}
    return ReportNumbers(name, about, found, {} if bits is None else {"bits": bits})


def test_chance_is_called_a_difference_once_in_twenty_times_or_less() -> None:
    """Ten scores of two runs that are equal, 400 times over: a call of any of them is the error that Holm limits."""
    rng, calls = np.random.default_rng(0), 0
    for _ in range(400):
        rows = compare([numbers(name, rng.normal(size=(10, 20))) for name in "ab"])
        calls += any(row.significant for row in rows)
    assert 0 < calls < 400 * 0.05 + 3 * (400 * 0.05 * 0.95) ** 0.5


def test_only_the_score_that_differs_is_called_so() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 4, 20))
    rows = compare([numbers("a", a), numbers("b", b + np.array([0, 0, 3, 0])[:, None])])
    assert [row.measure for row in rows if row.significant] == ["score 2"]
    (row,) = (row for row in rows if row.significant)
    assert row.difference.low < -3 < row.difference.high
    assert row.difference.value == pytest.approx(a[2].mean() - b[2].mean() - 3)


def test_bits_are_compared_image_by_image() -> None:
    """0.01 ± 0.001 where images differ by 1 from each other: by t of the differences, whose deviation is 0.02."""
    rng = np.random.default_rng(2)
    images, each = rng.normal(3, 1, 400), rng.normal(0.01, 0.02, 400)
    (row,) = compare([numbers("a", bits=images + each), numbers("b", bits=images)])
    assert row.significant
    assert row.difference.value == pytest.approx(each.mean())
    assert row.difference.error == pytest.approx(each.std(ddof=1) / 20)


def test_three_runs_are_three_pairs() -> None:
    rng = np.random.default_rng(3)
    rows = compare([numbers(name, rng.normal(size=(1, 20))) for name in "abc"])
    assert [(row.first, row.second) for row in rows] == [("a", "b"), ("a", "c"), ("b", "c")]


def written(folder, seed=0, shift=0.0, **more):
    """The report of a run whose scores are of 20 numbers, with a curve and a picture."""
    rng = np.random.default_rng(seed)
    picture = folder / "samples.png"
    write_png(picture, np.full((8, 8, 1), 80, np.uint8))
    score = Score("mmd2", "MMD²", "pixels", mean(rng.normal(shift, 1, 20)), mean(rng.normal(size=20)), "0", "+.4f")
    fixed = np.random.default_rng(9).integers(0, 17, (20, 2, 2, 1), dtype=np.uint8)
    source = provenance(20, "ddim", 5, 7, dict.fromkeys(("train", "validation", "test"), (fixed, None)), **more)
    levels = np.arange(3.0)
    lines = {"this model": (levels, levels + shift), "the best": (levels, levels)}
    likelihoods = Likelihoods({"this model": (rng.normal(2, 1, 30), rng.normal(2, 1, 30))}, "exact")
    curves = {"levels": Curves("Errors", lines, "error", "level")}
    report = Report("A run", [score], source, None, likelihoods, curves, {"Samples": picture})
    return write_report(folder, report).parent


def test_reports_are_read_again_and_lie_side_by_side_in_one_page(tmp_path) -> None:
    a, b = written(tmp_path / "a"), written(tmp_path / "b", seed=1, shift=5.0)
    reports = [read_numbers(folder) for folder in (a, b)]
    rows = compare(reports)
    assert {row.measure for row in rows if row.significant} == {"MMD²"}
    assert "beyond noise" in comparison_table(reports, rows)
    page = write_comparison(tmp_path / "out", reports, rows).read_text()
    assert page.count("beyond noise") >= 1
    assert page.count("<img ") == 3  # curves of both in one picture, and the samples of each
    saved = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert len(saved) == len(rows) == 3
    assert saved[0]["beyond"] is True
    assert saved[0]["apart"]["low"] < -5 < saved[0]["apart"]["high"]


def test_a_run_is_found_by_its_evaluation(tmp_path) -> None:
    written(tmp_path / "run" / "evaluation")
    assert read_numbers(tmp_path / "run").scores.keys() == {"MMD²"}


def test_runs_are_called_by_what_tells_them_apart() -> None:
    assert short_names([numbers("runs/a"), numbers("runs/b")]) == ["a", "b"]
    assert short_names([numbers("x/a/evaluation"), numbers("x/b/evaluation")]) == ["a/evaluation", "b/evaluation"]


def test_what_cannot_be_compared_is_refused(tmp_path) -> None:
    a = numbers("a", np.ones((1, 20)))
    with pytest.raises(UserError, match=r"compare"):
        compare([a])
    with pytest.raises(UserError, match=r"compare"):
        compare([a, a])
    with pytest.raises(UserError, match=r"a and b"):
        compare([a, numbers("b", about=("another",))])
    with pytest.raises(UserError, match=r"report\.json: "):
        read_numbers(tmp_path)
    told = json.loads((written(tmp_path / "c") / "report.json").read_text())
    told["scores"]["pixels"]["mmd2"]["value"] = "much"
    for text in ("{", "[]", "[" * 100_000, json.dumps(told), "\xff"):
        (tmp_path / "c" / "report.json").write_text(text, encoding="latin-1")
        with pytest.raises(UserError, match=r"report\.json: "):
            read_numbers(tmp_path / "c")
