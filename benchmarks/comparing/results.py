"""From a folder of scores to the figures of the page, each with its standard error over both kinds of seeds."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from comparing.families import Family, Point, guided, named
from comparing.places import REAL, bits_name, drawn_name, scores_in
from comparing.scores import left
from configs.compare import Compare

QUALITY = ("frechet_ratio", "two_sample", "spread", "accuracy")
Results = dict[str, Any]


def gathered(compare: Compare, folder: Path) -> Results:
    """All that has been measured so far."""
    families = {family.name: _family(compare, folder, family) for family in named(compare.families)}
    real = [each["two_sample"] for each in _there(sorted((folder / "scores").glob(f"*/{REAL}")))]
    aside = ("data_dir", "batch", "at_once")
    unmeasured = (left(compare, folder, *each) for each in product(named(compare.families), compare.train_seeds))
    return {
        "finished": not any(map(any, unmeasured)),
        "compare": {name: value for name, value in asdict(compare).items() if name not in aside},
        "real": {"two_sample": _rounded(float(np.mean(real))) if real else None},
        "families": {name: found for name, found in families.items() if found},
    }


def mean_and_error(values: Sequence[Sequence[float]]) -> tuple[float, float | None]:
    """Of values by training seed and sampling seed, [T, S]: their mean and its standard error.

    SE² is the larger of B / T and W / (T S): B the variance of the T means, which holds both kinds of variation, and
    W that within a training seed. With few seeds either may come out small by chance; of one value there is none.
    """
    rows = [np.asarray(row, float) for row in values if len(row)]
    means = np.array([row.mean() for row in rows])
    within = [row.var(ddof=1) for row in rows if len(row) > 1]
    squares = [means.var(ddof=1) / len(means)] if len(means) > 1 else []
    squares += [np.mean(within) / sum(map(len, rows))] if within else []
    return float(means.mean()), float(np.sqrt(max(squares))) if squares else None


def _family(compare: Compare, folder: Path, family: Family) -> Results | None:
    """One family's curves; None where nothing is measured."""
    places = [scores_in(folder, family.name, seed) for seed in compare.train_seeds]
    counted = next(iter(_there([place / "flops.json" for place in places])), None)
    if counted is None:
        return None
    curve, method = _bits(compare, places, counted)
    return {
        "title": family.title,
        "aside": family.aside,
        "parameters": counted["parameters"],
        "points": _points(compare, places, family.points(compare), counted["points"]),
        "guided": _points(compare, places, guided(family, compare), {}),
        "bits": curve,
        "method": method,
        "context": _context(places),
    }


def _points(compare: Compare, places: list[Path], asked: list[Point], operations: dict[str, float]) -> list[Results]:
    """Quality at each of these points that has been measured."""
    points = []
    for point in asked:
        found = [_there([place / drawn_name(point.name, seed) for seed in compare.sample_seeds]) for place in places]
        if any(found):
            there = [name for name in QUALITY if all(name in one for row in found for one in row)]
            quality = {name: _pair([[one[name] for one in row] for row in found]) for name in there}
            evaluations = next(row[0]["evaluations"] for row in found if row)
            about = {"name": point.name, "guidance": point.guidance, "evaluations": evaluations}
            points.append(
                {**about, **({"flops": operations[point.name]} if point.name in operations else {}), **quality}
            )
    return points


def _bits(compare: Compare, places: list[Path], counted: Results) -> tuple[list[Results], str]:
    """Bits of each checkpoint, with no less error than the measurement of each has by itself; and the method."""
    curve, method, every = [], "", compare.steps // compare.checkpoints
    for step in range(every, compare.steps + 1, every):
        if found := _there([place / bits_name(step) for place in places]):
            mean, error = mean_and_error([[each["bits"]] for each in found])
            own = float(np.sqrt(np.mean([each["error"] ** 2 for each in found]) / len(found)))
            pair = [_rounded(mean), None if error is None else _rounded(max(error, own))]
            curve.append({"step": step, "flops": step * counted["training_step"], "bits": pair})
            method = found[0]["method"]
    return curve, method


def _context(places: list[Path]) -> Results:
    """The context test, the mean over training seeds."""
    found = _there([place / "context.json" for place in places])
    tested = [each for each in found if "fall" in each]
    names = ("hidden", "known", "fall") if tested else ()
    means = {name: _rounded(float(np.mean([each[name] for each in tested]))) for name in names}
    return {"of": found[0]["of"] if found else "none", **means}


def _there(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """What those of the files hold that are there."""
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def _pair(values: Sequence[Sequence[float]]) -> list[float | None]:
    return [_rounded(value) for value in mean_and_error(values)]


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
