"""A picture of samples while a model is trained: one row for each of the first classes, always from the same keys."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree, UInt8

from diffjax.commands.condition_inputs import complete_conditions
from diffjax.commands.image_sampler import build_image_sampler, sample_images, with_denoiser
from diffjax.conditions import has_label
from diffjax.data import byte_tokenizer
from diffjax.data.pixel_representation import Encoded, to_uint8
from diffjax.denoising import denoiser
from diffjax.experiment.build import ModelParts
from diffjax.experiment.config import Sample as SamplerConfig
from diffjax.experiment.data_spec import DataSpec
from diffjax.nets.autoencoder_kl import AutoencoderKL
from diffjax.nets.condition_encoders import Text
from diffjax.reports import grid, labelled_grid
from diffjax.traits import net_traits

PER_ROW = 10  # images of a row, and rows
LEVELS = 256  # of a pixel that is shown
Picture = UInt8[np.ndarray, "h w c"]


def sample_gallery(
    model: ModelParts, data: DataSpec, config: SamplerConfig, examples_cond: PyTree = None
) -> Callable[[PyTree], Picture]:
    """`gallery(variables)`: a picture of the samples of these weights, from the same keys each time.

    A net without classes but with other conditions gets a row for each condition of `examples_cond`. Raises UserError
    for settings that do not serve the model, before anything is drawn.
    """
    names, row_cond = _rows(model, data, examples_cond)
    rows = np.repeat(np.arange(len(names), dtype=np.int32), PER_ROW) if names else None
    cond = jax.tree.map(lambda leaf: np.asarray(leaf)[rows], row_cond)
    count = PER_ROW * (len(names) or PER_ROW)
    untrained = denoiser(model.noise, model.net, {"params": {}})  # each picture brings its weights
    sampler = build_image_sampler(untrained, model, data, config)

    def draw(variables: PyTree) -> Picture:
        host_params = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf.addressable_data(0))), variables)
        trained = with_denoiser(sampler, denoiser(model.noise, model.net, host_params))
        images = sample_images(trained, jax.random.key(0), count, count, cond)
        return grid(images, PER_ROW) if rows is None else labelled_grid(images, rows, names, PER_ROW)

    return draw


def reconstruction_gallery(net: AutoencoderKL, images: Encoded) -> Callable[[PyTree], Picture]:
    """`gallery(variables)`: images in rows, and below each row what a codec makes of them."""
    apply = jax.jit(net.apply)

    def draw(variables: PyTree) -> Picture:
        restored = np.asarray(apply(variables, images))[..., : images.shape[-1]]
        starts = range(0, len(restored), PER_ROW)
        pairs = [part[start : start + PER_ROW] for start in starts for part in (np.asarray(images), restored)]
        return grid(to_uint8(np.concatenate(pairs), LEVELS), PER_ROW)

    return draw


def _rows(model: ModelParts, data: DataSpec, examples_cond: PyTree) -> tuple[tuple[str, ...], PyTree]:
    """The names and the conditions of the rows: a row for each class, each given condition, or none."""
    net = model.net
    if has_label(net.null_cond):
        names = data.class_names[:PER_ROW]
        labels = np.arange(len(names), dtype=np.int32)
        return names, complete_conditions(net, len(names), labels).cond
    if not isinstance(net.null_cond, dict):
        return (), None
    count = len(jax.tree.leaves(examples_cond)[0])
    prompts = next(
        (examples_cond[encoder.part].value for encoder in net_traits(net).conditions if isinstance(encoder, Text)), None
    )
    names = map(str, range(count)) if prompts is None else byte_tokenizer.decode(np.asarray(prompts))
    return tuple(names), examples_cond
