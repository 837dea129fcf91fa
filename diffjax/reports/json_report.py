"""The numbers of a report as JSON, and those read back for comparisons."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float

from diffjax.errors import UserError
from diffjax.evaluation.jackknife import Replicates, interval_from_replicates
from diffjax.evaluation.paired import Score
from diffjax.reports.evaluation_report import Report
from diffjax.reports.findings import Findings
from diffjax.reports.plots import Curves

NAME = "report.json"
SIDES = ("samples", "reference")
SPLITS = ("train", "test")
MAX_BYTES = 2**28  # of a report.json

Json = Any  # dict, list, str, float, bool or None


@dataclass(frozen=True)
class ReportNumbers:
    """The comparable parts of a report: scores, bits per dimension of each image, curves, and pictures of samples."""

    name: str
    about: tuple[object, ...]  # reference, kernels and features, which must be equal for a comparison
    scores: Mapping[str, Replicates]
    bits: Mapping[str, np.ndarray]
    curves: Mapping[str, Curves] = field(default_factory=lambda: MappingProxyType({}))
    pictures: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))  # existing files


def report_document(report: Report) -> Json:
    """The numbers of a report as a JSON document; numbers that are not finite are null."""
    source = report.source
    findings = report.findings or Findings()
    origin = {**vars(source), "reference": {**source.reference}, "more": {**source.more}}
    likelihoods = report.likelihoods
    bits = {} if likelihoods is None else {
        name: {split: _bits_document(image_bits) for split, image_bits in zip(SPLITS, bits_of_splits, strict=True)}
        for name, bits_of_splits in likelihoods.bits.items()
    }  # fmt: skip
    return replace_nonfinite({
        "title": report.title,
        "alarms": list(findings.alarms),
        "scores": scores_document(report.scores),
        "bits_per_dim": bits,
        "bits_per_dim_accuracy": {} if likelihoods is None else {"unit": "bits per dimension", **likelihoods.accuracy},
        "artefacts": {flag.name: flag._asdict() for flag in findings.flags},
        "curves": {name: _curves_document(curves) for name, curves in report.curves.items()},
        "pictures": {caption: Path(file).name for caption, file in report.pictures.items()},
        "provenance": {**origin, "kernels": vars(source.kernels), "bits": likelihoods and likelihoods.description},
    })  # fmt: skip


def scores_document(scores: Sequence[Score]) -> dict[str, dict[str, object]]:
    """features -> key -> score, with its interval and its jackknife replicates."""
    result: dict[str, dict[str, object]] = {}
    for score in scores:
        document = {
            "name": score.name,
            "ideal": score.ideal,
            **_replicates_document(score.samples),
            "real": _replicates_document(score.real),
        }
        result.setdefault(score.features, {})[score.key] = document
    return result


def replace_nonfinite(document: Json) -> Json:
    """The document with null for each number that is not finite, which JSON cannot express."""
    if isinstance(document, dict):
        return {name: replace_nonfinite(value) for name, value in document.items()}
    if isinstance(document, list):
        return [replace_nonfinite(value) for value in document]
    return None if isinstance(document, float) and not isfinite(document) else document


def _replicates_document(replicates: Replicates) -> dict[str, object]:
    without = dict(zip(SIDES, (replicates.samples.tolist(), replicates.reference.tolist()), strict=True))
    return {**interval_from_replicates(replicates)._asdict(), "without": without}


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
    try:
        if not file.is_file():
            raise UserError(f"{file}: no such file; run evaluate.py --workdir {path} first")
        if file.stat().st_size > MAX_BYTES:
            raise UserError(f"{file}: larger than {MAX_BYTES:,} bytes, so no report; evaluate the run again")
        return _parse_report(str(path), folder, json.loads(file.read_text()))
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{file}: cannot be read as a report; evaluate the run again") from None


def _parse_report(name: str, folder: Path, document: dict[str, Json]) -> ReportNumbers:
    source = document["provenance"]
    bits = document["bits_per_dim"]
    scores_by_name = {
        score["name"]: Replicates(
            _parse_number(score["value"]), *(_parse_row(score["without"][side]) for side in SIDES)
        )
        for scores in document["scores"].values()
        for score in scores.values()
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


def _parse_curves(document: dict[str, Json]) -> Curves:
    lines = {
        name: (_parse_row(line["x"], gaps=True), _parse_row(line["y"], gaps=True))
        for name, line in document["lines"].items()
    }
    words = [str(document[key]) for key in ("caption", "ylabel", "xlabel")]
    return Curves(words[0], lines, words[1], words[2], "log" if document["scale"] == "log" else "linear")


def _parse_number(value: object) -> float:
    if not isinstance(value, float | int) or not isfinite(value):
        raise ValueError(value)
    return float(value)


def _parse_row(values: Iterable[object], gaps: bool = False) -> np.ndarray:
    return np.array([float("nan") if gaps and value is None else _parse_number(value) for value in values], np.float64)
