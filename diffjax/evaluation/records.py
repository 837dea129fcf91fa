"""The numbers of a report in JSON, for programs and for comparisons."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np
from jaxtyping import Float

from diffjax.evaluation.contents import Curves, Report
from diffjax.evaluation.findings import Findings
from diffjax.evaluation.intervals import Replicates, interval_of
from diffjax.evaluation.measures import Measured


def record(report: Report) -> dict[str, Any]:
    """The numbers of a report as JSON has them, by keys for programs; what is not finite is null."""
    source, found = report.source, report.findings or Findings()
    origin = {**vars(source), "reference": {**source.reference}, "more": {**source.more}}
    given = report.likelihoods
    bits = {} if given is None else {
        name: {split: _bits(each) for split, each in zip(("train", "test"), both, strict=True)}
        for name, both in given.bits.items()
    }  # fmt: skip
    return finite({
        "title": report.title,
        "alarms": list(found.alarms),
        "scores": scores_of(report.scores),
        "bits_per_dim": bits,
        "artefacts": {flag.name: flag._asdict() for flag in found.flags},
        "curves": {name: _curves(curves) for name, curves in report.curves.items()},
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
    without = {"samples": found.samples.tolist(), "reference": found.reference.tolist()}
    return {**interval_of(found)._asdict(), "without": without}


def _bits(each: Float[np.ndarray, " _"]) -> dict[str, Any]:
    return {"mean": float(each.mean()), "error": float(each.std(ddof=1) / len(each) ** 0.5), "images": each.tolist()}


def _curves(curves: Curves) -> dict[str, Any]:
    lines = {
        name: {"x": np.asarray(x, float).tolist(), "y": np.asarray(y, float).tolist()}
        for name, (x, y) in curves.lines.items()
    }
    return {**vars(curves), "lines": lines}
