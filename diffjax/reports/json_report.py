"""Scores, curves and whole reports as JSON, and the numbers of a report read back for comparisons."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float, Float64

from diffjax.errors import UserError
from diffjax.evaluation.jackknife import Replicates, interval_from_replicates
from diffjax.evaluation.paired import Score
from diffjax.reports.evaluation_report import Report
from diffjax.reports.findings import Findings
from diffjax.reports.plots import Curves
from diffjax.utils.files import is_single_line, write_atomically
from diffjax.utils.untrusted import read_json

NAME = "report.json"
SPLITS = ("train", "test")
MAX_BYTES = 2**28  # of a report.json
TEXT_FIELDS = ("key", "name", "features", "ideal", "form")  # of a score
FORMAT_SPEC = re.compile(r"\+?\.\d[efg%]")
READ_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError)  # what a damaged document raises

Json = Any  # dict, list, str, float, int, bool or None; what is read is checked value by value


@dataclass(frozen=True)
class ReportNumbers:
    """The comparable parts of a report: scores, bits per dimension of each image, curves, and pictures of samples."""

    name: str
    about: tuple[object, ...]  # reference, kernels and features, which must be equal for a comparison
    scores: Mapping[str, Replicates]
    bits: Mapping[str, np.ndarray]
    curves: Mapping[str, Curves] = field(default_factory=lambda: MappingProxyType({}))
    pictures: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))  # existing files


def write_json(path: Path, document: Json) -> None:
    """Write a document; numbers that are not finite, which JSON cannot express, are null."""
    text = json.dumps(_replace_nonfinite(document), indent=1, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def report_document(report: Report) -> dict[str, object]:
    """The numbers of a report."""
    source = report.source
    findings = report.findings or Findings()
    origin = {**vars(source), "reference": {**source.reference}, "more": {**source.more}}
    likelihoods = report.likelihoods
    bits = {} if likelihoods is None else {
        name: {split: _bits_document(image_bits) for split, image_bits in zip(SPLITS, bits_of_splits, strict=True)}
        for name, bits_of_splits in likelihoods.bits.items()
    }  # fmt: skip
    return {
        "title": report.title,
        "alarms": list(findings.alarms),
        "scores": scores_document(report.scores),
        "codec": None if report.codec is None else {**vars(report.codec), "values": {**report.codec.values}},
        "bits_per_dim": bits,
        "bits_per_dim_accuracy": {} if likelihoods is None else {"unit": "bits per dimension", **likelihoods.accuracy},
        "artefacts": {flag.name: flag._asdict() for flag in findings.flags},
        "curves": {name: _curves_document(curves) for name, curves in report.curves.items()},
        "pictures": {caption: Path(file).name for caption, file in report.pictures.items()},
        "provenance": {**origin, "kernels": vars(source.kernels), "bits": likelihoods and likelihoods.description},
    }


def scores_document(scores: Sequence[Score]) -> dict[str, dict[str, object]]:
    """features -> key -> score."""
    result: dict[str, dict[str, object]] = {}
    for score in scores:
        result.setdefault(score.features, {})[score.key] = score_document(score)
    return result


def score_document(score: Score) -> dict[str, object]:
    """A score of samples and of real images, each with its interval and its jackknife replicates."""
    texts = {name: vars(score)[name] for name in TEXT_FIELDS}
    real = _replicates_document(score.real)
    return {**texts, "share": score.share, **_replicates_document(score.samples), "real": real}


def parse_score(document: Json) -> Score:
    """The score of a document, equal bit for bit to the one written. Raises one of `READ_ERRORS` if it is damaged."""
    texts = {name: document[name] for name in TEXT_FIELDS}
    sound = all(isinstance(text, str) and is_single_line(text) for text in texts.values())
    if not sound or not FORMAT_SPEC.fullmatch(texts["form"]) or type(document["share"]) is not bool:
        raise ValueError("no measure")
    real = _parse_replicates(document["real"])
    return Score(**texts, samples=_parse_replicates(document), real=real, share=document["share"])


def parse_number(value: object) -> float:
    """The number; null is NaN. Raises ValueError for anything else."""
    if value is None:
        return nan
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
        raise ValueError(value)
    return float(value)


def _replace_nonfinite(document: Json) -> Json:
    if isinstance(document, dict):
        return {name: _replace_nonfinite(value) for name, value in document.items()}
    if isinstance(document, list):
        return [_replace_nonfinite(value) for value in document]
    return None if isinstance(document, float) and not isfinite(document) else document


def _replicates_document(replicates: Replicates) -> dict[str, object]:
    without = {"samples": replicates.samples.tolist(), "reference": replicates.reference.tolist()}
    return {**interval_from_replicates(replicates)._asdict(), "without": without}


def _parse_replicates(document: Json) -> Replicates:
    without = document["without"]
    return Replicates(parse_number(document["value"]), _parse_row(without["samples"]), _parse_row(without["reference"]))


def _bits_document(image_bits: Float[np.ndarray, " _"]) -> dict[str, object]:
    error = float(image_bits.std(ddof=1) / len(image_bits) ** 0.5) if len(image_bits) > 1 else float("nan")
    return {"mean": float(image_bits.mean()), "error": error, "images": image_bits.tolist()}


def _curves_document(curves: Curves) -> dict[str, object]:
    lines = {
        name: {"x": np.asarray(x, float).tolist(), "y": np.asarray(y, float).tolist()}
        for name, (x, y) in curves.lines.items()
    }
    return {
        "caption": curves.caption,
        "lines": lines,
        "ylabel": curves.ylabel,
        "xlabel": curves.xlabel,
        "scale": curves.scale,
    }


def read_numbers(path: str | Path) -> ReportNumbers:
    """The report.json in that folder, or in the `evaluation` folder of that run.

    Raises UserError, naming the file, if there is none or it is damaged.
    """
    folder = next((at for at in (Path(path), Path(path) / "evaluation") if (at / NAME).is_file()), Path(path))
    file = folder / NAME
    if not file.is_file():
        raise UserError(f"{file}: no such file; run evaluate.py --workdir {path} first")
    try:
        return _parse_report(str(path), folder, read_json(file, MAX_BYTES))
    except READ_ERRORS:
        raise UserError(f"{file}: cannot be read as a report; evaluate the run again") from None


def _parse_report(name: str, folder: Path, document: Json) -> ReportNumbers:
    source = document["provenance"]
    bits = document["bits_per_dim"]
    scores_by_name = {
        score["name"]: _parse_replicates(score) for scores in document["scores"].values() for score in scores.values()
    }
    features = sorted((key, value) for key, value in source["more"].items() if key.startswith("features "))
    bits_by_split = {
        f"bits per dimension of {split}": _parse_row(bits["this model"][split]["images"]) for split in SPLITS if bits
    }
    pictures = {
        str(caption): folder / Path(file).name
        for caption, file in document["pictures"].items()
        if (folder / Path(file).name).is_file()
    }
    curves = {str(key): _parse_curves(curves_document) for key, curves_document in document["curves"].items()}
    return ReportNumbers(
        name, (source["fingerprint"], source["kernels"], features), scores_by_name, bits_by_split, curves, pictures
    )


def _parse_curves(document: Json) -> Curves:
    lines = {name: (_parse_row(line["x"]), _parse_row(line["y"])) for name, line in document["lines"].items()}
    scale = "log" if document["scale"] == "log" else "linear"
    return Curves(str(document["caption"]), lines, str(document["ylabel"]), str(document["xlabel"]), scale)


def _parse_row(values: Iterable[object]) -> Float64[np.ndarray, " _"]:
    return np.array([parse_number(value) for value in values], np.float64)
