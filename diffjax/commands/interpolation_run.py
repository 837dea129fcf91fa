"""Interpolation between two images, or between two starting states and conditions, drawn as equally spaced frames."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree, Shaped, UInt8

from diffjax import edit
from diffjax.commands import image_sampler
from diffjax.commands.edit_run import EditContext, EditInputs, EditResult, Images
from diffjax.commands.image_sampler import ImageSampler
from diffjax.edit import MixedCondition
from diffjax.errors import UserError
from diffjax.parallel.batch_progress import FIRST_IMAGES, BatchProgress
from diffjax.parallel.dispatch import map_in_batches
from diffjax.protocols import Keys, Sample
from diffjax.reports import strip
from diffjax.sampling.driver import sample_for
from diffjax.sampling.loop import init_state, invert
from diffjax.steps import midpoint
from diffjax.utils.prng import keys

DEFAULT_STEPS = 50
State = Shaped[Array | np.ndarray, "..."]


@dataclass(frozen=True)
class Interpolation:
    """Between two images (`ends`, as the model sees them), else between the starting states of two seeds.

    Images are inverted by the user's step rule and grid where `sampler_set` and `grid_set`, else by the midpoint rule
    on a grid made for inversion, of `steps`.
    """

    ends: Shaped[Array, "2 ..."] | None = None
    seed_to: int | None = None
    inputs: EditInputs = field(default_factory=lambda: EditInputs({}))
    sampler_set: bool = False
    grid_set: bool = False
    steps: int | None = None

    def check(self, context: EditContext) -> None:
        """As `ImageEdit.check`; raises UserError also for fewer than two images."""
        if context.count < 2:
            raise UserError(f"--num {context.count}: an interpolation has two ends; give 2 or more")
        sampler = self._sampler(context.sampler)
        first, last = (
            jax.tree.map(lambda leaf: jnp.asarray(leaf[:1]), cond) for cond in (context.cond, context.end_cond)
        )
        if self.ends is not None:
            jax.eval_shape(partial(_invert, sampler), keys(0, 1), self.ends[:1], first)
        start = jax.eval_shape(partial(_prior_state, sampler), keys(0, 1))
        mixed_cond = MixedCondition(first, last, jnp.zeros(1))
        jax.eval_shape(partial(_sample_between, sampler), keys(0, 1), start, start, mixed_cond)

    def draw(self, context: EditContext) -> EditResult:
        """`count` equally spaced frames, both ends among them."""
        sampler = self._sampler(context.sampler)
        first, last = self._end_states(sampler, context)
        count = context.count
        shares = jnp.asarray(np.linspace(0, 1, count, dtype=np.float32))
        data = (
            _repeat(keys(context.root, 1), count),
            _repeat(first[None], count),
            _repeat(last[None], count),
            MixedCondition(context.cond, context.end_cond, shares),
        )

        def draw_batch(_: Keys, *data: PyTree) -> UInt8[np.ndarray, "b h w c"]:
            return image_sampler.to_bytes(_sample_between(sampler, *data), sampler.data)

        with BatchProgress(count, wait=FIRST_IMAGES) as progress:
            images = map_in_batches(draw_batch, context.root, count, context.batch, *data, progress=progress)
        inverted = {} if self.ends is None else {"sampler": sampler.step.name, "steps": len(sampler.grid) - 1}
        figure = strip(*frames_with_ends(self.inputs.panels, images), caption="share")
        return EditResult(images, figure, "strip.png", inverted, animated=True)

    def _sampler(self, sampler: ImageSampler) -> ImageSampler:
        """The sampler that inverts images and samples between them."""
        if self.ends is None:
            return sampler
        steps = DEFAULT_STEPS if self.steps is None else self.steps
        grid = sampler.grid if self.grid_set else edit.inversion_grid(sampler.noise, steps)
        return replace(sampler, step=sampler.step if self.sampler_set else midpoint(), grid=grid)

    def _end_states(self, sampler: ImageSampler, context: EditContext) -> State:
        """The states at the noisiest level from which the two ends are sampled."""
        if self.ends is None:
            end_root = context.root if self.seed_to is None else jax.random.key(self.seed_to)
            return np.stack([_start(sampler, context.root), _start(sampler, end_root)])
        cond_pair = jax.tree.map(lambda one, other: np.stack([one[0], other[0]]), context.cond, context.end_cond)
        with BatchProgress(2, wait="inverting both images") as progress:
            return map_in_batches(
                partial(_invert, sampler),
                context.root,
                2,
                context.batch,
                np.asarray(self.ends),
                cond_pair,
                progress=progress,
            )


def frames_with_ends(
    panels: Mapping[str, UInt8[np.ndarray, "h w c"]], images: Images
) -> tuple[UInt8[np.ndarray, "k 1 h w c"], list[str]]:
    """The frames, with the input images at both ends where there are some, and a caption for each."""
    names = [f"{share:.2f}" for share in np.linspace(0, 1, len(images))]
    if not panels:
        return images[:, None], names
    (first, a), (last, b) = panels.items()
    return np.stack([a, *images, b])[:, None], [first, *names, last]


def _start(sampler: ImageSampler, root: Key[Array, ""]) -> np.ndarray:
    return np.asarray(_prior_state(sampler, keys(root, 1))[0])


def _prior_state(sampler: ImageSampler, keys: Keys) -> Sample:
    shape = sampler.data.encoding.shape(sampler.data.shape)
    return init_state(keys, None, sampler.noise, sampler.order, sampler.step, shape)[0]


def _invert(sampler: ImageSampler, keys: Keys, x: Sample, cond: PyTree) -> Sample:
    return invert(
        keys, sampler.noise, sampler.order, sampler.denoise, x, cond=cond, grid=sampler.grid, step=sampler.step
    )


def _sample_between(sampler: ImageSampler, keys: Keys, first: Sample, last: Sample, cond: MixedCondition) -> Sample:
    """Samples from spherical interpolations of two states, under a mixture of two conditions."""
    conditional = bool(jax.tree.leaves(cond.first))
    return sample_for(sampler.net)(
        keys,
        sampler.noise,
        sampler.order,
        edit.mixed(sampler.denoise) if conditional else sampler.denoise,
        first.shape[1:],
        cond=cond if conditional else None,
        grid=sampler.grid,
        step=sampler.step,
        start=edit.slerp(first, last, cond.share),
    )


def _repeat(one: Shaped[Array | np.ndarray, "1 ..."], count: int) -> State:
    """One entry, `count` times."""
    return one[np.zeros(count, int)]
