"""A trained model as it is judged: with the real images of the data set that it learnt."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int32, PyTree, UInt8

from diffjax.commands import image_sampler
from diffjax.commands.image_sampler import ImageSampler
from diffjax.commands.real_images import choose_real_images
from diffjax.conditions import select_parts
from diffjax.data import split_rules
from diffjax.data.condition_batches import split_conditions
from diffjax.denoising import NetDenoiser
from diffjax.distributions import Mixture
from diffjax.errors import UserError, warn
from diffjax.evaluation import Kernels, Score, Splits, all_scores
from diffjax.experiment import build, data_spec, trained_model
from diffjax.order import Order
from diffjax.protocols import Noise

Labels = Int32[np.ndarray, " n"] | None


@dataclass(frozen=True)
class EvaluationSubject:
    """A loaded model, and each split's images and labels: as the data set has them, and as bytes (`splits`).

    They differ where a data set has numbers in place of levels, and then a `law` that is known. `known` are the
    conditions of the training images, of a net that is told other things than classes. `changes` says how the data set
    has changed since the run recorded its splits; it is empty where it has not. `reference` says so of what stands for
    the split test, and `comparable` whether there are images enough for scores.
    """

    workdir: Path
    denoise: NetDenoiser
    noise: Noise
    order: Order
    info: trained_model.ModelInfo
    real: Mapping[str, tuple[np.ndarray, Any]]
    splits: Splits
    law: Mixture | None
    train_cond: PyTree = None
    changes: str = ""
    reference: str = ""
    comparable: bool = True

    @property
    def provenance(self) -> dict[str, str]:
        """Which weights these are, and whether the data are still those of the run."""
        info = self.info
        changed = {"data": self.changes} if self.changes else {}
        changed |= {"real images": self.reference} if self.reference else {}
        run_of = f"{self.workdir.name}, step {info.step:,}, config {info.config_hash}"
        return {"ema": info.ema, "run": run_of, **changed}

    @property
    def training_loss(self) -> build.LossByLevel | None:
        """The loss of the training, as it can be looked at level by level."""
        model = build.ModelParts(self.noise, self.order, self.info.net)
        return build.build_loss_by_level(model, self.info.config.train)

    def build_sampler(self, settings: dict[str, Any]) -> ImageSampler:
        """What draws with these settings of a sampler."""
        return image_sampler.build_image_sampler(
            self.denoise, self.noise, self.order, self.info.net, self.info.facts, settings
        )

    def scores(self, images: UInt8[np.ndarray, "n h w c"], labels: Labels, kernels: Kernels) -> list[Score]:
        """The measures of samples of 0 … 255, drawn for these labels; none where there are too few real images.

        Where all training images are of one class there is no accuracy: any label is right.
        """
        if not self.comparable:
            return []
        known = self.splits["train"][1]
        several = known is not None and len(np.unique(known)) > 1
        return all_scores(images, labels if several else None, self.splits, self.info.facts.levels, kernels=kernels)

    def balanced_conditions(self, count: int) -> tuple[PyTree, Labels]:
        """Conditions to draw by, and the labels of what they ask for: as many of each class, where the net knows them.

        A net without classes is asked for by the other parts of training images, evenly chosen, or by nothing.
        """
        number = np.arange(count, dtype=np.int32)
        if self.info.conditional:
            labels = number * self.info.facts.classes // count
            return labels, labels
        if self.train_cond is None:
            return None, None
        labels = self.splits["train"][1]
        rows = number * len(self.splits["train"][0]) // count
        return jax.tree.map(lambda leaf: leaf[rows], self.train_cond), None if labels is None else labels[rows]


def open_subject(
    workdir: Path,
    ema: str | None,
    step: trained_model.StepChoice,
    max_images: int,
    split: str = "test",
    allow_imports: bool = False,
) -> EvaluationSubject:
    """The run of that folder, or file, and at most so many images of each split, drawn with a fixed seed.

    Those of `split` stand for test (`real_images`).
    """
    denoise, noise, order, info = trained_model.load(workdir, ema=ema, step=step, allow_imports=allow_imports)
    data = info.config.data
    dataset = data_spec.open_configured(data, split_rules.recorded_rule(info.splits))
    parts = data_spec.parse_parts(data.parts, dataset)
    if not data_spec.build_data_spec(dataset, data.form, parts).matches(info.facts):
        raise UserError(f"{data.name}: the data set has changed since {workdir} learnt it; restore it, or train again")
    changes = split_rules.describe_changes(info.splits, dataset) if info.splits else ""
    if changes:
        warn(changes)
    chosen = choose_real_images(dataset, split, max_images)
    if chosen.note:
        warn(chosen.note)
    real = splits = {role: dataset.arrays(name, rows) for role, (name, rows) in chosen.rows.items()}
    if dataset.law is not None:
        splits = {name: (image_sampler.to_bytes(images, info.facts), labels) for name, (images, labels) in real.items()}
    train_cond, null = None, info.net.null_cond
    if isinstance(null, dict) and not info.conditional:
        train_cond = select_parts(null, split_conditions(dataset, *chosen.rows["train"], parts))
    return EvaluationSubject(
        workdir,
        denoise,
        noise,
        order,
        info,
        real,
        splits,
        dataset.law,
        train_cond,
        changes,
        chosen.note,
        chosen.comparable,
    )
