"""What trains a model: its net and loss, the optimizer, the averages, and what is measured and kept on the way."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key, PyTree, UInt8

from diffjax.commands.sample_gallery import PER_ROW, reconstruction_gallery, sample_gallery
from diffjax.commands.training_data import TrainingData
from diffjax.conditions import has_label
from diffjax.errors import UserError
from diffjax.experiment import build, trained_model
from diffjax.experiment.build import ModelParts
from diffjax.experiment.config import Config
from diffjax.experiment.loading import is_published, load, local_path
from diffjax.experiment.run_record import Record
from diffjax.loss.protocol import Loss
from diffjax.nets.adapters import map_base
from diffjax.nets.adapters import merge_adapters as plain_net
from diffjax.nets.autoencoder_kl import AutoencoderKL
from diffjax.protocols import Net
from diffjax.training import checkpoint
from diffjax.training.ema import STD
from diffjax.training.freezing import freeze, frozen_patterns
from diffjax.training.nonfinite import Policy
from diffjax.training.retention import RetentionPolicy
from diffjax.training.state import State, create, warm_start
from diffjax.training.validation import validation_function
from diffjax.utils.tree_paths import leaf_name, leaves_by_name, matches

GALLERY_PICTURES = 3 * PER_ROW  # of a codec
Validate = Callable[[PyTree], dict[str, float]]  # from parameters to metrics
Gallery = Callable[[PyTree], UInt8[np.ndarray, "h w c"]]  # from variables to a picture of samples


@dataclass(frozen=True)
class TrainingSetup:
    """Everything that training needs but data and state.

    `net` is that of the model, of which some parameters may be frozen; `example` is (x, cond) of one example.
    """

    model: ModelParts
    net: Net
    loss: Loss
    optimizer: optax.GradientTransformation
    averages: tuple[float | str, ...]
    example: tuple[Array, PyTree]
    policy: Policy
    retention: RetentionPolicy
    validate: Validate | None
    gallery: Gallery

    def create(self, key: Key[Array, ""]) -> State:
        """The state at step 0."""
        x, cond = self.example
        return create(key, self.net, self.optimizer, self.averages, x, cond)

    def count_parameters(self, params: PyTree) -> tuple[int, int]:
        """The numbers of trained and of all parameters."""
        frozen = frozen_patterns(self.net)
        sizes = {name: leaf.size for name, leaf in leaves_by_name(params).items()}
        return sum(size for name, size in sizes.items() if not matches(name, frozen)), sum(sizes.values())


def build_setup(config: Config, model: ModelParts, data: TrainingData) -> TrainingSetup:
    """The setup of a config. Raises UserError naming the field that does not fit."""
    train = config.train
    null = model.net.null_cond
    loss = build.build_loss(model, train)
    net, optimizer = freeze(model.net, build.build_optimizer(train), train.freeze)
    if isinstance(model.net, AutoencoderKL):
        gallery = reconstruction_gallery(model.net, data.examples(_gallery_split(data), GALLERY_PICTURES, null).x)
    else:
        gallery = sample_gallery(model, data.sample_spec, config.sample, _gallery_conditions(data, null))
    return TrainingSetup(
        model=model,
        net=net,
        loss=loss,
        optimizer=optimizer,
        averages=(*train.ema, *(f"{STD}{std:g}" for std in train.ema_std)),
        example=(data.spec.encoding.empty(data.spec.shape), jax.tree.map(lambda leaf: leaf[None], null)),
        policy=build.build_policy(train.on_fault),
        retention=RetentionPolicy(train.keep_checkpoints, train.keep_every_steps, train.keep_best),
        validate=_validation(model, build.build_loss(model, train, drop_conditions=False), data, train.validate_images),
        gallery=gallery,
    )


def restore_or_create(
    workdir: Path, setup: TrainingSetup, seed: int, init_from: str, previous: Record | None, allow_imports: bool
) -> tuple[State, list[str]]:
    """The newest whole checkpoint, or a new state with the weights of another run that fit, and notes on these."""
    fresh = setup.create(jax.random.key(seed))
    identity = previous.identity if previous else None
    restored = checkpoint.restore(workdir / "checkpoints", fresh, identity)
    if restored is not None:
        return restored, []
    if not init_from:
        return fresh, []
    source = _initial_weights(init_from, allow_imports)
    notes: list[str] = []

    def merge(params: PyTree) -> PyTree:
        merged, lines = matching_weights(params, source)
        notes.extend(lines)
        return merged

    return warm_start(fresh, map_base(setup.model.net, fresh.params, merge)), notes


def _gallery_conditions(data: TrainingData, null: PyTree) -> PyTree:
    """Conditions of held-out examples for a gallery, of a net with conditions but no classes."""
    if null is None or has_label(null):
        return None
    return data.examples(_gallery_split(data), PER_ROW, null).cond


def _gallery_split(data: TrainingData) -> str:
    return "validation" if len(data.dataset.splits["validation"]) else "train"


def _validation(model: ModelParts, loss: Loss, data: TrainingData, count: int) -> Validate | None:
    """The validation loss; None where there are no images for it."""
    if not count or not len(data.dataset.splits["validation"]):
        return None
    examples = data.examples("validation", count, model.net.null_cond)
    return validation_function(model.net, loss, *examples)


class InitialWeights(NamedTuple):
    """Parameters that a new run begins with, and a line of where they are from."""

    params: PyTree
    origin: str


def _initial_weights(source: str, allow_imports: bool) -> InitialWeights:
    """The weights of a run, an exported file or published weights, without adapters."""
    path = local_path(source)
    if not path.exists():
        raise UserError(f"config.train.init_from: {source}: no such run or file; give one, or leave it empty")
    if is_published(path):
        model = load(path)
        assert model.info.origin is not None
        return InitialWeights(model.denoise.variables["params"], model.info.origin.describe())
    weights = trained_model.read_weights(path, allow_imports=allow_imports)
    net = build.build_model(weights.config.model, weights.data).net
    return InitialWeights(plain_net(net, weights.params)[1], f"{source}, step {weights.step:,}, {weights.ema}")


def matching_weights(params: PyTree, source: InitialWeights) -> tuple[PyTree, list[str]]:
    """A net's weights with those of the source in place of all that have the same name and shape; and a list.

    The list tells, for people, how many were taken, which were not, and which of the source's had no use. Raises
    UserError where nothing fits.
    """
    ours = leaves_by_name(params)
    theirs = leaves_by_name(source.params)
    fits = {path for path in ours if path in theirs and ours[path].shape == theirs[path].shape}
    if not fits:
        problem = f"no weight of {source.origin} has the name and shape of one of this net's"
        raise UserError(f"train.init_from: {problem}; drop it")
    merged = jax.tree_util.tree_map_with_path(
        lambda path, leaf: (
            jnp.asarray(np.asarray(theirs[leaf_name(path)]), leaf.dtype, copy=True) if leaf_name(path) in fits else leaf
        ),
        params,
    )
    count, total = (sum(ours[path].size for path in paths) for paths in (fits, ours))
    lines = [f"train.init_from: {count:,} of {total:,} parameters are those of {source.origin}"]
    for path in sorted(ours.keys() - fits):
        other = f"; there it is {theirs[path].shape}" if path in theirs else ""
        lines.append(f"  fresh: {path} {ours[path].shape}{other}")
    return merged, [*lines, *(f"  left: {path} {theirs[path].shape}" for path in sorted(theirs.keys() - ours.keys()))]
