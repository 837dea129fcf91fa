"""What an evaluation is planned to do, and what it has found so far."""

from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from diffjax import bits, judge
from diffjax import evaluation as ev
from diffjax.draw import Painter
from diffjax.subject import Subject


@dataclass(frozen=True)
class Plan:
    """All that is decided before anything is drawn.

    `reader` is None where bits per dimension are left out. `batch` images are drawn at once, and `bits_of` images of
    each split are read.
    """

    model: Subject
    painter: Painter
    settings: dict[str, Any]
    features: list[ev.Features]
    reader: bits.Reader | None
    likelihood_steps: int | None
    out: Path
    count: int
    batch: int
    bits_of: int
    seed: int

    @property
    def levels(self) -> int:
        """Values of a pixel."""
        return self.painter.facts.levels

    @property
    def kernels(self) -> ev.Kernels:
        """Widths for pictures of this size."""
        return ev.kernels_for(prod(self.painter.facts.shape))


@dataclass
class Found:
    """What is known so far; of the `images` all else is told."""

    images: np.ndarray | None = None
    states: np.ndarray | None = None  # the images before they are rounded, of a law that is known
    labels: np.ndarray | None = None
    cond: Any = None
    scores: list[ev.Measured] = field(default_factory=list)
    findings: ev.Findings = field(default_factory=ev.Findings)
    judged: judge.Judged = field(default_factory=judge.Judged)
    held: judge.HeldOut | None = None
    likelihoods: ev.Likelihoods | None = None
    curves: dict[str, ev.Curves] = field(default_factory=dict)
    pictures: dict[str, Path] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
