"""The contents of a report, before formatting."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

from diffjax.evaluation.paired import Score
from diffjax.evaluation.pixels import SPLIT_NAMES, Splits, require_splits
from diffjax.evaluation.suite import DIGIT_KERNELS, Kernels
from diffjax.reports.findings import Findings
from diffjax.reports.plots import Curves


@dataclass(frozen=True)
class Provenance:
    """Where scores come from, without which two scores cannot be compared. `provenance` makes it from a run."""

    samples: int
    made: str  # sampler, steps and seed
    reference: Mapping[str, int]  # images in each split; empty if only their moments are known
    fingerprint: str  # of those images
    kernels: Kernels = DIGIT_KERNELS
    more: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # printed as "name: value"


@dataclass(frozen=True)
class Likelihoods:
    """Bits per dimension under several models: name -> (bits of train images, bits of test images)."""

    bits: Mapping[str, tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"]]]
    description: str  # of the estimate
    accuracy: Mapping[str, float] = field(
        default_factory=lambda: MappingProxyType({})
    )  # of the mean of this model, in bits


@dataclass(frozen=True)
class CodecFloor:
    """What the codec alone costs a model of latents: scores of training images that it has encoded and decoded.

    `values` are by the names of scores. `psnr` and `spectrum` are of reconstructed test images beside the originals, in
    dB: the mean squared error, and the root mean square difference of the power in rings of frequencies.
    """

    values: Mapping[str, float]
    psnr: float
    spectrum: float


@dataclass(frozen=True)
class Report:
    """The evaluation of a set of samples, and of the model that drew them."""

    title: str
    scores: Sequence[Score]
    source: Provenance
    findings: Findings | None = None  # None: not evaluated
    likelihoods: Likelihoods | None = None
    curves: Mapping[str, Curves] = field(default_factory=lambda: MappingProxyType({}))  # file name -> curves
    pictures: Mapping[str, str | Path] = field(default_factory=lambda: MappingProxyType({}))  # caption -> file
    codec: CodecFloor | None = None  # of a model of latents


def provenance(
    samples: int, sampler: str, steps: int, seed: int, splits: Splits, kernels: Kernels = DIGIT_KERNELS, **more: str
) -> Provenance:
    """The provenance of `samples` images drawn by `sampler` in `steps` steps; `more` might be config="…", bits="…"."""
    require_splits(splits)
    digest = hashlib.sha256()
    for name in SPLIT_NAMES:
        digest.update(f"{name}{splits[name][0].shape}".encode())
        digest.update(np.ascontiguousarray(splits[name][0]).tobytes())
    counts = {name: len(splits[name][0]) for name in SPLIT_NAMES}
    origin = f"{sampler}, {steps} steps, seed {seed}"
    return Provenance(samples, origin, counts, digest.hexdigest()[:12], kernels, more)
