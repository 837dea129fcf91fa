"""What a report is made of, before it is text."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
from jaxtyping import Float, Shaped

from diffjax.evaluation.paired import Score
from diffjax.evaluation.pixels import SPLIT_NAMES, Splits, require_splits
from diffjax.evaluation.suite import DIGIT_KERNELS, Kernels
from diffjax.reports.findings import Findings


@dataclass(frozen=True)
class Provenance:
    """Where scores come from; without it, two scores cannot be compared. `provenance` makes it of a run."""

    samples: int
    made: str  # by what
    reference: Mapping[str, int]  # images in each split; none where only their moments are known
    fingerprint: str  # of those images
    kernels: Kernels = DIGIT_KERNELS
    more: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # printed as "name: value"


@dataclass(frozen=True)
class Likelihoods:
    """Bits per dimension of images of train and of test under some models: name -> (bits of train, bits of test)."""

    bits: Mapping[str, tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"]]]
    description: str  # how they were measured
    accuracy: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))  # of this model's mean, in bits


@dataclass(frozen=True)
class Curves:
    """Lines to be drawn together: name -> (x, values), equally many of each."""

    caption: str
    lines: Mapping[str, tuple[Shaped[np.ndarray, " _"], Shaped[np.ndarray, " _"]]]
    ylabel: str
    xlabel: str = "training step"
    scale: Literal["linear", "log"] = "linear"


@dataclass(frozen=True)
class Report:
    """All that is told of a set of samples, and of the model that drew them."""

    title: str
    scores: Sequence[Score]
    source: Provenance
    findings: Findings | None = None  # None: nothing was looked for
    likelihoods: Likelihoods | None = None
    curves: Mapping[str, Curves] = field(default_factory=lambda: MappingProxyType({}))  # by the names of their files
    pictures: Mapping[str, str | Path] = field(default_factory=lambda: MappingProxyType({}))  # caption -> file


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
