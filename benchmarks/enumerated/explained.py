"""The second half of the page: what guidance does to each family, and what an error does by what is predicted."""

from collections.abc import Iterator

import numpy as np

from enumerated.guided import STAYS, WEIGHTS, Guided
from enumerated.rows import COUNTS, ERROR, ROWS, Erring

SURE = 3.0  # standard errors
ROUNDING = 1e-9


def guidance(found: Guided) -> Iterator[str]:
    """Lines; paragraphs are not wrapped yet."""
    (a, b), (c, d) = STAYS
    yield "\n## What guidance does to each family\n"
    yield (
        f"There are two such chains now, each as likely: in the class that is asked for a 0 is followed by a 0 with "
        f"probability {a:g} and a 1 by a 1 with {b:g}, in the other with {c:g} and {d:g}. Guidance (`guidance.cfg`) "
        "mixes the exact predictions of the class and of all data with weights w and 1 - w, logits of tokens and "
        "numbers alike. It is named after the tilted law p(x|c)^w p(x)^(1-w), of the whole x; what each evaluation "
        f"tilts is the next prediction alone. Total variation to the tilted law, of {found.draws:,} draws where a "
        "family is not listed, and how probable the class is of what was drawn, on average:"
    )
    yield "\n![the class and the tilted law against the weight](pictures/compare_exact_guided.png)\n"
    yield f"| w | {' | '.join(f'{w:g}' for w in WEIGHTS)} | class at {' | '.join(f'{w:g}' for w in WEIGHTS)} |"
    yield "|---" * (2 * len(WEIGHTS) + 1) + "|"
    sure = " | ".join(f"{found.sure(found.tilted[w]):.3f}" for w in WEIGHTS)
    yield f"| the tilted law | {' | '.join('0' for _ in WEIGHTS)} | {sure} |"
    for name, laws in found.laws.items():
        off = " | ".join(f"{found.off(name, w):.3f}" if found.off(name, w) > ROUNDING else "0" for w in WEIGHTS)
        yield f"| {name} | {off} | {' | '.join(f'{found.sure(laws[w]):.3f}' for w in WEIGHTS)} |"
    yield ""
    yield "* " + surer(found)
    yield "* " + nearest(found)


def surer(found: Guided) -> str:
    """More of the class, less variety."""
    w, plain = WEIGHTS[-2], WEIGHTS[0]
    alike = [
        name
        for name, laws in found.laws.items()
        if found.sure(laws[w]) > found.sure(laws[plain]) and entropy(laws[w]) < entropy(laws[plain])
    ]
    where = "every family" if len(alike) == len(found.laws) else ", ".join(alike) or "none of the families"
    over = [name for name, laws in found.laws.items() if found.sure(laws[w]) > found.sure(found.tilted[w]) + 0.01]
    least = min(entropy(laws[w]) for laws in found.laws.values())
    most = max(entropy(laws[w]) for laws in found.laws.values())
    all_of = "Every family is" if len(over) == len(found.laws) else f"{', '.join(over) or 'No family'} is"
    return (
        f"**Guidance makes the class surer and the draws more alike, in {where}.** At w = {w:g} their entropies "
        f"are {least:.2f} to {most:.2f} nats, where that of the class is {entropy(found.asked.ravel()):.2f} and that "
        f"of the tilted law {entropy(found.tilted[w]):.2f}. {all_of} surer of the class than the tilted law: what an "
        "evaluation tilts does not know what later ones will add, and they tilt again."
    )


def nearest(found: Guided) -> str:
    """Whether anything draws from the tilted law."""
    w = WEIGHTS[-2]
    ranked = sorted(found.laws, key=lambda name: found.off(name, w))
    listed = ", ".join(f"{name} {found.off(name, w):.3f}" for name in ranked)
    none = all(found.off(name, w) > max(SURE * found.error(name, w), ROUNDING) for name in ranked)
    return (
        f"**{'No family draws' if none else 'Not every family fails to draw'} from the tilted law**, however many its "
        f"evaluations. From the nearest at w = {w:g}: {listed}. At w = 1 the orders that are exact stay exact, and the "
        "others have the errors of their steps."
    )


def entropy(law: np.ndarray) -> float:
    """In nats."""
    p = law[law > 0]
    return float(-np.sum(p * np.log(p)))


def predictions(found: dict[str, dict[int, Erring]]) -> Iterator[str]:
    """Lines; paragraphs are not wrapped yet."""
    yield "\n## What predicting the noise in place of the image changes\n"
    yield (
        "With an exact denoiser nothing: image, noise and v say the same. A net errs, and then it matters in which of "
        f"them. Here the exact output has a fixed smooth function of x_t added, {ERROR:g} at root mean square, which "
        "is the same whatever the output stands for. Total variation to the data of the chain above, by evaluations of "
        "ddim (schedule linear_beta, which leaves some signal at the end, as predicted noise needs it), and how far "
        "numbers end from the nearest token, root mean square:"
    )
    yield f"\n| error in | {' | '.join(map(str, COUNTS))} | numbers at {' | '.join(map(str, COUNTS))} |"
    yield "|---" * (2 * len(COUNTS) + 1) + "|"
    for name, curve in found.items():
        apart = " | ".join(f"{point.apart:.3f}" for point in curve.values())
        yield f"| {name} | {apart} | {' | '.join(f'{point.rough:.3g}' for point in curve.values())} |"
    yield ""
    yield "* " + changed(found)


def changed(found: dict[str, dict[int, Erring]]) -> str:
    """Where an error goes."""
    image, v, noise = (found[name][COUNTS[-1]] for name in ROWS)
    coarse = noise.apart - max(image.apart, v.apart) > SURE * np.hypot(noise.error, max(image.error, v.error))
    fine = image.rough > 2 * max(v.rough, noise.rough)
    both = min(v.apart, image.apart) == v.apart and v.rough < image.rough / 2
    return (
        "**Predicted noise errs in what is coarse, a predicted image in what is fine"
        f"{'' if coarse and fine else ': this does not hold here'}.** An error of the noise is one of the image "
        "multiplied by sigma/alpha, which is large where all is decided, and falls to nothing at the end: at "
        f"{COUNTS[-1]} evaluations {noise.apart:.3f} ± {noise.error:.3f} with numbers {noise.rough:.3f} from a token. "
        f"An error of the image stays in the image: {image.apart:.3f} ± {image.error:.3f}, and {image.rough:.3f}. v is "
        f"noise where there is little and image where there is much{', and has the best of both' if both else ''}: "
        f"{v.apart:.3f} ± {v.error:.3f}, and {v.rough:.3f}."
    )
