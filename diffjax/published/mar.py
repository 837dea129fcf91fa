"""MAR (Li et al. 2024): files whose weights are those of `nets.published_mar.PublishedMAR`.

It draws latents of its own codec, KL-16, one token each. eps of a token is predicted at steps 0 … 999 of cosine betas,
with the range of its posterior's variance. `sampling.masked_autoregressive` draws as its authors do.
"""

from math import isqrt

import jax.numpy as jnp

from diffjax import net_inputs, order, predict, schedule
from diffjax.errors import UserError
from diffjax.nets.published_mar import PublishedMAR
from diffjax.noise import Gaussian
from diffjax.published.family import Family, PublishedModel
from diffjax.published.latent_scale import LatentScale
from diffjax.published.stored_tensors import WeightFile
from diffjax.published.tensor_mapping import net_shapes, place_tensors, sources_by_name

HEADS = {768: 12, 1024: 16, 1280: 16}  # of the published widths, which no tensor tells
HEAD_WIDTH = 64  # of other widths
LATENTS = LatentScale(0.2325)  # of KL-16
BLOCKS = 64  # evaluations of the backbone in a draw, as its authors have it
STEPS = 100  # evaluations of the head for each token
POSITIONS = "diffusion_pos_embed_learned"  # [1, tokens, width]
ALL_POSITIONS = "encoder_pos_embed_learned"  # [1, buffer + tokens, width]
INPUT = "diffloss.net.input_proj.weight"  # [head width, channels]


def _matches(file: WeightFile) -> bool:
    return {"class_emb.weight", "fake_latent", POSITIONS, INPUT} <= file.tensors.keys()


def _read(file: WeightFile) -> PublishedModel:
    net = _net(file)
    shape = (net.size, net.size, file.shape(INPUT, 2)[1])
    shapes = net_shapes(net, shape, jnp.zeros(1, jnp.int32))
    params = place_tensors(file, shapes, sources_by_name(shapes))
    noise = Gaussian(schedule.discrete_cosine(), predict.eps, inputs=net_inputs.steps_from_data())
    blocks = order.blocks(min(BLOCKS, net.size**2), shuffled=True)
    model = PublishedModel(net, params, noise, blocks, shape, net.classes, schedule="discrete_cosine()")
    text = f"blocks({blocks.blocks}, shuffled=True)"
    return model._replace(order_text=text, latents=LATENTS, sampler="posterior(learned_variance=True)", steps=STEPS)


def _net(file: WeightFile) -> PublishedMAR:
    """The net whose sizes are those of the tensors."""
    classes, width = file.shape("class_emb.weight", 2)
    head_width, _ = file.shape(INPUT, 2)
    _, tokens, _ = file.shape(POSITIONS, 3)
    _, positions, _ = file.shape(ALL_POSITIONS, 3)
    size = isqrt(tokens)
    if size**2 != tokens:
        raise UserError(f"{file.path}: {POSITIONS!r} has {tokens} tokens, which are no square; use the published file")
    return PublishedMAR(
        size=size,
        width=width,
        encoder_depth=file.depth("encoder_blocks"),
        decoder_depth=file.depth("decoder_blocks"),
        heads=HEADS.get(width, max(1, width // HEAD_WIDTH)),
        head_width=head_width,
        head_depth=file.depth("diffloss.net.res_blocks"),
        buffer=positions - tokens,
        classes=classes,
    )


FAMILY = Family("MAR", "MIT", "https://github.com/LTH14/mar", _matches, _read)
