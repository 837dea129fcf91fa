"""The numbers of a report in JSON, for programs and for comparisons, and what is read of them again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float

from diffjax.errors import UserError
from diffjax.evaluation.jackknife import Replicates, interval_of
from diffjax.evaluation.paired import Measured
from diffjax.reports.evaluation_report import Curves, Report
from diffjax.reports.findings import Findings

NAME = "report.json"
SIDES = ("samples", "reference")
SPLITS = ("train", "test")
LARGEST = 2**28  # bytes of a report that are read


@dataclass(frozen=True)
class Numbers:
    """What is compared of one report: scores, bits per dimension of single images, curves, and pictures of samples."""

    name: str
    about: tuple[Any, ...]  # the reference, and what the scores are of: differences need it equal
    found: Mapping[str, Replicates]
    bits: Mapping[str, np.ndarray]
    curves: Mapping[str, Curves] = field(default_factory=lambda: MappingProxyType({}))
    pictures: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))  # that are still there


def record(report: Report) -> dict[str, Any]:
    """The numbers of a report as JSON has them, by keys for programs; what is not finite is null."""
    source, found = report.source, report.findings or Findings()
    origin = {**vars(source), "reference": {**source.reference}, "more": {**source.more}}
    given = report.likelihoods
    bits = {} if given is None else {
        name: {split: _bits(each) for split, each in zip(SPLITS, both, strict=True)}
        for name, both in given.bits.items()
    }  # fmt: skip
    return finite({
        "title": report.title,
        "alarms": list(found.alarms),
        "scores": scores_of(report.scores),
        "bits_per_dim": bits,
        "bits_per_dim_accuracy": {} if given is None else {"unit": "bits per dimension", **given.accuracy},
        "artefacts": {flag.name: flag._asdict() for flag in found.flags},
        "curves": {name: _curves(curves) for name, curves in report.curves.items()},
        "pictures": {caption: Path(file).name for caption, file in report.pictures.items()},
        "provenance": {**origin, "kernels": vars(source.kernels), "bits": None if given is None else given.told},
    })  # fmt: skip


def scores_of(scores: Sequence[Measured]) -> dict[str, dict[str, Any]]:
    """Scores by features and key, each with its interval and what it is without parts of the rows."""
    found: dict[str, dict[str, Any]] = {}
    for score in scores:
        told = {"name": score.name, "ideal": score.ideal, **_replicated(score.found), "real": _replicated(score.real)}
        found.setdefault(score.features, {})[score.key] = told
    return found


def finite(told: Any) -> Any:
    """The same with null for each number that is not finite, of which JSON knows none."""
    if isinstance(told, dict):
        return {name: finite(value) for name, value in told.items()}
    if isinstance(told, list):
        return [finite(value) for value in told]
    return None if isinstance(told, float) and not isfinite(told) else told


def _replicated(found: Replicates) -> dict[str, Any]:
    without = dict(zip(SIDES, (found.samples.tolist(), found.reference.tolist()), strict=True))
    return {**interval_of(found)._asdict(), "without": without}


def _bits(each: Float[np.ndarray, " _"]) -> dict[str, Any]:
    error = float(each.std(ddof=1) / len(each) ** 0.5) if len(each) > 1 else float("nan")
    return {"mean": float(each.mean()), "error": error, "images": each.tolist()}


def _curves(curves: Curves) -> dict[str, Any]:
    lines = {
        name: {"x": np.asarray(x, float).tolist(), "y": np.asarray(y, float).tolist()}
        for name, (x, y) in curves.lines.items()
    }
    return {**vars(curves), "lines": lines}


def _finite(told: Any) -> Any:
    if isinstance(told, dict):
        return {name: _finite(value) for name, value in told.items()}
    if isinstance(told, list):
        return [_finite(value) for value in told]
    return None if isinstance(told, float) and not isfinite(told) else told


def read_numbers(path: str | Path) -> Numbers:
    """The report.json that `write_report` wrote into that folder, or `evaluate.py` into the evaluation of that run.

    Raises UserError where there is none, or it is no such thing.
    """
    folder = next((at for at in (Path(path), Path(path) / "evaluation") if (at / NAME).is_file()), Path(path))
    file = folder / NAME
    try:
        if not file.is_file():
            raise UserError(f"{file}: no such file; run evaluate.py --workdir {path} first")
        if file.stat().st_size > LARGEST:
            raise UserError(f"{file}: larger than {LARGEST:,} bytes, so no report; evaluate the run again")
        return _numbers_of(str(path), folder, json.loads(file.read_text()))
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{file}: cannot be read as a report; evaluate the run again") from None


def _numbers_of(name: str, folder: Path, told: dict[str, Any]) -> Numbers:
    source, bits = told["provenance"], told["bits_per_dim"]
    found = {
        score["name"]: Replicates(_number(score["value"]), *(_row(score["without"][side]) for side in SIDES))
        for scores in told["scores"].values()
        for score in scores.values()
    }
    features = sorted((key, value) for key, value in source["more"].items() if key.startswith("features "))
    own = {f"bits per dimension of {split}": _row(bits["this model"][split]["images"]) for split in SPLITS if bits}
    pictures = {
        str(caption): folder / Path(file).name
        for caption, file in told["pictures"].items()
        if (folder / Path(file).name).is_file()
    }
    curves = {str(key): _curves_of(each) for key, each in told["curves"].items()}
    return Numbers(name, (source["fingerprint"], source["kernels"], features), found, own, curves, pictures)


def _curves_of(told: dict[str, Any]) -> Curves:
    lines = {name: (_row(line["x"], gaps=True), _row(line["y"], gaps=True)) for name, line in told["lines"].items()}
    words = [str(told[key]) for key in ("caption", "ylabel", "xlabel")]
    return Curves(words[0], lines, words[1], words[2], "log" if told["scale"] == "log" else "linear")


def _number(given: Any) -> float:
    if not isinstance(given, float | int) or not isfinite(given):
        raise ValueError(given)
    return float(given)


def _row(given: Any, gaps: bool = False) -> np.ndarray:
    return np.array([float("nan") if gaps and each is None else _number(each) for each in given], np.float64)
