"""The page: the table, and sentences that say what its numbers are found to show."""

import textwrap
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

import diffjax as dj
from enumerated import explained
from enumerated.explained import SURE
from enumerated.families import Found, Point
from enumerated.guided import Guided
from enumerated.laws import apart, by_chance, marginals, product
from enumerated.rows import Erring

SOLVER = "diffusion, dpmpp_2m"


def page(found: Found, guided: Guided, erring: dict[str, dict[int, Erring]]) -> str:
    """All of it."""
    claims = (parallel, spreading, crossing, blurring, rules, confident, widths, falling)
    said = [wrapped("* " + claim(found), "  ") for claim in claims]
    parts = [*head(found), *rows(found), "", wrapped(note(found)), "\n## What holds\n", *said]
    for line in (*explained.guidance(guided), *explained.predictions(erring)):
        parts.append(line if line.startswith(("|", "\n", "#")) or not line else wrapped(line, "  " * (line[0] == "*")))
    return "\n".join([*parts, *limits(found)]) + "\n"


def wrapped(text: str, indent: str = "") -> str:
    """In lines."""
    return textwrap.fill(text, 118, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def head(found: Found) -> list[str]:
    """What the data is."""
    alone = -float(np.sum(marginals(found.table) * np.log(marginals(found.table))))
    entropy = dj.oracles.entropy(found.table)
    data = (
        f"Written by `python benchmarks/compare_exact.py`. The data are {found.n} binary tokens, a Markov chain: a 0 "
        f"is followed by a 0 with probability {found.stay[0]:g}, a 1 by a 1 with {found.stay[1]:g}. Their entropy is "
        f"{entropy:.3f} nats; taken each for itself they would have {alone:.3f}. All probabilities are listed, so "
        f"every denoiser is exact (`oracles.joint`, `oracles.atoms`): nothing is learned, and every difference is the "
        f"order's own, or its step rule's. Diffusion sees a token as the number -1 or 1, and what it ends with is "
        f"rounded to the nearer one."
    )
    return [
        "# From one position at a time to all at once, with exact denoisers\n",
        wrapped(data),
        "\n![total variation against evaluations](pictures/compare_exact.png)\n",
        "Total variation between the law of what is drawn and that of the data, by evaluations of the denoiser:\n",
    ]


def rows(found: Found) -> Iterator[str]:
    """Of the table."""
    yield f"| evaluations | {' | '.join(map(str, found.counts))} | law |"
    yield "|---" * (len(found.counts) + 2) + "|"
    for name, curve in found.curves.items():
        how = "drawn" if any(point.error for point in curve.values()) else "listed"
        yield f"| {name} | {' | '.join(value(curve[e]) if e in curve else '' for e in found.counts)} | {how} |"


def value(point: Point) -> str:
    """The total variation; 0 where nothing but rounding is left of a law that is listed."""
    return "0" if point.apart < 1e-9 else f"{point.apart:.3f}"


def cell(point: Point) -> str:
    """The total variation, with its standard error where it was drawn."""
    return value(point) + (f" ± {point.error:.3f}" if point.error else "")


def note(found: Found) -> str:
    """How it was measured."""
    most = max(point.error for curve in found.curves.values() for point in curve.values())
    return (
        f"A law that is listed was found by enumeration, in float64. The others are {found.draws:,} draws of "
        f"`dj.sample`, all from the same keys, with standard errors of at most {most:.3f}; as many draws of the data "
        f"itself are {by_chance(found.table, found.draws):.3f} from it by chance, on average. *raster* shows at each "
        f"evaluation the k next in the row, *any order* any k, *spread out* k that are as far from each other as may "
        f"be, and all three spend n/k evaluations, for k that divide n. *confidence* shows those that it has drawn "
        f"with the highest probability plus Gumbel noise (MaskGIT's), *surest first* without noise. *rolling* has "
        f"width 0.5; blocks come one after the other, each with the same grid. Rolling diffusion and diffusion in "
        f"blocks use dpmpp_2m."
    )


def at(found: Found, name: str, evaluations: int) -> Point:
    """Of a curve."""
    return found.curves[name][evaluations]


def less(a: Point, b: Point) -> bool:
    """Whether a is nearer to the data than b, beyond chance."""
    return b.apart - a.apart > max(SURE * float(np.hypot(a.error, b.error)), 1e-9)


def than(a: Point, b: Point) -> str:
    """What a is to b."""
    return "less than" if less(a, b) else "more than" if less(b, a) else "no different from"


def of_product(found: Found) -> float:
    """The total variation of the product of the marginals."""
    return apart(product(found.table), found.table)


def parallel(found: Found) -> str:
    """What predicting many positions at once costs."""
    curve, n = found.curves["any order"], found.n
    steps = ", ".join(f"{n // e} at a time {value(point)}" for e, point in curve.items())
    cost = "costs" if less(curve[n], curve[n // 2]) and less(curve[n // 2], curve[1]) else "costs nothing here"
    exact = max(curve[n].apart, at(found, "raster", n).apart) < 1e-9
    ends = "One at a time is exact, in raster order too" if exact else "One at a time is **not** exact"
    few, many = (at(found, "masked diffusion", e) for e in (n, max(found.counts)))
    return (
        f"**Predicting many positions at once {cost}.** They are drawn independently, given what is visible. In any "
        f"order: {steps}. All at once is the product of the marginals, which is {of_product(found):.3f} from the data. "
        f"{ends}. Masked diffusion leaves to chance how many are shown at an evaluation, and so has {value(few)} at "
        f"{n} evaluations, and {value(many)} at {max(found.counts)}."
    )


def spreading(found: Found) -> str:
    """Why spreading out what is removed helps."""
    e, half = found.n // 2, found.n // 2
    raster, drawn, spread = (at(found, name, e) for name in ("raster", "any order", "spread out"))
    helps = "helps" if less(drawn, raster) and less(spread, raster) else "does not help here"
    return (
        f"**Spreading out what is removed {helps}.** Neighbours tell each other {information(found, 1):.3f} nats, "
        f"tokens {half} apart {information(found, half):.3f}; what positions tell each other is lost where they are "
        f"predicted at once. At {found.n // e} at a time raster, which takes neighbours, has {value(raster)}; any "
        f"order has {value(drawn)}, {than(drawn, raster)} that, and spread out {value(spread)}."
    )


def information(found: Found, distance: int) -> float:
    """Nats that the first token and the one so far from it tell each other."""
    both = found.table.sum(axis=tuple(i for i in range(found.n) if i not in (0, distance)))
    alone = both.sum(axis=1, keepdims=True) * both.sum(axis=0, keepdims=True)
    return float(np.sum(both * np.log(both / alone)))


def crossing(found: Found) -> str:
    """Tokens or numbers at few evaluations."""
    half, n, last = found.n // 2, found.n, max(found.counts)
    tokens = {e: at(found, "any order", e) for e in (half, n)}
    solver = {e: at(found, SOLVER, e) for e in (half, n, last)}
    crosses = less(solver[half], tokens[half]) and less(tokens[n], solver[n])
    return (
        f"**{'The curves of diffusion and autoregression cross' if crosses else 'Diffusion and autoregression'}.** At "
        f"{half} evaluations diffusion has {cell(solver[half])}, {than(solver[half], tokens[half])} any order's "
        f"{cell(tokens[half])}. At {n} it has {cell(solver[n])}, and one token at a time {cell(tokens[n])}. At {last} "
        f"it has {cell(solver[last])}, where chance leaves {by_chance(found.table, found.draws):.3f}."
    )


def blurring(found: Found) -> str:
    """Why averaging many plausible answers blurs."""
    curve, mean = found.curves["diffusion, ddim"], 2 * marginals(found.table)[:, 1] - 1
    off = float(np.abs(curve[1].x - mean[None]).max())
    same = "in every draw" if off < 1e-4 else f"but for up to {off:.2g}"
    sizes = ", ".join(f"{float(np.abs(curve[e].x).mean()):.2f} at {e}" for e in list(curve)[:6])
    likelier = int("".join(str(int(m > 0)) for m in mean), 2)
    left = 1 - float(found.table.ravel()[likelier])
    return (
        f"**The average of many plausible answers is none of them.** One evaluation of ddim gives the mean of the "
        f"data, {mean[0]:.3f} at the first position, {same}, where the data are -1 or 1. Rounded it is one state "
        f"alone, {np.binary_repr(likelier, found.n)}, which leaves {left:.3f}; measured, {cell(curve[1])}. The mean "
        f"size of a number, which is 1 in the data, is {sizes} evaluations."
    )


def rules(found: Found) -> str:
    """What a step rule does."""
    second, first, random = (at(found, f"diffusion, {name}", found.n) for name in ("dpmpp_2m", "ddim", "posterior"))
    matters = "matters" if less(second, random) or less(first, random) else "does not matter here"
    return (
        f"**The step rule {matters}.** At {found.n} evaluations the solver of second order, dpmpp_2m, has "
        f"{cell(second)}, {than(second, first)} ddim, which is of first order and has {cell(first)}; and that is "
        f"{than(first, random)} draws from the posterior, {cell(random)}."
    )


def confident(found: Found) -> str:
    """Confidence picks likely tokens too often."""
    n, likely = found.n, int(np.argmax(found.table))
    p, state = float(found.table.ravel()[likely]), np.binary_repr(int(np.argmax(found.table)), n)
    surest, noisy = at(found, "surest first", n), at(found, "confidence", n)
    half, drawn = at(found, "confidence", n // 2), at(found, "any order", n // 2)
    often = "too often" if min(surest.law[likely], noisy.law[likely]) > p else "not always too often"
    return (
        f"**Confidence picks what is likely {often}, even with exact denoisers.** Whether a token is shown depends on "
        f"what was drawn for it. The likeliest state, {state}, has probability {p:.3f}; one at a time, surest first "
        f"draws it with {surest.law[likely]:.3f} and confidence with {noisy.law[likely]:.3f}. So where any order is "
        f"exact they have {cell(surest)} and {cell(noisy)}. At {n // (n // 2)} at a time confidence has {cell(half)}, "
        f"{than(half, drawn)} any order's {cell(drawn)}."
    )


def widths(found: Found) -> str:
    """What width does in between."""
    e, n = 2 * found.n, found.n
    names = (f"diffusion in {n} blocks", "diffusion in 3 blocks", "diffusion in 2 blocks", SOLVER)
    numbers = [at(found, name, e) for name in names]
    tokens = [at(found, name, e) for name in ("masks in 3 blocks", "masks in 2 blocks", "masked diffusion")]
    better, inner = (all(less(b, a) for a, b in pairwise(points)) for points in (numbers, tokens))
    told = [", ".join(value(point) for point in points) for points in (numbers, tokens)]
    rolling = at(found, "rolling diffusion", e), at(found, "rolling masks", e)
    return (
        f"**Width in between.** At {e} evaluations diffusion in {n}, 3, 2 blocks and 1 has {told[0]}: "
        f"{'the wider, the nearer to the data' if better else 'the wider is not always the nearer to the data'}. "
        f"Rolling has {cell(rolling[0])}. Masks in 3, 2 blocks and 1 have {told[1]}, "
        f"{'the wider the nearer' if inner else 'in no one direction'}, and rolling masks {cell(rolling[1])}; but {n} "
        f"blocks are raster order, which has {value(at(found, 'raster', n))} after {n} evaluations."
    )


def falling(found: Found) -> str:
    """Whether curves are monotone within their errors."""
    rising = [name for name, curve in found.curves.items() if not falls(curve)]
    but = f", but for {' and '.join(f'*{name}*' for name in rising)}" if rising else ""
    return f"**Every curve falls**, within {SURE:g} standard errors, as evaluations are added{but}."


def falls(curve: dict[int, Point]) -> bool:
    """Whether no point is worse than the one before it."""
    return not any(less(a, b) for a, b in pairwise(curve.values()))


def limits(found: Found) -> Iterator[str]:
    """The sampler's own draws where the law is known beforehand."""
    table = product(found.table).reshape(found.table.shape)
    chances = by_chance(found.table, found.draws), by_chance(table, found.draws)
    yield "\n## Limits\n"
    yield wrapped(
        f"Total variation of {found.draws:,} draws of `dj.sample` to the data, and to the product of the marginals. "
        f"Draws of the law itself have {chances[0]:.3f} and {chances[1]:.3f} by chance; the two laws are "
        f"{of_product(found):.3f} apart."
    )
    yield "\n| draws | to the data | to the product of the marginals |\n|---|---|---|"
    for (name, evaluations), point in found.limits.items():
        how = "all at once" if evaluations == 1 else "one at a time"
        yield f"| {name}, {how} | {cell(point)} | {apart(point.law, table):.3f} |"
