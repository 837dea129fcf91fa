"""What stands out of samples, in words: pictures that are copies, and artefacts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from diffjax.evaluation.image_statistics import Flag, compare_measures
from diffjax.evaluation.jackknife import format_p_value
from diffjax.evaluation.pixels import Splits, as_bytes
from diffjax.evaluation.precision_recall import Memorization, memorization

MAX_COPIED_SHARE = 0.1  # share of samples from which on they are told to be copies; of real images it is 0.01
SIGNIFICANCE_LEVEL = 1e-3  # p of the rank test below which they lie nearer on the whole, too


@dataclass(frozen=True)
class Findings:
    """What stands out: `alarms` in words, of noise levels, copies and artefacts; and the flags, raised or not."""

    alarms: Sequence[str] = ()
    flags: Sequence[Flag] = ()


def find_problems(
    images: UInt8[np.ndarray, "n h w c"],
    splits: Splits,
    levels: int,
    alarms: Sequence[str] = (),
    training: str = "training",
) -> Findings:
    """Samples, of 0 … 255, beside the test images, and beside what a model was trained on; after other alarms.

    `training` is what the images are called that samples may be copies of.
    """
    train, test = (as_bytes(splits[name][0], levels) for name in ("train", "test"))
    sample_rows, train_rows, test_rows = (part.reshape(len(part), -1) / 255 for part in (images, train, test))
    memorized = memorization(sample_rows, train_rows, test_rows)
    flagged = compare_measures(images, test, 256)
    return Findings(
        [
            *alarms,
            *_memorization_alarm(memorized, training),
            *(_artefact_alarm(flag) for flag in flagged if flag.raised),
        ],
        flagged,
    )


def _memorization_alarm(memorized: Memorization, training: str) -> list[str]:
    if memorized.share < MAX_COPIED_SHARE or memorized.p > SIGNIFICANCE_LEVEL:
        return []
    return [
        f"{memorized.share:.0%} of the samples are as near to a {training} image as the nearest 1 % of others are "
        "(rank test, "
        f"p {format_p_value(memorized.p)}): {training} images are repeated"
    ]


def _artefact_alarm(flag: Flag) -> str:
    distance = "beyond measure" if np.isinf(flag.errors) else f"{abs(flag.errors):.0f} standard errors away"
    return f"{flag.name} of samples is {flag.samples:.3g}, of real images {flag.real:.3g}, {distance}"
