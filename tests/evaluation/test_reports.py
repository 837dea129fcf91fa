"""A table never shows a score without what real images get and where it comes from."""

import base64
import json
from html.parser import HTMLParser

import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.evaluation.image_statistics import Flag
from diffjax.evaluation.jackknife import Replicates, interval_from_replicates
from diffjax.evaluation.paired import Score
from diffjax.reports.evaluation_report import Likelihoods, Report, provenance
from diffjax.reports.findings import Findings
from diffjax.reports.image_files import write_png
from diffjax.reports.plots import Curves
from diffjax.reports.tables import table, write_report


def score(key, value, real, form, spread=0.0, **more):
    """One with ten replicates on the samples' side where it has a spread, which gives it an interval."""
    each = np.zeros(0) if not spread else value + spread * np.arange(-4.5, 5)
    return Score(key, f"the {key}", "pixels", Replicates(value, each, np.zeros(0)),
                    Replicates(real, np.zeros(0), np.zeros(0)), "1, lower is better", form, **more)  # fmt: skip


SCORES = [
    score("ratio", 1.234, 1.0, ".2f", 0.01),
    score("mmd2", 0.00125, -0.0005, "+.4f"),
    score("accuracy", 0.75, 0.9875, ".1%", 0.05, share=True),
]


def splits(seed=0):
    rng = np.random.default_rng(seed)
    sizes = {"train": 30, "validation": 10, "test": 20}
    return {name: (rng.integers(0, 17, (size, 2, 2, 1), dtype=np.uint8), None) for name, size in sizes.items()}


def source(samples=1000, seed=0):
    return provenance(samples, "ddim(eta=0.0)", 50, 7, splits(seed), config="abc123")


def report(scores=SCORES, given=None, **more) -> Report:
    return Report("Digits <8>", scores, given or source(), **more)


def test_each_measure_stands_beside_what_real_images_get():
    head, _, *rows = table(report()).split("\n\n")[0].splitlines()
    values = (("1.23", "1.00"), ("+0.0013", "-0.0005"), ("75.0 %", "98.8 %"))
    for row, (ours, real) in zip(rows, values, strict=True):
        assert row.index(ours) + len(ours) == head.index("samples") + len("samples")
        assert row.index(real, head.index("real")) + len(real) == head.index("real images") + len("real images")


def test_an_interval_is_shown_where_there_is_one_and_shares_stay_shares():
    """Of replicates 0.01 apart around 1.234: error √(9 · 8.25) · 0.01, and t of 9 degrees of freedom is 2.262."""
    _, _, ratio, mmd2, accuracy = table(report()).split("\n\n")[0].splitlines()
    assert f"{1.234 - 2.2622 * 0.0862:.2f} … {1.234 + 2.2622 * 0.0862:.2f}" in ratio
    assert "…" not in mmd2
    assert "0.0 % … 100.0 %" in accuracy


def test_the_provenance_is_told():
    text = table(report())
    for told in ("1,000 samples", "ddim(eta=0.0), 50 steps, seed 7", "30 train, 10 validation, 20 test", "abc123"):
        assert told in text
    assert source(seed=0).fingerprint == source(seed=0).fingerprint != source(seed=1).fingerprint


def test_few_samples_are_compared_with_what_as_many_training_images_get():
    assert "as of so many training images" in table(report(given=source(samples=29)))
    assert "as of so many training images" not in table(report(given=source(samples=30)))


class Page(HTMLParser):
    """What a page consists of, and whether each tag is closed by its own."""

    EMPTY = ("meta", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.said, self.sources, self.alarms = [], [], [], 0
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs) -> None:
        told = dict(attrs)
        assert tag not in ("script", "link", "a", "iframe", "object", "base")
        assert not {"href", "onload", "onerror"} & told.keys()
        self.sources += [told["src"]] if "src" in told else []
        self.alarms += told.get("class") == "alarm"
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.said.append(data)


