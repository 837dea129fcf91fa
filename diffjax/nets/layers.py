"""Layers that the nets share, and the checks of their fields."""

import functools
from collections.abc import Callable, Hashable
from math import gcd
from typing import ParamSpec, TypeVar
from zlib import crc32

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from diffjax.errors import UserError
from diffjax.nets.sinusoids import published_sinusoids, sinusoids
from diffjax.protocols import Keys

GROUPS = 8  # of channels
GROUP_NORM_EPSILON = 1e-6  # of the variance

P = ParamSpec("P")
R = TypeVar("R")


def require_scalar_level(x: Array, level: Array) -> Float[Array, " b"]:
    """The level of each example, for nets of one level. Raises UserError where positions have their own."""
    if level.size != len(level):
        raise UserError(
            f"this net takes one level per example, and here the order or clamping gives each position its own "
            f"({level.shape} for x {x.shape}): use order.together and not edit.clamp, or a net of per-position levels"
        )
    return jnp.broadcast_to(level.reshape(-1), (len(x),))


def require_spatial_axes(x: Array, net: str) -> None:
    """Raise UserError where the input of this net has no axis between the batch and the channels."""
    if x.ndim < 3:
        problem = "expected an array with a batch, one spatial axis or more, and channels, such as [b, h, w, c]"
        raise UserError(f"{net}: {problem}, got {x.shape}")


MAX_SIZES = {
    **{"depth": 512, "head_depth": 512, "blocks": 64, "heads": 1_024},
    **{"depths": 16, "multiplier": 1_024, "shape": 2**16, "vocab": 2**20},
}
MAX_WIDTH = 2**16


def check_fields(dtype: object, dropout: float, **sizes: int) -> None:
    """Raise UserError for a field out of range; nets call it in `__post_init__`, before anything is traced.

    Sizes are bounded by MAX_SIZES and MAX_WIDTH. float16 is refused, since it needs loss scaling.
    """
    for name, size in sizes.items():
        maximum = MAX_SIZES.get(name, MAX_WIDTH)
        if not 1 <= size <= maximum:
            raise UserError(f"net: {name} must be at least 1 and at most {maximum:,}, got {size!s:.20}")
    if not 0 <= dropout < 1:
        raise UserError(f"net: dropout must be a rate in [0, 1), got {dropout}")
    if not isinstance(dtype, Hashable) or dtype not in ("float32", "bfloat16", jnp.float32, jnp.bfloat16):
        raise UserError(f"net: dtype must be 'float32' or 'bfloat16', got {dtype!s:.40}")


def levels_of_tokens(x: Array, level: Float[Array, "_ _"]) -> Float[Array, "b *n"]:
    """The level of each example, [b], or of each token, [b, n], for tokens x [b, n, …]."""
    if level.shape[1] == 1:
        return require_scalar_level(x, level)
    return jnp.broadcast_to(level, x.shape[:2])


def dense_dot_general(x: Array, matrix: Array, dimensions: object, **options: PyTree) -> Array:
    """x [..., i] times a matrix [i, j], the leading axes of x flattened: `dot_general` for dense layers of tokens.

    On a CPU, XLA's gradients of a product with several leading axes take twice as long.
    """
    out = jax.lax.dot_general(x.reshape(-1, x.shape[-1]), matrix, (((1,), (0,)), ((), ())), **options)
    return out.reshape(*x.shape[:-1], matrix.shape[-1])


def dense_float32(x: Array, matrix: Array, dimensions: object, **options: PyTree) -> Array:
    """`dense_dot_general` for the last layer, accumulated and returned in at least float32."""
    kind = jnp.promote_types(x.dtype, jnp.float32)
    return dense_dot_general(x, matrix, dimensions, preferred_element_type=kind, **options)


