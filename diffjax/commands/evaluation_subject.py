"""A trained model as it is evaluated: together with the real images of the data set that it was trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Integer, PyTree, Shaped, UInt8

from diffjax.commands import image_sampler
from diffjax.commands.condition_inputs import Conditions, Labels, complete_conditions
from diffjax.commands.image_sampler import ImageSampler
from diffjax.conditions import has_label, select_parts
from diffjax.data import Dataset, split_rules
from diffjax.data.condition_batches import split_conditions
from diffjax.data.condition_parts import Part
from diffjax.data.framing import format_dimensions
from diffjax.denoising import NetDenoiser
from diffjax.distributions import Mixture
from diffjax.errors import UserError, warn
from diffjax.evaluation import Kernels, Score, Splits, all_scores
from diffjax.experiment import build, data_spec
from diffjax.experiment.config import Data
from diffjax.experiment.config import Sample as SamplerConfig
from diffjax.experiment.model_info import ModelInfo
from diffjax.experiment.trained_model import TrainedModel
from diffjax.order import Order
from diffjax.protocols import Noise
from diffjax.traits import ConditionalNet

Labelled = tuple[Shaped[np.ndarray, "_ ..."], Integer[np.ndarray, " _"] | None]  # images or other arrays, labels
MIN_IMAGES = 3  # images of a side, below which nothing is compared
Rows = tuple[str, Integer[np.ndarray, " _"]]  # the name of a split, and which of its images


class RealImages(NamedTuple):
    """The images that evaluation calls train, validation and test; `comparable` where they suffice for scores.

    `note` says in one line which images stand for test, where they are not of the split test.
    """

    rows: Mapping[str, Rows]
    comparable: bool
    note: str


@dataclass(frozen=True)
class EvaluationSubject:
    """A trained model, and images and labels by split: as the data set stores them (`real`), and 0 … 255 (`splits`).

    The two differ for data sets of real numbers, whose `distribution` is known. `train_cond`: the conditions of the
    training images, of a net with other conditions than classes. `changes`: how the data set has changed since the run
    recorded its splits, if it has. `reference`: which images stand for the split test, where it is not that split.
    `comparable`: there are enough images for scores.
    """

    workdir: Path
    denoise: NetDenoiser
    noise: Noise
    order: Order
    info: ModelInfo
    real: Mapping[str, Labelled]
    splits: Splits
    distribution: Mixture | None
    train_cond: PyTree = None
    changes: str = ""
    reference: str = ""
    comparable: bool = True

    @property
    def parts(self) -> build.ModelParts:
        """Noise, order and net."""
        return build.ModelParts(self.noise, self.order, self.info.net)

    @property
    def provenance(self) -> dict[str, str]:
        """The weights, and whether the data are still those of the run."""
        info = self.info
        run = f"{self.workdir.name}, step {info.step:,}, config {info.config_hash}"
        if info.origin is not None:
            run = info.origin.describe()
        notes = {"data": self.changes, "real images": self.reference}
        return {"ema": info.ema, "run": run, **{name: note for name, note in notes.items() if note}}

    def build_sampler(self, config: SamplerConfig) -> ImageSampler:
        """The sampler of this config. Raises UserError where it does not serve the model."""
        return image_sampler.build_image_sampler(self.denoise, self.parts, self.info.data, config)

    def scores(
        self, images: UInt8[np.ndarray, "n h w c"], labels: Labels, kernels: Kernels, previous: Sequence[Score] = ()
    ) -> list[Score]:
        """The scores of samples, 0 … 255, drawn for these labels; none where there are too few real images.

        `previous` are scores of as many others, from which those of real images are taken (`all_scores`). There is no
        label accuracy where all training images are of one class.
        """
        if not self.comparable:
            return []
        train_labels = self.splits["train"][1]
        several = train_labels is not None and len(np.unique(train_labels)) > 1
        levels = self.info.data.levels
        labels = labels if several else None
        return all_scores(images, labels, self.splits, levels, kernels=kernels, previous=previous)

    def balanced_conditions(self, count: int) -> Conditions:
        """Conditions and labels of `count` samples, equally many of each class.

        A net without classes gets the conditions of evenly spaced training images, if it has any.
        """
        index = np.arange(count, dtype=np.int32)
        if self.info.conditional:
            return complete_conditions(self.info.net, count, index * self.info.data.classes // count)
        if self.train_cond is None:
            return complete_conditions(self.info.net, count, None)
        images, labels = self.splits["train"]
        rows = index * len(images) // count
        cond = jax.tree.map(lambda leaf: leaf[rows], self.train_cond)
        return Conditions(cond, None if labels is None else labels[rows])


class _Data(NamedTuple):
    """The data set of a run, the parts of its conditions, and how it has changed since the run began."""

    dataset: Dataset
    parts: tuple[Part, ...]
    changes: str


def open_subject(workdir: Path, model: TrainedModel, max_images: int, split: str = "test") -> EvaluationSubject:
    """The model of a run or file `workdir`, with at most `max_images` of each split, drawn with a fixed seed.

    Images of `split` stand for test (see `choose_real_images`). Raises UserError where the data set is no longer that
    of the run, or does not fit published weights.
    """
    data = _open_data(model.info, workdir)
    choice = choose_real_images(data.dataset, split, max_images)
    for note in filter(None, (data.changes, choice.note, _describe_size(data.dataset))):
        warn(note)
    real = {role: data.dataset.arrays(name, rows) for role, (name, rows) in choice.rows.items()}
    distribution = data.dataset.distribution
    assert distribution is None or isinstance(distribution, Mixture)
    return EvaluationSubject(
        workdir,
        *model,
        real=real,
        splits=real if distribution is None else _as_bytes(real, model.info),
        distribution=distribution,
        train_cond=_train_conditions(model.info.net, data, choice),
        changes=data.changes,
        reference=choice.note,
        comparable=choice.comparable,
    )


def with_data(model: TrainedModel, name: str | None) -> TrainedModel:
    """Published weights with the data that their samples are compared with, brought to the size that they draw.

    Raises UserError where none is named.
    """
    if not name:
        raise UserError("--data: name the images that samples of --model are compared with, such as folder:PATH")
    height, width, *_ = model.info.data.shape
    data = Data(name=name, image_size=f"{height}x{width}")
    return model._replace(info=replace(model.info, config=replace(model.info.config, data=data)))


def _open_data(info: ModelInfo, workdir: Path) -> _Data:
    """The data of a run. Raises UserError where they do not mean what they meant in training."""
    config = info.config.data
    dataset = data_spec.open_configured(config, split_rules.recorded_rule(info.splits))
    if info.origin is not None:
        expected = f"images of shape {info.data.shape} of {info.data.classes} classes, or of none"
        if dataset.shape != info.data.shape or dataset.classes not in (0, info.data.classes):
            actual = f"{dataset.shape} of {dataset.classes}"
            raise UserError(f"--data {config.name}: expected {expected}, got {actual}; leave the classes out")
        return _Data(dataset, (), "")
    parts = data_spec.parse_parts(config.parts, dataset)
    form = "unit" if config.latents else config.form
    if not data_spec.build_data_spec(dataset, form, parts).matches(replace(info.data, latents=None)):
        raise UserError(f"{config.name}: the data set has changed since {workdir} was trained; restore it, or retrain")
    recorded = None if config.latents else info.splits  # those of latents are of mirrored pictures too
    return _Data(dataset, parts, split_rules.describe_changes(recorded, dataset) if recorded else "")


def _describe_size(dataset: Dataset) -> str:
    """At which size images are compared, where training had several."""
    if len(dataset.sizes) <= 1:
        return ""
    return f"trained at {len(dataset.sizes)} sizes; images are compared at {format_dimensions(dataset.shape[:2])}"


def _as_bytes(real: Mapping[str, Labelled], info: ModelInfo) -> Splits:
    return {name: (image_sampler.to_bytes(images, info.data), labels) for name, (images, labels) in real.items()}


def _train_conditions(net: ConditionalNet, data: _Data, choice: RealImages) -> PyTree:
    """The conditions of the training images, of a net with conditions but no classes."""
    null = net.null_cond
    if not isinstance(null, dict) or has_label(null):
        return None
    return select_parts(null, split_conditions(data.dataset, *choice.rows["train"], data.parts))


def choose_real_images(dataset: Dataset, split: str, max_images: int) -> RealImages:
    """At most `max_images` of each: for comparison those of `split`, or of the best split that there is.

    That is the larger of validation and test, then train, one half of which is compared with the other. Fewer than
    twice `MIN_IMAGES` training images stand for every split, without scores. Raises UserError for an unknown split, and
    for a data set without training images.
    """
    sizes = {name: len(images) for name, images in dataset.splits.items()}
    if split not in sizes:
        dataset.split(split)  # raises
    train = dataset.split("train").sample_indices(max_images)
    held_out = [name for name in ("test", "validation") if sizes.get(name, 0) >= MIN_IMAGES]
    too_few = sizes[split] < MIN_IMAGES
    reference = max(held_out, key=lambda name: sizes[name], default="train") if too_few else split
    why = f"split {split} has {_images(sizes[split])}, too few to compare with; " if too_few else ""
    if reference == "train":
        return _of_train(dataset.name, train, why)
    other = next((name for name in held_out if name != reference), reference)
    rows = {
        "train": ("train", train),
        "validation": (other, dataset.split(other).sample_indices(max_images)),
        "test": (reference, dataset.split(reference).sample_indices(max_images)),
    }
    comparable = len(train) >= MIN_IMAGES
    note = "" if reference == "test" else f"{why}what is called test is split {reference}, {_images(sizes[reference])}"
    alone = "" if comparable else f"split train has {_images(len(train))}, too few for scores"
    notes = "; ".join(part for part in (note, alone) if part)
    return RealImages(rows, comparable, f"{dataset.name}: {notes}" if notes else "")


def _of_train(name: str, train: Integer[np.ndarray, " _"], why: str) -> RealImages:
    """One half of the training images for comparison with the other; very few stand for every split."""
    if len(train) < 2 * MIN_IMAGES:
        note = f"{why}what is called test is split train, {_images(len(train))}, too few for scores"
        return RealImages(dict.fromkeys(("train", "validation", "test"), ("train", train)), False, f"{name}: {note}")
    halves = train[::2], train[1::2]
    rows = {"train": ("train", halves[0]), "validation": ("train", halves[1]), "test": ("train", halves[1])}
    note = f"{why}what is called test is every second image of split train, and train the others"
    return RealImages(rows, True, f"{name}: {note}")


def _images(count: int) -> str:
    return f"{count:,} image" + "s" * (count != 1)
