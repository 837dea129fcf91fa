"""The tables of the comparison, a function of its figures."""

from collections.abc import Iterator
from typing import Any

from report import Table, plus_minus, table

Results = dict[str, Any]
LEAST_FALL = 0.5  # bits from all hidden to one hidden, of a net that has learnt context


def tables(results: Results) -> list[Table]:
    """One row for each family, and one for each point of its curves."""
    title = "Families" if results["finished"] else "Families (not finished)"
    columns = ("family", "parameters", "bits, test", "by", "context: all hidden → one hidden")
    families = table(title, (*columns, "Fréchet ratio, best", "evaluations"), map(_row, results["families"].values()))
    columns = ("family", "point", "evaluations", "operations a picture", "Fréchet ratio", "two-sample")
    return [families, table("Points", (*columns, "variance of real"), _points(results))]


def _row(family: Results) -> list[str]:
    best = min(family["points"], key=lambda point: point["frechet_ratio"][0], default=None)
    return [
        family["title"],
        f"{family['parameters']:,}",
        plus_minus(*family["bits"][-1]["bits"], form=".3f") if family["bits"] else "—",
        family["method"] or "—",
        _fall(family["context"]),
        plus_minus(*best["frechet_ratio"]) if best else "—",
        str(best["evaluations"]) if best else "—",
    ]


def _fall(context: Results) -> str:
    if "fall" not in context:
        return "—"
    verdict = "passes" if context["fall"] >= LEAST_FALL else "fails"
    return f"{context['hidden']:.2f} → {context['known']:.2f} ({verdict})"


def _points(results: Results) -> Iterator[list[str]]:
    for family in results["families"].values():
        for point in [*family["points"], *family["guided"][1:]]:
            yield [
                family["title"],
                point["name"],
                str(point["evaluations"]),
                f"{point['flops']:.2e}" if "flops" in point else "—",
                plus_minus(*point["frechet_ratio"]),
                plus_minus(*point["two_sample"], form=".3f"),
                plus_minus(*point["spread"]),
            ]
