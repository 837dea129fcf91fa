"""The data of a training run: the data set, what a model depends on of it, and some examples as the model sees them."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree, Shaped

from diffjax.conditions import select_parts
from diffjax.data import BatchConfig, Dataset, batches, decoded_cache, split_rules
from diffjax.data.batch_order import bucket_counts
from diffjax.data.condition_batches import split_conditions
from diffjax.data.condition_parts import Part
from diffjax.data.framing import format_dimensions
from diffjax.data.raw_batches import ReadAhead
from diffjax.errors import UserError
from diffjax.experiment import data_spec, meaning
from diffjax.experiment.codecs import picture_spec
from diffjax.experiment.config import Config, Data
from diffjax.experiment.data_spec import DataSpec
from diffjax.experiment.latent_files import open_latents, picture_fields
from diffjax.experiment.picture_defaults import Choice, choose_settings, unset_fields
from diffjax.experiment.run_record import Record
from diffjax.protocols import Keys
from diffjax.training.data_parallel import broadcast_from_first_host
from diffjax.training.step import Batch
from diffjax.utils.image_fit import Size
from diffjax.utils.prng import keys

MAX_STD_IMAGES = 512  # images from which the standard deviation is measured
MAX_STD_VALUES = 2**24  # values in them, at most
STD_DIGITS = 3  # of the deviation: more would depend on which images are measured
TOKEN_STD = 1.0  # in the config of a model of tokens, where nothing reads it
MAX_NAMES_SHOWN = 5
FEW_IMAGES = 10  # below which a model can only learn them by heart


class Examples(NamedTuple):
    """Examples as the model sees them: their keys, x, and the parts of their conditions that the net has."""

    keys: Keys
    x: Shaped[Array, "n ..."]
    cond: PyTree


@dataclass(frozen=True)
class TrainingData:
    """A data set, the rule that divided it, the parts of its conditions, and what a model depends on of it.

    `std` is the standard deviation of training images as the model sees them, 0 for tokens. `sample_spec` is the record
    of what the model draws: of pictures where it sees stored latents.
    """

    dataset: Dataset
    rule: str
    parts: tuple[Part, ...]
    spec: DataSpec
    std: float
    sample_spec: DataSpec

    @property
    def sizes(self) -> dict[Size, int]:
        """The sizes of training batches, and how many images have each; empty of arrays that are no images."""
        return bucket_counts(self.dataset, "train")

    def examples(self, split: str, count: int, null: PyTree) -> Examples:
        """At most `count` evenly spaced examples of a split; `null` is the net's null condition."""
        return _encode(self.dataset, split, count, self.spec, null, self.parts)


def open_data(data: Data, rule: str = split_rules.CURRENT_RULE) -> TrainingData:
    """The data of a config, divided by that rule. Raises UserError for data that are missing or do not fit."""
    if data.latents:
        dataset, codec = open_latents(Path(data.latents), picture_fields(vars(data)))
    else:
        cache = data_spec.parse_cache(data.cache, data.image_size, data.fit)
        recipe = f"{data.image_size}\n{data.fit}\n{data.background}"  # of decoded pixels, beside the files
        dataset = decoded_cache.cache_split(data_spec.open_configured(data, rule), "train", cache, recipe)
        codec = None
    parts = data_spec.parse_parts(data.parts, dataset)
    spec = replace(data_spec.build_data_spec(dataset, data.form if codec is None else "real", parts), codec=codec)
    sample_spec = spec if codec is None else picture_spec(spec, data.latents)
    return TrainingData(dataset, rule, parts, spec, measure_std(dataset, spec), sample_spec)