def test_a_report_is_one_file_that_needs_no_other(tmp_path):
    """Its pictures are in it to the bit, whatever their captions are; nothing is fetched, nothing runs."""
    paths = {"Samples": tmp_path / "grid.png", 'The <way> "on" & off': tmp_path / "strip.png"}
    for shade, path in enumerate(paths.values()):
        write_png(path, np.full((2, 2, 3), shade, np.uint8))
    flags = [Flag("mean", 0.5, 0.25, 9.0, 2.0, raised=True), Flag("contrast", 0.5, 0.5, 0.1, 0.0, raised=False)]
    findings = Findings(["<script>harm()</script>"], flags)
    curves = {"loss": Curves("The loss", {"loss": (np.arange(3.0), np.ones(3))}, "loss")}
    written = write_report(tmp_path / "run 1", report(findings=findings, pictures=paths, curves=curves))
    page = Page(written.read_text())
    coded = [base64.b64decode(text.removeprefix("data:image/png;base64,")) for text in page.sources]
    assert coded == [path.read_bytes() for path in (*paths.values(), tmp_path / "run 1" / "loss.png")]
    said = " ".join(page.said)
    for told in ("Digits <8>", *paths, "<script>harm()</script>", "the ratio", "1.23", "sha256", "The loss"):
        assert told in said
    assert page.alarms == 1
    assert "default-src 'none'" in written.read_text()
    assert {path.name for path in written.parent.iterdir()} == {"report.html", "report.json", "loss.png"}


def test_the_numbers_are_beside_it_in_json(tmp_path):
    both = (np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0]))
    bits = Likelihoods(
        {"this model": both}, "by the ODE", {"standard_error": 0.01, "discretization": np.nan, "checked": 1}
    )
    flags = [Flag("mean", 0.5, 0.25, np.inf, np.inf, raised=True)]
    curves = {"loss": Curves("The loss", {"loss": (np.arange(2.0), np.array([1.0, np.nan]))}, "loss")}
    made = report(findings=Findings(["look"], flags), likelihoods=bits, curves=curves)
    write_report(tmp_path, made)
    told = json.loads((tmp_path / "report.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    ratio = told["scores"]["pixels"]["ratio"]
    assert ratio["value"] == 1.234
    assert ratio["error"] == pytest.approx(interval_from_replicates(SCORES[0].samples).error)
    assert ratio["without"] == {"samples": SCORES[0].samples.samples.tolist(), "reference": []}
    assert told["scores"]["pixels"]["mmd2"]["error"] is None
    assert told["bits_per_dim"]["this model"]["test"] == {"mean": 3.0, "error": 1.0, "images": [2.0, 4.0]}
    known = {"unit": "bits per dimension", "standard_error": 0.01, "discretization": None, "checked": 1}
    assert told["bits_per_dim_accuracy"] == known
    assert told["curves"]["loss"]["lines"] == {"loss": {"x": [0.0, 1.0], "y": [1.0, None]}}
    assert told["artefacts"]["mean"]["errors"] is None
    assert (told["alarms"], told["provenance"]["samples"]) == (["look"], 1000)


def test_a_report_without_findings_says_so_where_it_was_looked_for_them(tmp_path):
    for findings, expected in ((Findings(), True), (None, False)):
        text = write_report(tmp_path, report(findings=findings)).read_text()
        assert ("Nothing that was looked for was found." in text) is expected


def test_a_report_does_not_link_to_what_is_missing(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png: "):
        write_report(tmp_path, report(pictures={"Samples": tmp_path / "gone.png"}))


def test_bits_of_train_and_test_stand_side_by_side_with_their_errors(tmp_path):
    bits = Likelihoods({"this model": (np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0]))}, "exact, 3 and 2 images")
    text = table(report(likelihoods=bits))
    row = next(line for line in text.splitlines() if line.startswith("this model"))
    assert row.split() == ["this", "model", "2.000", "±", "0.577", "3.000", "±", "1.000", "lower", "is", "better"]
    assert "bits per dimension: exact, 3 and 2 images" in text
    written = write_report(tmp_path, report(likelihoods=bits)).read_text()
    assert "<td>this model</td><td>2.000 ± 0.577</td><td>3.000 ± 1.000</td>" in written
    assert "exact, 3 and 2 images" in written
