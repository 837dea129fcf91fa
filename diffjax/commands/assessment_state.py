"""What an evaluation is planned to do, and its results so far."""

from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
from jaxtyping import PyTree

from diffjax import evaluation as ev
from diffjax import reports
from diffjax.commands.bits_estimator import BitsEstimator
from diffjax.commands.evaluation_subject import EvaluationSubject
from diffjax.commands.image_sampler import ImageSampler
from diffjax.commands.model_diagnostics import HeldOut
from diffjax.diagnostics.level_profile import NoiseLevelProfile, describe_alarms


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before anything is drawn.

    `estimator` is None where bits per dimension are left out. `batch` images are drawn at once; bits and errors by
    noise level are measured on `likelihood_images` images of each split.
    """

    model: EvaluationSubject
    sampler: ImageSampler
    features: list[ev.Features]
    estimator: BitsEstimator | None
    likelihood_steps: int | None
    out: Path
    count: int
    batch: int
    likelihood_images: int
    seed: int

    @property
    def levels(self) -> int:
        """The number of values of a pixel."""
        return self.sampler.data.levels

    @property
    def kernels(self) -> ev.Kernels:
        """Kernel widths for images of this size."""
        return ev.kernels_for(prod(self.sampler.data.shape))


@dataclass
class Results:
    """What has been measured so far; everything depends on the samples.

    `images` are the samples 0 … 255, where they are images, and `states` on the scale of the model, where they are no
    images or the distribution of the data is known.
    """

    images: np.ndarray | None = None
    states: np.ndarray | None = None
    labels: np.ndarray | None = None
    cond: PyTree = None
    scores: list[ev.Score] = field(default_factory=list)
    findings: reports.Findings = field(default_factory=reports.Findings)
    profile: NoiseLevelProfile | None = None
    held_out: HeldOut | None = None
    likelihoods: reports.Likelihoods | None = None
    curves: dict[str, reports.Curves] = field(default_factory=dict)
    pictures: dict[str, Path] = field(default_factory=dict)
    provenance: dict[str, str] = field(default_factory=dict)
    codec: reports.CodecFloor | None = None
    done: list[str] = field(default_factory=list)

    @property
    def samples(self) -> np.ndarray | None:
        """The samples in one form or the other; None before there are any."""
        return self.states if self.images is None else self.images

    @property
    def all_findings(self) -> reports.Findings | None:
        """What stands out in the samples and at noise levels; None where neither was examined."""
        if not {"findings", "levels"} & {*self.done}:
            return None
        alarms = [] if self.profile is None else describe_alarms(self.profile)
        return reports.Findings([*alarms, *self.findings.alarms], self.findings.flags)
