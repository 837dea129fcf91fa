"""The tables of docs/compare_exact.md."""

from collections.abc import Iterator

from report import Table, plus_minus, table

from enumerated.families import Found
from enumerated.guided import WEIGHTS, Guided
from enumerated.laws import apart, product
from enumerated.rows import COUNTS, Erring

ROUNDING = 1e-9  # what is left of a distance that is 0


def tables(found: Found, guided: Guided, erring: dict[str, dict[int, Erring]]) -> list[Table]:
    """All of them."""
    weights, counts = [f"{w:g}" for w in WEIGHTS], list(map(str, COUNTS))
    return [
        table("Total variation", ("evaluations", *found.counts, "law"), _curves(found)),
        table("Guidance", ("w", *weights, f"class at {weights[0]}", *weights[1:]), _guidance(guided)),
        table("Errors by prediction", ("error in", *counts, f"numbers at {counts[0]}", *counts[1:]), _errors(erring)),
        table("Limits", ("draws", "to the data", "to the product of the marginals"), _limits(found)),
    ]


def distance(value: float) -> str:
    """0 where nothing but rounding is left."""
    return f"{value:.3f}" if value > ROUNDING else "0"


def _curves(found: Found) -> Iterator[list[str]]:
    for name, curve in found.curves.items():
        cells = [distance(curve[count].apart) if count in curve else "" for count in found.counts]
        yield [name, *cells, "drawn" if any(point.error for point in curve.values()) else "listed"]


def _guidance(found: Guided) -> Iterator[list[str]]:
    yield ["the tilted law", *("0" for _ in WEIGHTS), *(f"{found.sure(found.tilted[w]):.3f}" for w in WEIGHTS)]
    for name, laws in found.laws.items():
        sure = [f"{found.sure(laws[w]):.3f}" for w in WEIGHTS]
        yield [name, *(distance(found.off(name, w)) for w in WEIGHTS), *sure]


def _errors(found: dict[str, dict[int, Erring]]) -> Iterator[list[str]]:
    for name, curve in found.items():
        points = curve.values()
        yield [name, *(f"{point.apart:.3f}" for point in points), *(f"{point.rough:.3g}" for point in points)]


def _limits(found: Found) -> Iterator[list[str]]:
    """The sampler's own draws where the law is known beforehand."""
    marginals = product(found.table).reshape(found.table.shape)
    for (name, evaluations), point in found.limits.items():
        how = "all at once" if evaluations == 1 else "one at a time"
        to_data = plus_minus(point.apart, point.error or None, ".3f")
        yield [f"{name}, {how}", to_data, f"{apart(point.law, marginals):.3f}"]
