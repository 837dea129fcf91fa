"""Settings for pictures that follow from their size and number: net, schedule, augmentation, batch, learning rate, EMA.

A field of a config that is unset (`UNSET`) is chosen once, when a new run is planned, and the run records the value.
Widths and batches follow the cost of a step on a CPU (docs/photographs.md); the quality of samples was not compared.
"""

from collections.abc import Mapping, Sequence
from math import inf, sqrt
from typing import NamedTuple, TypeVar

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
WIDTHS = ((40, 24), (inf, 16))  # up to so many pixels a side, so many channels at full resolution
BATCHES = ((16, 64), (40, 32), (inf, 16))  # up to so many pixels a side, so many pictures a step
MAX_EPOCHS = 600
MIN_STEPS, MAX_STEPS = 2_000, 20_000
DROPOUTS = ((1_000, 0.2), (20_000, 0.1), (inf, 0.0))  # up to so many pictures, so much dropout
LEARNING_RATE = 2e-3

Value = TypeVar("Value", int, float)


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
    batch = -(-_value_up_to(BATCHES, side) // devices) * devices
    steps = round(min(max(MAX_EPOCHS * images / batch, MIN_STEPS), MAX_STEPS))
    size = f"{height}x{width} pixels"
    number = f"{images:,} pictures"
    factor = side / REFERENCE_SIDE
    sigma_max = 80 * max(1.0, side / 32)
    return (
        _choose_augment(spec),
        Choice("data.batch_size", batch, f"{size}, {devices} device(s)"),
        _choose_net(height, width, images),
        Choice(
            "model.schedule", f"shift(cosine, {factor:.3g})", f"{size}: by side/{REFERENCE_SIDE}, Hoogeboom et al. 2023"
        ),
        Choice(
            "train.steps", steps, f"{number}: {steps * batch / images:,.0f} epochs; train.minutes may end it before"
        ),
        Choice("train.learning_rate", LEARNING_RATE, "AdamW, batches and nets of these sizes"),
        Choice("train.ema_std", (0.1,), "an average over the last tenth, however long the training is"),
        Choice(
            "sample.grid",
            f"karras(sigma_min=0.02, sigma_max={sigma_max:.3g})",
            f"{size}: the mean of more pixels is hidden by more noise",
        ),
    )


def unset_fields(fields: Mapping[str, object]) -> list[str]:
    """Those of a config's fields, by dotted path, that are to be chosen."""
    return [path for path, value in UNSET.items() if fields[path] == value]


def describe_choice(choice: Choice) -> str:
    """One line: the field, its value, and why."""
    return f"chosen: config.{choice.path}={choice.value!r} ({choice.reason})"


def _choose_augment(spec: DataSpec) -> Choice:
    """Mirroring, unless a part of the condition is a picture, which would have to be mirrored too."""
    pictures = [part.part for part in spec.parts if len(part.shape) == 3]
    if pictures:
        return Choice("data.augment", (), f"{', '.join(pictures)} shows the unchanged picture")
    return Choice(
        "data.augment", ("flip()",), "a mirrored picture is as good; () for letters, digits and captions of sides"
    )


def _choose_net(height: int, width: int, images: int) -> Choice:
    """A U-Net that halves the sides down to `DEEPEST_SIDE`; sides that do not divide are padded inside."""
    multipliers = [1]
    while min(height, width) >> len(multipliers) >= DEEPEST_SIDE:
        multipliers.append(min(2 * multipliers[-1], 8))
    factor = 2 ** (len(multipliers) - 1)
    channels = _value_up_to(WIDTHS, sqrt(height * width))
    text = ", ".join(map(str, multipliers)) + "," * (len(multipliers) == 1)
    net = f"UNet(width={channels}, multipliers=({text}), dropout={_value_up_to(DROPOUTS, images):g})"
    reason = f"{height}x{width} pixels, {images:,} pictures: {len(multipliers)} depths, the deepest of"
    return Choice("model.net", net, f"{reason} {-(-height // factor)}x{-(-width // factor)} pixels")


def _value_up_to(limits: Sequence[tuple[float, Value]], amount: float) -> Value:
    """The value of the first limit that is not below the amount."""
    return next(value for limit, value in limits if amount <= limit)
