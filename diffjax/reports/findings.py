"""Problems of samples, in words: memorized training images, and artefacts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from diffjax.evaluation.image_statistics import Flag, compare_measures
from diffjax.evaluation.jackknife import format_p_value
from diffjax.evaluation.pixels import Splits, as_bytes
from diffjax.evaluation.precision_recall import Memorization, memorization

MAX_COPIED_SHARE = 0.1  # share of samples that raises an alarm; for real images it is 0.01
SIGNIFICANCE_LEVEL = 1e-3  # of the rank test, which must reject, too


@dataclass(frozen=True)
class Findings:
    """`alarms` in words, of noise levels, copies and artefacts; and all artefact flags, raised or not."""

    alarms: Sequence[str] = ()
    flags: Sequence[Flag] = ()


def find_problems(
    images: UInt8[np.ndarray, "n h w c"],
    splits: Splits,
    levels: int,
    alarms: Sequence[str] = (),
    training: str = "training",
) -> Findings:
    """Copies of training images and artefacts of samples, 0 … 255, compared with test images; after other `alarms`.

    `training` is the name of the images that samples may be copies of.
    """
    train, test = (as_bytes(splits[name][0], levels) for name in ("train", "test"))
    sample_rows, train_rows, test_rows = (part.reshape(len(part), -1) / 255 for part in (images, train, test))
    copies = _memorization_alarm(memorization(sample_rows, train_rows, test_rows), training)
    flags = compare_measures(images, test, 256)
    artefacts = [_artefact_alarm(flag) for flag in flags if flag.raised]
    return Findings([*alarms, *copies, *artefacts], flags)


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
