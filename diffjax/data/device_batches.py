"""Batches on the device: images gathered by their ids, augmented, and encoded as the model sees them."""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Int32, Key, PyTree, Shaped, UInt32

from diffjax.data import condition_batches
from diffjax.data.augment import Augment, apply_augmentations
from diffjax.data.batch_order import further_words, seed_words
from diffjax.data.condition_parts import Part
from diffjax.data.pixel_representation import Form, Images
from diffjax.protocols import Keys
from diffjax.utils.prng import fold_index


class Batch(TypedDict):
    """Images in their representation, and their condition: labels, None without labels, or a dict with parts."""

    x: Shaped[jax.Array, "b ..."]
    cond: PyTree


class Randomness(NamedTuple):
    """The keys and counters of all randomness of a batch on the device; independent of the host."""

    noise: Key[jax.Array, ""]
    augment: Key[jax.Array, ""]
    choice: Key[jax.Array, ""]
    step: np.uint32
    first_row: np.uint32


class DeviceTransforms(NamedTuple):
    """Transforms of images and of the parts of conditions, on the device."""

    levels: int
    form: Form
    augment: tuple[Augment, ...]
    parts: tuple[Part, ...]

    def randomness(self, seed: int, start_step: int, first_row: int) -> Iterator[Randomness | None]:
        """That of the batches from `start_step` on; None where nothing is drawn."""
        if not (self.form.noisy or self.augment or any(part.random for part in self.parts)):
            yield from itertools.repeat(None)
        words = (*seed_words(seed)[1:3], further_words(seed)[0])
        noise, augment, choice = (jax.random.key(word, impl="threefry2x32") for word in words)
        for step in itertools.count(start_step):
            yield Randomness(noise, augment, choice, np.uint32(step), np.uint32(first_row))


@partial(jax.jit, static_argnames="transforms")
def gather_batch(
    rows: Partial, ids: UInt32[jax.Array, " b"], transforms: DeviceTransforms, randomness: Randomness | None
) -> Batch:
    """The batch of these rows: `rows(ids)` are images, labels and, unless they are generated, parts."""
    images, labels, *parts = rows(ids)
    return transform_batch(images, labels, parts[0] if parts else {}, transforms, randomness)


@partial(jax.jit, static_argnames="transforms")
def transform_batch(
    images: Images,
    labels: Int32[jax.Array, " b"] | None,
    parts: dict[str, jax.Array],
    transforms: DeviceTransforms,
    randomness: Randomness | None,
) -> Batch:
    """Augmentation, then representation; one key per example, from its row in the whole batch."""
    noise: Keys | None = None
    choice: Keys | None = None
    if randomness is not None:
        rows = randomness.first_row + jnp.arange(len(images), dtype=jnp.uint32)
        roots = (jax.random.fold_in(root, randomness.step) for root in randomness[:3])
        noise, augment, choice = (fold_index(root, rows) for root in roots)
        images = apply_augmentations(transforms.augment, augment, images)
    cond = labels
    if transforms.parts:
        chosen = condition_batches.draw_variants(parts, transforms.parts, choice)
        cond = condition_batches.assemble_condition(labels, chosen, transforms.parts)
    return {"x": transforms.form.encode(noise, images, transforms.levels), "cond": cond}
