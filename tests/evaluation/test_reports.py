"""A table never shows a score without what real images get and where it comes from."""

import base64
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.evaluation.artefacts import Flag
from diffjax.evaluation.files import write_png
from diffjax.evaluation.findings import Findings
from diffjax.evaluation.measures import Scores
from diffjax.evaluation.reports import Likelihoods, provenance, table, write_report

OURS = Scores(frechet_ratio=1.234, mmd2=0.00125, two_sample=0.625, accuracy=0.75, copies=0.125)
REAL = Scores(frechet_ratio=1.0, mmd2=-0.0005, two_sample=0.5, accuracy=0.9875, copies=0.01)


def splits(seed=0):
    rng = np.random.default_rng(seed)
    sizes = {"train": 30, "validation": 10, "test": 20}
    return {name: (rng.integers(0, 17, (size, 2, 2, 1), dtype=np.uint8), None) for name, size in sizes.items()}


def source(samples=1000, seed=0):
    return provenance(samples, "ddim(eta=0.0)", 50, 7, splits(seed), config="abc123")


def test_each_measure_stands_beside_what_real_images_get():
    head, _, *rows = table(OURS, REAL, source()).split("\n\n")[0].splitlines()
    for row, ours, real in zip(
        rows,
        ("1.23", "+0.0013", "0.625", "75.0 %", "12.5 %"),
        ("1.00", "-0.0005", "0.500", "98.8 %", "1.0 %"),
        strict=True,
    ):
        assert row.index(ours) + len(ours) == head.index("samples") + len("samples")
        assert row.index(real, row.index(ours) + 1) + len(real) == head.index("real images") + len("real images")


def test_the_provenance_is_told():
    text = table(OURS, REAL, source())
    for told in ("1,000 samples", "ddim(eta=0.0), 50 steps, seed 7", "30 train, 10 validation, 20 test", "abc123"):
        assert told in text
    assert source(seed=0).fingerprint == source(seed=0).fingerprint != source(seed=1).fingerprint


def test_few_samples_come_with_a_warning():
    assert "fewer samples" in table(OURS, REAL, source(samples=29))
    assert "fewer samples" not in table(OURS, REAL, source(samples=30))


def test_no_labels_are_shown_as_a_dash():
    row = next(line for line in table(replace(OURS, accuracy=None), REAL, source()).splitlines() if "label" in line)
    assert row.split()[2] == "–"  # noqa: RUF001


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
    report = write_report(tmp_path / "run 1", OURS, REAL, source(), paths, title="Digits <8>", findings=findings)
    page = Page(report.read_text())
    coded = [base64.b64decode(text.removeprefix("data:image/png;base64,")) for text in page.sources]
    assert coded == [path.read_bytes() for path in paths.values()]
    said = " ".join(page.said)
    for told in ("Digits <8>", *paths, "<script>harm()</script>", "Fréchet distance, ratio", "1.23", "sha256"):
        assert told in said
    assert page.alarms == 1
    assert "default-src 'none'" in report.read_text()
    assert [path.name for path in report.parent.iterdir()] == ["report.html"]


def test_a_report_without_findings_says_so_where_it_was_looked_for_them(tmp_path):
    for findings, expected in ((Findings(), True), (None, False)):
        text = write_report(tmp_path, OURS, REAL, source(), {}, findings=findings).read_text()
        assert ("Nothing that was looked for was found." in text) is expected


def test_a_report_does_not_link_to_what_is_missing(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png: no such picture"):
        write_report(tmp_path, OURS, REAL, source(), {"Samples": tmp_path / "gone.png"})


def test_bits_of_train_and_test_stand_side_by_side_with_their_errors(tmp_path):
    bits = Likelihoods({"this model": (np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0]))}, "exact, 3 and 2 images")
    text = table(OURS, REAL, source(), bits)
    row = next(line for line in text.splitlines() if line.startswith("this model"))
    assert row.split() == ["this", "model", "2.000", "±", "0.577", "3.000", "±", "1.000", "lower", "is", "better"]
    assert "bits per dimension: exact, 3 and 2 images" in text
    report = write_report(tmp_path, OURS, REAL, source(), {}, likelihoods=bits).read_text()
    assert "<td>this model</td><td>2.000 ± 0.577</td><td>3.000 ± 1.000</td>" in report
    assert "exact, 3 and 2 images" in report
