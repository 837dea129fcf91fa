"""What an evaluation is planned to do, and what it has found so far."""

from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from diffjax import evaluation as ev
from diffjax import reports
from diffjax.commands import likelihood_report, model_diagnostics
from diffjax.commands.evaluation_subject import EvaluationSubject
from diffjax.commands.image_sampler import ImageSampler


@dataclass(frozen=True)
class Plan:
    """All that is decided before anything is drawn.

    `reader` is None where bits per dimension are left out. `batch` images are drawn at once, and `bits_of` images of
    each split are read.
    """

    model: EvaluationSubject
    sampler: ImageSampler
    settings: dict[str, Any]
    features: list[ev.Features]
    reader: likelihood_report.BitsEstimator | None
    likelihood_steps: int | None
    out: Path
    count: int
    batch: int
    bits_of: int
    seed: int

    @property
    def levels(self) -> int:
        """Values of a pixel."""
        return self.sampler.facts.levels

    @property
    def kernels(self) -> ev.Kernels:
        """Widths for pictures of this size."""
        return ev.kernels_for(prod(self.sampler.facts.shape))


@dataclass
class Results:
    """What is known so far; of the `images` all else is told."""

    images: np.ndarray | None = None
    states: np.ndarray | None = None  # the images before they are rounded, of a law that is known
    labels: np.ndarray | None = None
    cond: Any = None
    scores: list[ev.Score] = field(default_factory=list)
    findings: reports.Findings = field(default_factory=reports.Findings)
    judged: model_diagnostics.Diagnostics = field(default_factory=model_diagnostics.Diagnostics)
    held_out: model_diagnostics.HeldOut | None = None
    likelihoods: reports.Likelihoods | None = None
    curves: dict[str, reports.Curves] = field(default_factory=dict)
    pictures: dict[str, Path] = field(default_factory=dict)
    provenance: dict[str, str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
