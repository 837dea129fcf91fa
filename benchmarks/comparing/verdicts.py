"""Sentences that say what holds and what does not, each made of the numbers that it speaks of."""

from typing import Any

import numpy as np

Results = dict[str, Any]
Pair = list[Any]  # a mean and its standard error; None of one value
LEAST_FALL = 0.5  # bits from all hidden to one hidden, of a net that has learnt context


def quality(results: Results) -> list[str]:
    """What stands beside the curves over evaluations."""
    found = [parallel(results), spreading(results), blurs(results), at_ten(results), rolling(results)]
    told = [each for each in found if each]
    if told:
        told.append(
            "**What predicting the noise in place of the image changes** these 8 by 8 pixels are too few to show, and "
            "every Gaussian net here predicts v: the [exact page](compare_exact.md) shows where an error goes."
        )
    return told


def parallel(results: Results) -> str:
    """What predicting many positions at once costs."""
    points = results["families"].get("any_order", {}).get("points", [])
    if len(points) < 2:
        return ""
    one, *more = points
    beyond = [point for point in more if _above(point["frechet_ratio"], one["frechet_ratio"])]
    list_of = ", ".join(f"{pm(point['frechet_ratio'])} at {point['name']}" for point in points)
    verdict = _holds(beyond and beyond[-1] is more[-1])
    cost = f"beyond error at {', '.join(point['name'] for point in beyond)}" if beyond else "beyond error at none"
    return (
        f"**Predicting many pixels at once costs quality: {verdict}.** They are drawn independently of each other, so "
        f"what they share is lost. Any order has a Fréchet ratio of {list_of}: worse than {one['name']} {cost}."
    )


def spreading(results: Results) -> str:
    """What spreading out the removal does: the same k at once, side by side or scattered."""
    near, far = ({p["name"]: p for p in _points(results, key)} for key in ("side_by_side", "any_order"))
    both = [name for name in near if name in far and 1 < far[name]["evaluations"] < 64]
    if not both:
        return ""
    list_of = "; ".join(
        f"{name}: {pm(far[name]['frechet_ratio'])} scattered, {pm(near[name]['frechet_ratio'])} side by side"
        for name in both
    )
    wins = [name for name in both if _above(near[name]["frechet_ratio"], far[name]["frechet_ratio"])]
    loses = [name for name in both if _above(far[name]["frechet_ratio"], near[name]["frechet_ratio"])]
    verdict = "holds" if len(wins) == len(both) else "holds in part" if wins and not loses else "does not hold here"
    return (
        f"**Spreading out what is removed helps: {verdict}.** Neighbours depend on each other most, so k pixels drawn "
        f"at once lose less when they are scattered. {list_of}. Scattered is better beyond error at "
        f"{', '.join(wins) or 'none'}, and worse at {', '.join(loses) or 'none'}. (The same nets, asked in two "
        "orders.)"
    )


def blurs(results: Results) -> str:
    """Why averaging many plausible answers blurs: one evaluation from nothing known."""
    points = _points(results, "gaussian")
    if len(points) < 2 or points[0]["evaluations"] != 1:
        return ""
    one, best = points[0], min(points, key=lambda point: point["frechet_ratio"][0])
    worse = _above(one["frechet_ratio"], best["frechet_ratio"]) and _above(best["spread"], one["spread"])
    return (
        f"**One evaluation averages all plausible answers, which blurs: {_holds(worse)}.** From noise alone the best "
        "guess of an image is the mean of its class, so Gaussian diffusion at 1 evaluation draws with "
        f"{pm(one['spread'])} of the variance of real pixels, and a Fréchet ratio of {pm(one['frechet_ratio'])}; at "
        f"{best['evaluations']} evaluations it is {pm(best['spread'])} and {pm(best['frechet_ratio'])}."
    )


def at_ten(results: Results) -> str:
    """Gaussian against masked diffusion."""
    ours, theirs = ({p["evaluations"]: p for p in _points(results, key)} for key in ("gaussian", "masked"))
    both = [count for count in ours if count in theirs]
    if not both:
        return ""
    count = min(both, key=lambda count: abs(count - 10))
    a, b = ours[count]["frechet_ratio"], theirs[count]["frechet_ratio"]
    best = min(ours.values(), key=lambda point: point["frechet_ratio"][0])
    if not _above(a, b):
        why = (
            "Masked pixels are drawn independently within a step, and those that were drawn stay; a step of the ODE "
            "moves all of them together."
        )
    elif _above(best["frechet_ratio"], b):
        why = (
            f"Nor at more: its best is {pm(best['frechet_ratio'])} at {best['evaluations']}, so it is the net that has "
            "not learnt enough in these steps, not the sampler's steps that are too few."
        )
    else:
        why = f"It is so at {best['evaluations']}, {pm(best['frechet_ratio'])}: what it lacks are steps of the sampler."
    verdict = _holds(not _above(a, b))
    return (
        f"**Gaussian diffusion at {count} evaluations is at least as good as masked diffusion at {count}: {verdict}.** "
        f"{pm(a)} against {pm(b)}. {why}"
    )


def rolling(results: Results) -> str:
    """A wave against all together."""
    ours, theirs = ({p["evaluations"]: p for p in _points(results, key)} for key in ("rolling", "gaussian"))
    both = sorted(count for count in ours if count in theirs and count > 1)
    if not both:
        return ""
    list_of = "; ".join(f"{n}: {pm(ours[n]['frechet_ratio'])} and {pm(theirs[n]['frechet_ratio'])}" for n in both)
    last = both[-1]
    a, b = ours[last]["frechet_ratio"], theirs[last]["frechet_ratio"]
    told = "worse" if _above(a, b) else "better" if _above(b, a) else "not told apart"
    return (
        "**A rolling wave shares the evaluations out over the pixels:** each passes through its levels in a part of "
        f"them only. Rolling and Gaussian diffusion at {list_of}. At {last} rolling is {told}."
    )