def measure_std(dataset: Dataset, spec: DataSpec) -> float:
    """The standard deviation of up to `MAX_STD_IMAGES` encoded training images, to `STD_DIGITS` digits; 0 for tokens.

    Equal on all hosts, which call it together.
    """
    if spec.encoding.discrete:
        return 0.0
    count = max(1, min(MAX_STD_IMAGES, MAX_STD_VALUES // prod(spec.shape)))
    x = np.asarray(_encode(dataset, "train", count, spec, None, ()).x)
    # Rounding would leave a little where all values are equal.
    std = broadcast_from_first_host(float(x.std()) if x.min() < x.max() else 0.0)
    return float(f"{std:.{STD_DIGITS}g}")


def choices_for(fields: Mapping[str, object], data: TrainingData) -> list[Choice]:
    """What is chosen for the unset ones of a config's fields, by dotted path."""
    unset = unset_fields(fields)
    if not unset:
        return []
    chosen = choose_settings(data.spec, len(data.dataset.split("train")), jax.device_count())
    return [choice for choice in chosen if choice.path in unset]


def complete_config(config: Config, data: TrainingData, choices: Sequence[Choice]) -> Config:
    """The config with the choices, and with the measured standard deviation where it has none.

    Raises UserError where all pixels are equal.
    """
    fields = meaning.flatten_config(config) | {choice.path: choice.value for choice in choices}
    config = meaning.unflatten_config(fields)
    if config.model.data_std is not None:
        return config
    if not data.std and not data.spec.encoding.discrete:
        raise UserError(
            "config.model.data_std: all pixels of the training images that were measured are equal, so they have no "
            "standard deviation; set one, such as 0.5"
        )
    return replace(config, model=replace(config.model, data_std=data.std or TOKEN_STD))


def open_batches(config: Config, data: TrainingData, null: PyTree, step: int) -> Iterator[Batch]:
    """This host's share of the batches from `step` on, with the parts of conditions that the net has.

    The first one is read now, so that an image that cannot be read is reported before training.
    """
    batch_config = BatchConfig(
        config.data.batch_size,
        config.train.seed,
        form=data.spec.encoding,
        balance=config.data.balance,
        augment=data_spec.parse_augment(config.data.augment),
        parts=data.parts,
        ahead=ReadAhead(config.data.workers, config.data.ahead_mb),
    )
    raw_batches = batches(
        data.dataset, "train", batch_config, start_step=step, host=jax.process_index(), hosts=jax.process_count()
    )
    stream = ({**batch, "cond": select_parts(null, batch["cond"])} for batch in raw_batches)
    return itertools.chain([next(stream)], stream)


def data_notes(data: TrainingData, previous: Record | None) -> list[str]:
    """Notes for the user: how the data have changed since the run began, and what has too few training images."""
    dataset = data.dataset
    spec = data.spec
    splits = previous.splits if previous else None
    changed = split_rules.describe_changes(splits, dataset) if splits else ""
    notes = [*([changed] if changed else []), *dataset.notes, *_describe_buckets(data)]
    if not data.sample_spec.of_images:
        notes.append(f"{dataset.name}: examples of shape {spec.shape} are no images, so no pictures are written")
    absent = [name for name, share in zip(spec.class_names, spec.label_frequencies, strict=True) if not share]
    if absent:
        names = ", ".join(map(repr, absent[:MAX_NAMES_SHOWN])) + " and others" * (len(absent) > MAX_NAMES_SHOWN)
        notes.append(f"{dataset.name}: no training image of class {names}; add some, or leave the class out")
    count = len(dataset.split("train"))
    if count < FEW_IMAGES:
        images = "the single training image" if count == 1 else f"all {count} training images"
        notes.append(f"{dataset.name}: {images} will be memorized: samples are copies; {FEW_IMAGES} are still few")
    return notes


def _describe_buckets(data: TrainingData) -> list[str]:
    """A line on the sizes of batches where they have several."""
    if len(data.dataset.sizes) <= 1:
        return []
    counts = ", ".join(f"{format_dimensions(size)} of {count:,}" for size, count in data.sizes.items())
    main = format_dimensions(data.spec.shape[:2])
    elsewhere = f"the validation loss, pictures and samples are of {main}, the one nearest to a square"
    return [f"{data.dataset.name}: training images by size, height x width: {counts}; {elsewhere}"]


def _encode(
    dataset: Dataset, split: str, count: int, spec: DataSpec, null: PyTree, parts: tuple[Part, ...]
) -> Examples:
    source = dataset.split(split)
    rows = np.unique(np.linspace(0, len(source) - 1, min(count, len(source))).round().astype(int))
    images, _ = dataset.arrays(split, rows)
    root = keys(0, len(rows))
    x = spec.encoding.encode(root, jnp.asarray(images), spec.levels)
    cond = select_parts(null, split_conditions(dataset, split, rows, parts))
    return Examples(root, x, jax.tree.map(jnp.asarray, cond))
