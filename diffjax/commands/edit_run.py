"""Edits that are ready to be drawn: each is checked as a whole before anything is compiled, then drawn in batches."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Key, PyTree, Shaped, UInt8

from diffjax import edit
from diffjax.commands import image_sampler
from diffjax.commands.image_sampler import ImageSampler
from diffjax.data.pixel_representation import HIDDEN_COLOUR
from diffjax.denoising import needs_rank
from diffjax.edit import Method, Observation
from diffjax.parallel.batch_progress import FIRST_IMAGES, BatchProgress
from diffjax.parallel.dispatch import map_in_batches
from diffjax.protocols import Keys, Sample
from diffjax.reports.image_grids import edit_figure, heat_map
from diffjax.sampling.driver import sample_for
from diffjax.utils.prng import keys

MAX_FIGURE_SAMPLES = 64

Picture = UInt8[np.ndarray, "_ _ _"]
Images = UInt8[np.ndarray, "n h w c"]


@dataclass(frozen=True)
class EditContext:
    """What an edit is drawn with. `cond` has one entry for each of `count` images; `end_cond` is for interpolation."""

    sampler: ImageSampler
    root: Key[Array, ""]
    count: int
    batch: int
    cond: PyTree
    end_cond: PyTree


class EditResult(NamedTuple):
    """The images of an edit, a figure of them and its file name, and what is stored with the images.

    `animated`: the images are consecutive frames, between two conditions, and not samples of one.
    """

    images: Images
    figure: Picture
    figure_name: str
    provenance: Mapping[str, object]
    animated: bool = False


@dataclass(frozen=True)
class EditInputs:
    """The input of an edit as it is shown: named images, 0 … 255, the edited one first, and the region to repaint.

    `notes` are lines for the user: what was done to the input images.
    """

    panels: Mapping[str, Picture]
    mask: Bool[np.ndarray, "h w"] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class InverseProblem:
    """Samples a batch given an observation, by `edit.solve`; `sampler_set`: by the user's step rule.

    A causal net that knows every order first takes in the known positions.
    """

    observation: Observation
    method: Method
    sampler_set: bool

    def __call__(self, sampler: ImageSampler, keys: Keys, cond: PyTree) -> Sample:
        order = sampler.order
        if needs_rank(sampler.net) and order.exchangeable:
            order = edit.known_first(order, self.observation)
        return edit.solve(
            keys,
            sampler.noise,
            order,
            sampler.denoise,
            self.observation,
            method=self.method,
            cond=cond,
            grid=sampler.grid,
            step=sampler.step if self.sampler_set or sampler.data.encoding.discrete else None,
        )


@dataclass(frozen=True)
class Variation:
    """Samples a batch from an image noised to `strength` (SDEdit); outside of the region to repaint x0 is `known`."""

    x0: Shaped[Array, "..."]
    strength: float
    known: Observation | None

    def __call__(self, sampler: ImageSampler, keys: Keys, cond: PyTree) -> Sample:
        u = edit.strength_to_time(sampler.noise, self.strength)
        x0 = jnp.broadcast_to(self.x0, (len(keys), *self.x0.shape))
        return sample_for(sampler.net)(
            keys,
            sampler.noise,
            sampler.order,
            sampler.denoise,
            self.x0.shape,
            cond=cond,
            grid=edit.truncate_grid(sampler.grid, u),
            step=sampler.step,
            start=edit.noise_to(keys, sampler.noise, sampler.order, x0, u),
            hook=self.known,
        )


@dataclass(frozen=True)
class ImageEdit:
    """An edit of one image whose flags and files have been checked; `provenance` is stored with the images."""

    sample: InverseProblem | Variation
    inputs: EditInputs
    provenance: Mapping[str, object]

    def check(self, context: EditContext) -> None:
        """Raise UserError where model, step rule or method do not serve. Traces, and runs nothing."""
        example_cond = jax.tree.map(lambda leaf: jnp.asarray(leaf[:1]), context.cond)
        jax.eval_shape(partial(self.sample, context.sampler), keys(0, 1), example_cond)

    def draw(self, context: EditContext) -> EditResult:
        """Examples 0 … count - 1; outside of the region to repaint they are the input, byte for byte."""

        def draw_batch(keys: Keys, cond: PyTree) -> UInt8[np.ndarray, "b h w c"]:
            return image_sampler.to_bytes(self.sample(context.sampler, keys, cond), context.sampler.data)

        with BatchProgress(context.count, wait=FIRST_IMAGES) as progress:
            images = map_in_batches(
                draw_batch, context.root, context.count, context.batch, context.cond, progress=progress
            )
        if self.inputs.mask is not None:
            images = np.where(self.inputs.mask[..., None], images, next(iter(self.inputs.panels.values())))
        figure = edit_figure(preview_panels(self.inputs, images), images[:MAX_FIGURE_SAMPLES])
        return EditResult(images, figure, "grid.png", self.provenance)


def preview_panels(inputs: EditInputs, samples: Images) -> dict[str, Picture]:
    """What a figure shows above the samples: inputs, mask, and the samples' mean and deviation at each pixel."""
    panels = dict(inputs.panels)
    if inputs.mask is not None:
        panels["mask"] = _mark_mask(next(iter(inputs.panels.values())), inputs.mask)
    deviation = samples.astype(float).std(axis=0).mean(axis=-1)
    max_deviation = max(float(deviation.max()), 1.0)
    panels["mean"] = np.rint(samples.mean(axis=0)).astype(np.uint8)
    panels[f"deviation, 0 … {max_deviation / 255:.2f}"] = heat_map(deviation / max_deviation)
    return panels


def _mark_mask(picture: Picture, mask: Bool[np.ndarray, "h w"]) -> Picture:
    """The picture, with the region to repaint in one colour."""
    colours = np.broadcast_to(picture, (*picture.shape[:2], 3))
    return np.where(mask[..., None], np.array(HIDDEN_COLOUR, np.uint8), colours)
