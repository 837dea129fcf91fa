"""What an evaluation is planned to do, and its results so far."""

from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np
from jaxtyping import Float, PyTree, UInt8

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

    def feature_scores(self, images: UInt8[np.ndarray, "n h w c"]) -> list[ev.Score]:
        """Six scores of images for each feature extractor. There are `ev.MIN_IMAGES` of them, and of real ones."""
        scores: list[ev.Score] = []
        for features, real in zip(self.features, self._real_features, strict=True):
            scores += ev.feature_scores(features.name, ev.extract_features(features, [images]), *real)
        return scores

    def enough_for_features(self, images: UInt8[np.ndarray, "n h w c"]) -> bool:
        """Whether there are as many images, and real ones, as `feature_scores` takes."""
        return min(len(images), *map(len, self._real_bytes)) >= ev.MIN_IMAGES

    @cached_property
    def _real_bytes(self) -> tuple[UInt8[np.ndarray, "_ h w c"], UInt8[np.ndarray, "_ h w c"]]:
        """Real images of train and test, 0 … 255."""
        splits = self.model.splits
        return ev.as_bytes(splits["train"][0], self.levels), ev.as_bytes(splits["test"][0], self.levels)

    @cached_property
    def _real_features(self) -> list[list[Float[np.ndarray, "_ d"]]]:
        """The features of train and test by each extractor, once for all images that are compared with them."""
        return [[ev.extract_features(extractor, [real]) for real in self._real_bytes] for extractor in self.features]


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
