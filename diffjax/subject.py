"""A trained model as it is judged: with the real images of the data set that it learnt."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int32, PyTree

from diffjax import build, draw, loading, run
from diffjax.conditions import fitted
from diffjax.data import Dataset, rules
from diffjax.data.conditioning import conditions_of
from diffjax.denoising import NetDenoiser
from diffjax.draw import Painter
from diffjax.errors import UserError, warn
from diffjax.evaluation import Splits
from diffjax.mixtures import Mixture
from diffjax.order import Order
from diffjax.protocols import Noise

NAMES = ("train", "validation", "test")
LEAST = 3  # images of each


@dataclass(frozen=True)
class Subject:
    """A loaded model, and each split's images and labels: as the data set has them, and as bytes (`splits`).

    They differ where a data set has numbers in place of levels, and then a `law` that is known. `known` are the
    conditions of the training images, of a net that is told other things than classes. `changes` says how the data set
    has changed since the run recorded its splits; it is empty where it has not.
    """

    workdir: Path
    denoise: NetDenoiser
    noise: Noise
    order: Order
    info: loading.Info
    real: Mapping[str, tuple[np.ndarray, Any]]
    splits: Splits
    law: Mixture | None
    known: PyTree = None
    changes: str = ""

    @property
    def told(self) -> dict[str, str]:
        """Which weights these are, and whether the data are still those of the run."""
        info = self.info
        changed = {"data": self.changes} if self.changes else {}
        run_of = f"{self.workdir.name}, step {info.step:,}, config {info.config_hash}"
        return {"ema": info.ema, "run": run_of, **changed}

    @property
    def learnt_by(self) -> build.ByLevel | None:
        """The loss of the training, as it can be looked at level by level."""
        told = self.info.config["train"]
        model = build.Model(self.noise, self.order, self.info.net)
        return build.loss_by_level(model, loss=told["loss"], weight=told["weight"], distribution=told["times"])

    def painter(self, settings: dict[str, Any]) -> Painter:
        """What draws with these settings of a sampler."""
        return draw.painter(self.denoise, self.noise, self.order, self.info.net, self.info.facts, settings)

    def asked(self, count: int) -> tuple[PyTree, Int32[np.ndarray, " n"] | None]:
        """Conditions to draw by, and the labels of what they ask for: as many of each class, where the net knows them.

        A net without classes is asked for by the other parts of training images, evenly chosen, or by nothing.
        """
        number = np.arange(count, dtype=np.int32)
        if self.info.conditional:
            labels = number * self.info.facts.classes // count
            return labels, labels
        if self.known is None:
            return None, None
        labels = self.splits["train"][1]
        rows = number * len(self.splits["train"][0]) // count
        return jax.tree.map(lambda leaf: leaf[rows], self.known), None if labels is None else labels[rows]


def _check_enough(dataset: Dataset) -> None:
    """Raise UserError for a split of so few images that no score has an error of it."""
    for name in NAMES:
        count = len(dataset.split(name))
        if count < LEAST:
            told = f"split {name!r} has {count} of at least {LEAST} images that scores need; add some"
            raise UserError(f"data set {dataset.name!r}: {told}")


def opened(workdir: Path, ema: str | None, step: loading.Step, most: int) -> Subject:
    """The run of that folder, or file, and at most so many images of each split, drawn with a fixed seed."""
    denoise, noise, order, info = loading.load(workdir, ema=ema, step=step)
    data = info.config["data"]
    dataset = run.dataset_of(data, rules.rule_of(info.splits))
    parts = run.parts_named(tuple(data.get("parts", ())), dataset)
    if not run.facts_of(dataset, data["form"], parts).as_learnt(info.facts):
        raise UserError(
            f"{data['name']}: the data set has changed since {workdir} learnt it; restore it, or train again"
        )
    changes = rules.describe_changes(info.splits, dataset) if info.splits else ""
    if changes:
        warn(changes)
    _check_enough(dataset)
    real = splits = {name: dataset.arrays(name, dataset.split(name).some(most)) for name in NAMES}
    if dataset.law is not None:
        splits = {name: (draw.as_bytes(images, info.facts), labels) for name, (images, labels) in real.items()}
    known, null = None, info.net.null_cond
    if isinstance(null, dict) and not info.conditional:
        known = fitted(null, conditions_of(dataset, "train", dataset.split("train").some(most), parts))
    return Subject(workdir, denoise, noise, order, info, real, splits, dataset.law, known, changes)
