"""Layers of the U-Nets of EDM (Karras et al. 2022): residual blocks that may resample, with attention.

Modules are named as in published files (`norm0`, `conv0`, `affine`, …); all is float32.
"""

import functools
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffjax.errors import UserError
from diffjax.nets.dot_product import attend
from diffjax.nets.edm_layout import BlockPlace
from diffjax.nets.layers import Dropout
from diffjax.protocols import Keys

MAX_GROUPS = 32  # of channels in a norm
MIN_GROUP = 4  # channels

Image = Float[Array, "b h w c"]
OtherImage = Float[Array, "b _ _ _"]  # of other sides or channels
Vectors = Float[Array, "b _"]
Filter = tuple[int, ...]


@dataclass(frozen=True)
class BlockForm:
    """What the blocks of a net have in common.

    `epsilon` is added to the variance in norms; `gain` multiplies each residual sum; `modulates`: the embedding gives
    scale and shift behind the second norm, else a shift before it. `projects_skip`: a skip that is resampled has a
    convolution also where the channels stay. `head_channels` of attention, 0 for one head of all.
    """

    epsilon: float
    gain: float
    modulates: bool
    projects_skip: bool
    head_channels: int
    resample_filter: Filter
    dropout: float


class UNetBlock(nn.Module):
    """norm, silu, convolution, twice, plus a skip; then self-attention where the place has it.

    What resamples comes before the first convolution, and in the skip.
    """

    form: BlockForm
    place: BlockPlace

    @nn.compact
    def __call__(self, x: Image, embedding: Vectors, keys: Keys | None) -> OtherImage:
        form, features = self.form, self.place.features
        h = nn.silu(group_norm(x.shape[-1], form.epsilon, "norm0")(x))
        h = convolution(features, 3, "conv0")(self._resample(h))
        affine = nn.Dense(features * (1 + form.modulates), name="affine")(embedding)[:, None, None]
        norm = group_norm(features, form.epsilon, "norm1")
        if form.modulates:
            scale, shift = jnp.split(affine, 2, axis=-1)
            h = norm(h) * (scale + 1) + shift
        else:
            h = norm(h + affine)
        h = Dropout(form.dropout)(nn.silu(h), keys)
        h = (convolution(features, 3, "conv1")(h) + self._skip(x)) * form.gain
        # As published, a layer narrower than a head has no attention.
        heads = features // form.head_channels if form.head_channels else 1
        return (self._attention(h, heads) + h) * form.gain if self.place.attends and heads else h

    def _resample(self, x: Image) -> OtherImage:
        return RESAMPLERS[self.place.resampling](x, self.form.resample_filter)

    def _skip(self, x: Image) -> OtherImage:
        is_projected = self.form.projects_skip and self.place.resampling != "none"
        resampled = self._resample(x)
        if x.shape[-1] == self.place.features and not is_projected:
            return resampled
        return convolution(self.place.features, 1, "skip")(resampled)

    def _attention(self, x: OtherImage, heads: int) -> OtherImage:
        b, h, w, c = x.shape
        if c % heads:
            raise UserError(f"net: {c} channels have {heads} heads of attention, and must divide by them")
        qkv = convolution(3 * c, 1, "qkv")(group_norm(c, self.form.epsilon, "norm2")(x))
        # A channel of qkv is (head, channel of it, one of the three).
        query, key, value = jnp.moveaxis(qkv.reshape(b, h * w, heads, c // heads, 3), -1, 0)
        return convolution(c, 1, "proj")(attend(query, key, value).reshape(x.shape))


def convolution(features: int, width: int, name: str) -> nn.Conv:
    """A convolution of odd width whose output has the sides of its input, which is padded with zeros."""
    return nn.Conv(features, (width, width), padding=width // 2, name=name)


def group_norm(features: int, epsilon: float, name: str) -> nn.GroupNorm:
    """Normalization in 32 groups of channels, fewer where a group would have less than four."""
    groups = max(1, min(MAX_GROUPS, features // MIN_GROUP))
    if features % groups:
        raise UserError(f"net: the {features} channels of {name} must divide into {groups} groups; use another width")
    return nn.GroupNorm(groups, epsilon=epsilon, use_fast_variance=False, name=name)


def unchanged(x: Image, resample_filter: Filter) -> Image:
    """x itself."""
    return x


def downsample(x: Image, resample_filter: Filter, padding: int | None = None) -> OtherImage:
    """Every second value along each side of the filtered x, the filter having the sum 1.

    `padding` zeros are at both ends of each side; by default as many as halve the side.
    """
    count = len(resample_filter)
    padding = count // 2 - 1 if padding is None else padding
    for axis in (1, 2):
        last = 2 * ((x.shape[axis] + 2 * padding - count) // 2)  # where the last place of the filter begins
        padded = _pad_side(x, axis, padding)
        terms = (
            weight / sum(resample_filter) * jax.lax.slice_in_dim(padded, start, start + last + 1, 2, axis)
            for start, weight in enumerate(resample_filter)
        )
        x = functools.reduce(jnp.add, terms)
    return x


def upsample(x: Image, resample_filter: Filter) -> OtherImage:
    """Zeros put between the values along each side, then filtered, the filter having the sum 2."""
    half = len(resample_filter) // 2
    for axis in (1, 2):
        side = x.shape[axis]
        padded = _pad_side(x, axis, half)
        terms: tuple[list[Array], list[Array]] = ([], [])  # of even and odd places of the output
        for index, weight in enumerate(resample_filter):
            shift = index - half + 1  # value i, with this weight, is a term of place 2 i + shift
            start = half - shift // 2
            term = jax.lax.slice_in_dim(padded, start, start + side, axis=axis)
            terms[shift % 2].append(2 * weight / sum(resample_filter) * term)
        pairs = jnp.stack([functools.reduce(jnp.add, parity) for parity in terms], axis=axis + 1)
        x = pairs.reshape(*x.shape[:axis], 2 * side, *x.shape[axis + 1 :])
    return x


RESAMPLERS = {"none": unchanged, "down": downsample, "up": upsample}


def _pad_side(x: OtherImage, axis: int, count: int) -> OtherImage:
    return jnp.pad(x, [(count, count) if axis == other else (0, 0) for other in range(x.ndim)])