REMAT_POLICIES = {
    True: jax.checkpoint_policies.nothing_saveable,
    "products": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


def check_remat(remat: object) -> None:
    """Raise UserError for another value of `remat` than False and those of REMAT_POLICIES."""
    if remat is not False and remat not in REMAT_POLICIES:
        raise UserError(f"net: remat must be False, True or 'products', got {remat!r:.40}")


def rematerialized(call: Callable[P, R], remat: bool | str) -> Callable[P, R]:
    """The function, computed again in the backward pass as `remat` says: True stores its arguments alone, 'products'
    also the outputs of its dense layers.
    """
    return call if remat is False else jax.checkpoint(call, policy=REMAT_POLICIES[remat])


def remat_block(block: Callable[..., PyTree], remat: bool | str, static: tuple[int, ...] = ()) -> Callable[..., PyTree]:
    """The block, or its rematerialized form, for which see `rematerialized`; parameters keep their names.

    A block is a module class or an unbound method. `static` are the places of arguments that are not arrays, `self`
    being 0.
    """
    if remat is False:
        return block
    result = nn.remat(block, static_argnums=static, policy=REMAT_POLICIES[remat])
    result.__name__ = block.__name__  # Flax names parameters by it
    return result


class Embedding(nn.Module):
    """MLP(sinusoids(level)) + table[label] + condition_vector; the table's last row is the null label.

    One vector for each level, of an example [b] or of each of its tokens [b, n]; computed in float32, since bfloat16
    would not resolve the highest frequencies. With `frequencies`, so many `published_sinusoids`.
    """

    features: int
    classes: int = 0
    dtype: DTypeLike = jnp.float32
    frequencies: int = 0

    def __call__(
        self,
        level: Float[Array, "b *n"],
        cond: Int[Array, " b"] | None,
        condition_vector: Float[Array, "b features"] | None = None,
    ) -> Float[Array, "b *n features"]:
        return self.with_class(level, cond, condition_vector)[0]

    @nn.compact
    def with_class(
        self,
        level: Float[Array, "b *n"],
        cond: Int[Array, " b"] | None,
        condition_vector: Float[Array, "b features"] | None = None,
    ) -> tuple[Float[Array, "b *n features"], Float[Array, "b features"] | None]:
        """Also table[label] + condition_vector, or the one of the two that there is."""
        waves = published_sinusoids(level, self.frequencies) if self.frequencies else sinusoids(level, self.features)
        hidden = nn.Dense(self.features, dot_general=dense_dot_general)(waves)
        hidden = nn.Dense(self.features, dot_general=dense_dot_general)(nn.silu(hidden))
        vectors = [] if condition_vector is None else [condition_vector]
        if self.classes:
            label = jnp.full(len(level), self.classes) if cond is None else cond
            table = nn.Embed(self.classes + 1, self.features, embedding_init=nn.initializers.normal(1.0))
            vectors.insert(0, table(label))
        elif cond is not None:
            raise UserError("this net is unconditional, and cond is a label: build it with classes=, or give cond=None")
        for vector in vectors:
            hidden += vector.reshape(len(level), *(1,) * (level.ndim - 1), -1)
        return nn.silu(hidden).astype(self.dtype), functools.reduce(jnp.add, vectors) if vectors else None


class Places(nn.Module):
    """Position embedding in an array of this shape, in raster order: the sum of one learned vector for each axis."""

    shape: tuple[int, ...]
    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, index: Int[Array, "*some"]) -> Float[Array, "*some features"]:
        coordinates = jnp.unravel_index(index, self.shape)
        tables = [nn.Embed(size, self.features, self.dtype) for size in self.shape]
        vectors = [table(along) for table, along in zip(tables, coordinates, strict=True)]
        return functools.reduce(jnp.add, vectors)


class Dropout(nn.Module):
    """Dropout by each example's key, independent of the batch and the devices; without keys, none."""

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "b ..."], keys: Keys | None) -> Float[Array, "b ..."]:
        if keys is None or self.rate == 0:
            return x
        layer = crc32("/".join(self.path).encode())

        def keep_mask(key: Key[Array, ""]) -> Bool[Array, "..."]:
            return jax.random.bernoulli(jax.random.fold_in(key, layer), 1 - self.rate, x.shape[1:])

        return jnp.where(jax.vmap(keep_mask)(keys), x / (1 - self.rate), 0)


class Modulation(nn.Module):
    """x (1 + scale) + shift, both linear in the embedding and 0 at the start (Perez et al. 2018, eq. 1)."""

    dtype: DTypeLike = jnp.float32

    def __call__(self, x: Array, embedding: Float[Array, "b *n e"]) -> Array:
        shared = (1,) * (x.ndim - embedding.ndim)
        scale, shift = (
            part.reshape(len(x), *shared, *part.shape[1:]) for part in self.scale_and_shift(embedding, x.shape[-1])
        )
        return x * (1 + scale) + shift

    @nn.compact
    def scale_and_shift(self, embedding: Float[Array, "b *n e"], features: int) -> tuple[Array, Array]:
        """Both, [b, *n, features]."""
        both = nn.Dense(
            2 * features, kernel_init=nn.initializers.zeros, dtype=self.dtype, dot_general=dense_dot_general
        )(embedding)
        scale, shift = jnp.split(both, 2, axis=-1)
        return scale, shift


class GroupNorm(nn.Module):
    """Normalization in eight groups of channels (Wu & He 2018), fewer where the channels do not divide.

    It is one affine map for each channel of an example, which takes the modulation's scale and shift into itself, in
    float32. On a CPU, value and gradient take 0.45 times as long as in two steps.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b *n c"], modulation: tuple[Float[Array, "b c"], Float[Array, "b c"]] | None = None
    ) -> Float[Array, "b *n c"]:
        features = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (features,))
        bias = self.param("bias", nn.initializers.zeros, (features,))
        h = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        mean = _mean_of_groups(h)
        variance = jnp.maximum(_mean_of_groups(jnp.square(h)) - jnp.square(mean), 0)
        slope = scale[None] * jax.lax.rsqrt(variance + GROUP_NORM_EPSILON)
        offset = bias[None] - mean * slope
        if modulation is not None:
            slope, offset = slope * (1 + modulation[0]), offset * (1 + modulation[0]) + modulation[1]
        inner = (1,) * (x.ndim - 2)
        slope, offset = (term.reshape(len(x), *inner, features) for term in (slope, offset))
        return (h * slope + offset).astype(self.dtype)


def _mean_of_groups(x: Float[Array, "b *n c"]) -> Float[Array, "b c"]:
    """The mean over positions and over each channel's group, for each channel."""
    groups = gcd(GROUPS, x.shape[-1])
    means = jnp.mean(x, axis=range(1, x.ndim - 1)).reshape(len(x), groups, -1)
    return jnp.repeat(jnp.mean(means, axis=-1), x.shape[-1] // groups, axis=-1)