def guidance(results: Results) -> list[str]:
    """What guidance does to each family."""
    found = {family["title"]: family["guided"] for family in results["families"].values() if len(family["guided"]) > 1}
    return [
        f"**{title}**, at {plain['name']}: guidance of {most['guidance']:g} takes the share of pictures that a "
        f"classifier of real images gives their own class from {pm(plain['accuracy'], '.3f')} to "
        f"{pm(most['accuracy'], '.3f')} ({_change(plain['accuracy'], most['accuracy'])}), the variance of real pixels "
        f"from {pm(plain['spread'])} to {pm(most['spread'])} ({_change(plain['spread'], most['spread'])}) and the "
        f"Fréchet ratio from {pm(plain['frechet_ratio'])} to {pm(most['frechet_ratio'])} "
        f"({_change(plain['frechet_ratio'], most['frechet_ratio'])})."
        for title, (plain, *_, most) in found.items()
        if "accuracy" in plain
    ]


def _change(before: Pair, after: Pair) -> str:
    return "higher" if _above(after, before) else "lower" if _above(before, after) else "not told apart"


def operations(results: Results) -> list[str]:
    """What stands beside the curves over operations."""
    raster, masked = _points(results, "raster"), _points(results, "masked")
    if not raster or not masked:
        return []
    pass_of = masked[0]["flops"] / masked[0]["evaluations"]
    times = raster[0]["flops"] / pass_of
    told = [
        f"**With a key-value cache {raster[0]['evaluations']} evaluations cost about one full pass: "
        f"{_holds(times < 2)}.** Raster autoregression spends {raster[0]['flops']:.2e} operations a picture, "
        f"{times:.2g} times those of one evaluation of the bidirectional net ({pass_of:.2e})."
    ]
    cheap = [
        (family["title"], point)
        for family in results["families"].values()
        for point in family["points"]
        if not _above(point["frechet_ratio"], raster[0]["frechet_ratio"]) and point["flops"] <= raster[0]["flops"]
        and point is not raster[0]
    ]  # fmt: skip
    names = "; ".join(f"{title} at {point['name']}, {pm(point['frechet_ratio'])}" for title, point in cheap)
    ours = pm(raster[0]["frechet_ratio"])
    told.append(f"As good as raster autoregression ({ours}) for as few operations or fewer: {names or 'none'}.")
    return told


def training(results: Results) -> list[str]:
    """What stands beside the bits."""
    found = {key: family for key, family in results["families"].items() if family["bits"] and not family["aside"]}
    if not found:
        return []
    ranked = sorted(found.values(), key=lambda family: family["bits"][-1]["bits"][0])
    list_of = ", ".join(f"{family['title']} {pm(family['bits'][-1]['bits'], '.3f')}" for family in ranked)
    told = [f"At the end of training, from the fewest bits: {list_of}. A bound may be above what it bounds."]
    tested = [family for family in found.values() if "fall" in family["context"]]
    if tested:
        failed = [family["title"] for family in tested if passes(family["context"]) != "passes"]
        verdict = _holds(not failed)
        more = "More steps teach more of it: [results.md](results.md) has what the experiments' own trainings reach."
        rest = f"Not by {', '.join(failed)}. {more}" if failed else "All do."
        told.append(f"**Every family has learnt context, {LEAST_FALL} bits or more of it: {verdict}.** {rest}")
    return told


def causality(results: Results) -> list[str]:
    """What one pass for all steps saves in training, and what it costs in bits."""
    pair = [results["families"].get(key) for key in ("raster", "raster_bidirectional")]
    if not all(family and family["bits"] for family in pair):
        return []
    one, both = ([(row["flops"], row["bits"]) for row in family["bits"]] for family in pair if family)
    last, reached = one[-1][1], both[-1][1]
    lost = _above(last, reached)
    told = [
        "One pass of the causal net learns all 64 predictions of an image, one pass of the bidirectional net those of "
        f"one moment. After as many steps the causal net is at {pm(last, '.3f')} bits and the bidirectional one at "
        f"{pm(reached, '.3f')}: **causality costs bits at the end of this training: {_holds(lost)}.**"
    ]
    sooner = next((flops for flops, bits in one if bits[0] <= reached[0]), None)
    if sooner is None:
        told.append("The causal net does not come to the bidirectional one's bits within this training.")
    else:
        told.append(
            f"It has that one's last bits after {sooner:.2e} operations, which took the other {both[-1][0]:.2e}: "
            f"**one pass for all steps saves training: {_holds(sooner < both[-1][0])}**, by {both[-1][0] / sooner:.1f} "
            "times as far as these checkpoints tell."
        )
    return told


def passes(context: Results) -> str:
    """Whether a net has learnt context."""
    return "passes" if context["fall"] >= LEAST_FALL else "fails"


def pm(pair: Pair, form: str = ".2f") -> str:
    """A mean and its error, where it is known."""
    return f"{pair[0]:{form}}" if pair[1] is None else f"{pair[0]:{form}} ± {pair[1]:{form}}"


def _points(results: Results, family: str) -> list[Results]:
    return results["families"].get(family, {}).get("points", [])


def _above(a: Pair, b: Pair) -> bool:
    """Whether a is more than b by two standard errors of their difference, or by anything where none is known."""
    return a[0] - b[0] > 2 * float(np.hypot(a[1] or 0, b[1] or 0))


def _holds(so: Any) -> str:
    return "holds" if so else "does not hold here"
