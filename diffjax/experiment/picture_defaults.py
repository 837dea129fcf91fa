"""Settings for pictures that follow from their size and number: net, schedule, augmentation, batch, learning rate, EMA.

A field of a config that is unset (`UNSET`) is chosen once, when a new run is planned, and the run records the value.
The figures are those of short trainings on two CPU cores (docs/photographs.md).
"""

from collections.abc import Mapping
from math import gcd, sqrt
from typing import NamedTuple

from diffjax.errors import UserError
from diffjax.experiment.data_spec import DataSpec

AUTO = "auto"
UNSET: Mapping[str, object] = {
    "data.augment": (AUTO,),
    "data.batch_size": 0,
    "model.net": AUTO,
    "model.schedule": AUTO,
    "train.steps": 0,
    "train.learning_rate": 0.0,
    "train.ema_std": (0.0,),
    "sample.grid": AUTO,
}
"""The fields that may be chosen, and the value of each that leaves it to be chosen."""

DEEPEST_SIDE = 8  # pixels; depths are added until the shorter side is below twice as many
REFERENCE_SIDE = 64  # pixels at which the cosine schedule is not shifted (Hoogeboom et al. 2023, section 3.1)
MAX_FULL_WIDTH_SIDE = 40  # pixels, above which the first depth has half of the channels
MAX_PATCH = 8  # pixels; side of the squares that a transformer sees as one token each
FEW, SOME = 1_000, 20_000  # pictures


class Choice(NamedTuple):
    """The value of a field, by its path, and why it is this one."""

    path: str
    value: object
    reason: str


def choose_settings(spec: DataSpec, images: int, devices: int) -> tuple[Choice, ...]:
    """A value for each field of `UNSET`, for so many training pictures and devices.

    Raises UserError for data that are no grey or RGB images of numbers.
    """
    if not spec.of_images or spec.encoding.discrete:
        kind = "tokens" if spec.encoding.discrete else f"arrays of shape {spec.shape}"
        raise UserError(f"model.net: {AUTO!r} is chosen for pictures as numbers, not for {kind}; name a net")
    height, width, _ = spec.shape
    side = sqrt(height * width)
    size = f"{height}x{width} pixels"
    number = f"{images:,} pictures"
    return (
        _choose_augment(number, images),
        _choose_batch(size, side, devices),
        _choose_net(height, width, images),
        Choice(
            "model.schedule",
            f"shift(cosine, {side / REFERENCE_SIDE:.3g})",
            f"{size}: noise over signal times side/{REFERENCE_SIDE} (Hoogeboom et al. 2023)",
        ),
        _choose_steps(number, images),
        Choice("train.learning_rate", 1e-3, "AdamW with a U-Net of this size"),
        Choice("train.ema_std", (0.1,), "an average over the last tenth, however long the training is"),
        Choice(
            "sample.grid",
            f"karras(sigma_min=0.02, sigma_max={80 * max(1.0, side / 32):.3g})",
            f"{size}: the mean of so many pixels is hidden by much noise alone",
        ),
    )


def unset_fields(fields: Mapping[str, object]) -> list[str]:
    """Those of a config's fields, by dotted path, that are to be chosen."""
    return [path for path, value in UNSET.items() if fields[path] == value]


def describe_choice(choice: Choice) -> str:
    """One line: the field, its value, and why."""
    return f"chosen: config.{choice.path}={choice.value!r} ({choice.reason})"


def _choose_net(height: int, width: int, images: int) -> Choice:
    """A U-Net that halves the sides down to `DEEPEST_SIDE`, or a transformer of patches where they do not divide."""
    multipliers = [1]
    while min(height, width) >> len(multipliers) >= DEEPEST_SIDE:
        multipliers.append(min(2 * multipliers[-1], 8))
    factor = 2 ** (len(multipliers) - 1)
    dropout = 0.1 if images < SOME else 0.0
    reason = f"{height}x{width} pixels, {images:,} pictures"
    if height % factor or width % factor:
        patch = _largest_divisor(height, width)
        net = f"DiT(patch={patch}, width=128, depth=6, heads=4, dropout={dropout:g})"
        return Choice("model.net", net, f"{reason}: sides that divide by {patch}, not by {factor}")
    channels = 32 if sqrt(height * width) <= MAX_FULL_WIDTH_SIDE else 16
    text = ", ".join(map(str, multipliers)) + "," * (len(multipliers) == 1)
    net = f"UNet(width={channels}, multipliers=({text}), dropout={dropout:g})"
    return Choice("model.net", net, f"{reason}: {len(multipliers)} depths, the deepest of {height // factor} pixels")


def _largest_divisor(height: int, width: int) -> int:
    """The largest common divisor of both sides of at most `MAX_PATCH`."""
    common = gcd(height, width)
    return max(patch for patch in range(1, MAX_PATCH + 1) if common % patch == 0)


def _choose_batch(size: str, side: float, devices: int) -> Choice:
    batch = 64 if side <= REFERENCE_SIDE / 2 else 32
    return Choice("data.batch_size", -(-batch // devices) * devices, f"{size}, {devices} device(s)")


def _choose_steps(number: str, images: int) -> Choice:
    return Choice("train.steps", 5_000 if images < FEW else 20_000, f"{number}; train.minutes may end it before")


def _choose_augment(number: str, images: int) -> Choice:
    return Choice("data.augment", ("flip()",), f"{number}: a mirrored picture is a picture")
