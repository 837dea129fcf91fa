"""The families, each a value: an experiment of configs/ with some fields changed, and the points of its curve.

To add a family is to add an entry to `FAMILIES`.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from configs.compare import Compare
from diffjax.errors import UserError

PIXELS = 64


@dataclass(frozen=True)
class Point:
    """One way to draw from a family: its name, a rule, a grid and an order (by default the net's own), and guidance."""

    name: str
    sampler: str
    grid: str
    steps: int
    order: str = ""
    guidance: float = 1.0


@dataclass(frozen=True)
class Family:
    """`fields` change the experiment `config`; {width}, {depth} and {heads} in them are those of the comparison.

    `net` is the family whose nets draw here, by default its own. `context` is the order under which pixels are hidden
    in the context test, by default the family's own; "none" where the net has learnt no order in which the test could
    be made.
    """

    name: str
    title: str
    config: str
    fields: Mapping[str, Any]
    points: Callable[[Compare], list[Point]]
    net: str = ""
    context: str = ""
    aside: bool = False  # one that explains another, and has no curve in the pictures of quality


def changed(family: Family, compare: Compare) -> dict[str, Any]:
    """The fields of the experiment that this comparison changes."""
    every = compare.steps // compare.checkpoints
    shared = {
        "data.name": compare.data,
        "data.dir": compare.data_dir,
        "data.batch_size": compare.batch_size,
        "train.steps": compare.steps,
        "train.save_every_steps": every,
        "train.keep_every_steps": every,
        "train.keep_checkpoints": 1,
        "train.picture_every_steps": 1_000_000_000,
        "train.validate_images": 0,
        "train.writers": ("jsonl",),
    }
    sizes = {name: size for name, size in asdict(compare).items() if name in ("width", "depth", "heads")}
    own = {name: value.format(**sizes) if isinstance(value, str) else value for name, value in family.fields.items()}
    return {**shared, **own}


def at_a_time(order: str = "") -> Callable[[Compare], list[Point]]:
    """k pixels at a step, for each k of the comparison."""
    return lambda compare: [
        Point(f"k = {k}", "posterior", f"at_a_time(k={k})", PIXELS, order) for k in compare.at_a_time
    ]


def one_by_one(compare: Compare) -> list[Point]:
    """One pixel at a step."""
    return [Point("k = 1", "posterior", "uniform", PIXELS)]


def in_steps(sampler: str, grid: str) -> Callable[[Compare], list[Point]]:
    """Each number of steps of the comparison."""
    return lambda compare: [
        Point(f"{steps} step{'s' * (steps > 1)}", sampler, grid, steps) for steps in compare.evaluations
    ]


def in_blocks(sampler: str, grid: str, steps: int) -> Callable[[Compare], list[Point]]:
    """k pixels at a time, each in so many steps of a head."""
    blocks = "blocks({}, shuffled=True)"
    return lambda compare: [
        Point(f"k = {k}", sampler, grid, steps, blocks.format(-(-PIXELS // k))) for k in compare.at_a_time
    ]


def nothing(compare: Compare) -> list[Point]:
    """Only bits are of interest."""
    return []


def guided(family: Family, compare: Compare) -> list[Point]:
    """The point in the middle of the family's curve, then under each guidance; none of nets that are another's."""
    points = family.points(compare)
    if family.net or not points:
        return []
    middle = points[len(points) // 2]
    return [middle, *(replace(middle, name=f"{middle.name}, w = {w:g}", guidance=w) for w in compare.guidances)]


TOKENS = "Transformer(width={width}, depth={depth}, heads={heads}, dropout=0.1)"
CAUSAL = "Transformer(width={width}, depth={depth}, heads={heads}, dropout=0.25, causal=True)"
PATCHES = "DiT(patch=1, width={width}, depth={depth}, heads={heads})"
MAR = "MAR(width={width}, depth={depth}, heads={heads}, dropout=0.1, head_width={width}, head_depth=3, octaves=4)"
KARRAS = "karras(sigma_min=0.05, sigma_max=20.0, rho=6.0)"
NUMBERS = {"model.net": PATCHES, "train.learning_rate": 3e-3, "train.weight_decay": 0.1}

FAMILIES = (
    Family("raster", "raster autoregression", "digits_raster", {"model.net": CAUSAL}, one_by_one, context="shuffled"),
    Family(
        "raster_bidirectional",
        "raster, bidirectional net",
        "digits_any_order",
        {"model.net": TOKENS, "model.order": "raster"},
        nothing,
        context="none",
        aside=True,
    ),
    Family("any_order", "any-order autoregression", "digits_any_order", {"model.net": TOKENS}, at_a_time()),
    Family(
        "side_by_side",
        "any order's nets, side by side",
        "digits_any_order",
        {"model.net": TOKENS},
        at_a_time("raster"),
        net="any_order",
        context="none",
    ),
    Family("masked", "masked diffusion", "digits_masked", {"model.net": TOKENS}, in_steps("posterior", "uniform")),
    Family("gaussian", "Gaussian diffusion", "digits", NUMBERS, in_steps("dpmpp_2m", KARRAS)),
    Family("rolling", "rolling diffusion", "digits_rolling", NUMBERS, in_steps("dpmpp_2m", "uniform")),
    Family(
        "continuous",
        "continuous autoregression",
        "digits_continuous",
        {"model.net": MAR},
        in_blocks("dpmpp_2m", KARRAS, 10),
    ),
)


def named(names: tuple[str, ...]) -> list[Family]:
    """The families of these names. Raises UserError for one that there is not."""
    known = {family.name: family for family in FAMILIES}
    for name in names:
        if name not in known:
            raise UserError(f"config.families: there is no {name!r}; choose from {', '.join(known)}")
    if not names or len(set(names)) < len(names):
        raise UserError(f"config.families: expected one or more, each once, got {', '.join(names) or 'none'}")
    return [known[name] for name in names]


def check(compare: Compare) -> None:
    """Raise UserError, naming it, for a field that cannot be."""
    for family in named(compare.families):
        if family.net not in ("", *compare.families):
            raise UserError(f"config.families: {family.name!r} draws from the nets of {family.net!r}; add that")
    least = {"samples": 20, "bits_of": 2}
    for name, value in asdict(compare).items():
        if isinstance(value, int) and value < least.get(name, 1):
            raise UserError(f"config.{name}: expected at least {least.get(name, 1)}, got {value}")
    lowest = {"train_seeds": 0, "sample_seeds": 0, "evaluations": 1, "at_a_time": 1}
    for name, low in lowest.items():
        values = getattr(compare, name)
        if not values or min(values) < low or max(values) > (PIXELS if name == "at_a_time" else 2**31):
            raise UserError(f"config.{name}: expected one or more integers from {low} on, got {values}")
    for name in (*lowest, "guidances"):
        values = getattr(compare, name)
        if len(set(values)) < len(values) or (name == "guidances" and 1 in values):
            raise UserError(f"config.{name}: expected each value once, and no guidance of 1, got {values}")
    for name, part in (("steps", "checkpoints"), ("width", "heads")):
        if getattr(compare, name) % getattr(compare, part):
            raise UserError(f"config.{part}: expected a divisor of {name}, {getattr(compare, name)}")
