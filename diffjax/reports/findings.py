"""What stands out of samples, in words: pictures that are copies, and artefacts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from diffjax.evaluation.image_statistics import Flag, flags
from diffjax.evaluation.jackknife import chance
from diffjax.evaluation.pixels import Splits, as_bytes
from diffjax.evaluation.precision_recall import Copying, copying

COPIED = 0.1  # share of samples from which on they are told to be copies; of real images it is 0.01
SURE = 1e-3  # p of the rank test below which they lie nearer on the whole, too


@dataclass(frozen=True)
class Findings:
    """What stands out: `alarms` in words, of noise levels, copies and artefacts; and the flags, raised or not."""

    alarms: Sequence[str] = ()
    flags: Sequence[Flag] = ()


def findings_of(
    images: UInt8[np.ndarray, "n h w c"],
    splits: Splits,
    levels: int,
    alarms: Sequence[str] = (),
    known: str = "training",
) -> Findings:
    """Samples, of 0 … 255, beside the test images, and beside what a model was trained on; after other alarms.

    `known` is what the images are called that samples may be copies of.
    """
    train, test = (as_bytes(splits[name][0], levels) for name in ("train", "test"))
    ours, learnt, others = (part.reshape(len(part), -1) / 255 for part in (images, train, test))
    near = copying(ours, learnt, others)
    flagged = flags(images, test, 256)
    return Findings([*alarms, *_copied(near, known), *(_artefact(flag) for flag in flagged if flag.raised)], flagged)


def _copied(near: Copying, known: str) -> list[str]:
    if near.share < COPIED or near.p > SURE:
        return []
    return [
        f"{near.share:.0%} of the samples are as near to a {known} image as the nearest 1 % of others are (rank test, "
        f"p {chance(near.p)}): {known} images are repeated"
    ]


def _artefact(flag: Flag) -> str:
    away = "beyond measure" if np.isinf(flag.errors) else f"{abs(flag.errors):.0f} standard errors away"
    return f"{flag.name} of samples is {flag.samples:.3g}, of real images {flag.real:.3g}, {away}"
