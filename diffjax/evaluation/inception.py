"""Inception-v3 for the Fréchet inception distance: the network, and the rules that resize images for it.

Szegedy et al. 2016 (arXiv 1512.00567), figures 5 to 7, in TensorFlow's graph of 2015-12-05, as used by Heusel et al.
2017. It differs from the paper in `branch_pool`: average pooling excludes padding, and the last block uses max pooling.
Batch normalisation is folded into kernels and biases (`inception_weights.load_weights`). Names are those of the
published weights.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, UInt8
from PIL import Image

from diffjax.errors import UserError

SIDE = 299  # pixels
FULL_PRECISION = jax.lax.Precision.HIGHEST  # accelerators round the factors of products by default
CLASSES = 1008  # logits: ImageNet's thousand, and eight that were never trained

Picture = Float[Array, "b _ _ _"]
Images = UInt8[np.ndarray, "b h w c"]


class Conv(NamedTuple):
    """A convolution with bias over windows of height × width pixels, then relu."""

    features: int
    height: int = 1
    width: int = 1
    stride: int = 1
    padding: str = "SAME"


Pool = Callable[[Picture], Picture]
Branch = tuple[Conv | Pool | tuple[Conv, Conv], ...]  # layers in sequence; a pair is applied in parallel

_average_pool = partial(nn.avg_pool, window_shape=(3, 3), padding="SAME", count_include_pad=False)
_max_pool = partial(nn.max_pool, window_shape=(3, 3), padding="SAME")
_strided_max_pool = partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2))


def _unpadded_conv(features: int, stride: int = 1) -> Conv:
    """A 3×3 convolution without padding."""
    return Conv(features, 3, 3, stride, "VALID")


def _block_35(pooled: int) -> dict[str, Branch]:
    """Figure 5, at 35×35 pixels, with a 5×5 where it has a lone 3×3."""
    return {
        "branch1x1": (Conv(64),),
        "branch5x5": (Conv(48), Conv(64, 5, 5)),
        "branch3x3dbl": (Conv(64), Conv(96, 3, 3), Conv(96, 3, 3)),
        "branch_pool": (_average_pool, Conv(pooled)),
    }


def _block_17(inner: int) -> dict[str, Branch]:
    """Figure 6, at 17×17 pixels, n = 7."""
    tall = Conv(inner, 7, 1)
    wide = Conv(inner, 1, 7)
    return {
        "branch1x1": (Conv(192),),
        "branch7x7": (Conv(inner), wide, Conv(192, 7, 1)),
        "branch7x7dbl": (Conv(inner), tall, wide, tall, Conv(192, 1, 7)),
        "branch_pool": (_average_pool, Conv(192)),
    }


def _block_8(pool: Pool) -> dict[str, Branch]:
    """Figure 7, at 8×8 pixels."""
    fork = (Conv(384, 1, 3), Conv(384, 3, 1))
    return {
        "branch1x1": (Conv(320),),
        "branch3x3": (Conv(384), fork),
        "branch3x3dbl": (Conv(448), Conv(384, 3, 3), fork),
        "branch_pool": (pool, Conv(192)),
    }


_TO_17: dict[str, Branch] = {
    "branch3x3": (_unpadded_conv(384, 2),),
    "branch3x3dbl": (Conv(64), Conv(96, 3, 3), _unpadded_conv(96, 2)),
    "branch_pool": (_strided_max_pool,),
}
_TO_8: dict[str, Branch] = {
    "branch3x3": (Conv(192), _unpadded_conv(320, 2)),
    "branch7x7x3": (Conv(192), Conv(192, 1, 7), Conv(192, 7, 1), _unpadded_conv(192, 2)),
    "branch_pool": (_strided_max_pool,),
}

LAYERS: dict[str, Conv | Pool | dict[str, Branch]] = {
    "Conv2d_1a_3x3": _unpadded_conv(32, 2),
    "Conv2d_2a_3x3": _unpadded_conv(32),
    "Conv2d_2b_3x3": Conv(64, 3, 3),
    "MaxPool_1": _strided_max_pool,
    "Conv2d_3b_1x1": Conv(80),
    "Conv2d_4a_3x3": _unpadded_conv(192),
    "MaxPool_2": _strided_max_pool,
    "Mixed_5b": _block_35(32),
    "Mixed_5c": _block_35(64),
    "Mixed_5d": _block_35(64),
    "Mixed_6a": _TO_17,
    "Mixed_6b": _block_17(128),
    "Mixed_6c": _block_17(160),
    "Mixed_6d": _block_17(160),
    "Mixed_6e": _block_17(192),
    "Mixed_7a": _TO_8,
    "Mixed_7b": _block_8(_average_pool),
    "Mixed_7c": _block_8(_max_pool),
}


def _conv(conv: Conv, name: str, x: Picture) -> Picture:
    size = (conv.height, conv.width)
    return nn.relu(nn.Conv(conv.features, size, conv.stride, conv.padding, precision=FULL_PRECISION, name=name)(x))


class Mixed(nn.Module):
    """Parallel branches, concatenated. The convolutions of a branch with several have numbered names."""

    branches: Mapping[str, Branch]

    @nn.compact
    def __call__(self, x: Picture) -> Picture:
        return jnp.concatenate([self._branch(name, steps, x) for name, steps in self.branches.items()], axis=-1)

    def _branch(self, name: str, steps: Branch, x: Picture) -> Picture:
        numbered = sum(not callable(step) for step in steps) > 1
        for number, step in enumerate(steps, 1):
            conv_name = f"{name}_{number}" if numbered else name
            if callable(step):
                x = step(x)
            elif isinstance(step, Conv):
                x = _conv(step, conv_name, x)
            else:
                x = jnp.concatenate(
                    [_conv(half, conv_name + side, x) for half, side in zip(step, "ab", strict=True)], -1
                )
        return x


class InceptionOutput(NamedTuple):
    """`pool3`, the features of FID and KID, and `logits`, without bias, those of the Inception Score."""

    pool3: Float[Array | np.ndarray, "b 2048"]
    logits: Float[Array | np.ndarray, "b 1008"]


class Inception(nn.Module):
    """Images of at least 75×75 pixels (299×299 in FID) in [-1, 1), float32, to 2048 features and 1008 logits."""

    @nn.compact
    def __call__(self, x: Float[Array, "b _ _ 3"]) -> InceptionOutput:
        for name, layer in LAYERS.items():
            if callable(layer):
                x = layer(x)
            elif isinstance(layer, Conv):
                x = _conv(layer, name, x)
            else:
                x = Mixed(layer, name=name)(x)
        pool3 = x.mean((1, 2))
        return InceptionOutput(pool3, nn.Dense(CLASSES, use_bias=False, precision=FULL_PRECISION, name="fc")(pool3))


class Resize(NamedTuple):
    """A rule to resize images to 299×299 pixels, in 0 … 255; `description` names it in reports."""

    description: str
    apply: Callable[[Images], Float[Array | np.ndarray, "b 299 299 c"]]


@jax.jit
def _tensorflow_1(images: UInt8[Array, "b h w c"]) -> Float[Array, "b 299 299 c"]:
    x = images.astype(jnp.float32)
    for axis in (2, 1):
        length = x.shape[axis]
        place = np.arange(SIDE, dtype=np.float32) * np.float32(length / SIDE)
        below = place.astype(np.int32)
        part = np.expand_dims(place - below.astype(np.float32), tuple({0, 1, 2, 3} - {axis}))
        low, high = (jnp.take(x, at, axis, mode="clip") for at in (below, below + 1))
        x = low + (high - low) * part
    return x


def _bicubic(images: Images) -> Float[np.ndarray, "b 299 299 c"]:
    def resized(plane: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "299 299"]:
        return np.asarray(Image.fromarray(plane).resize((SIDE, SIDE), Image.Resampling.BICUBIC))

    planes = np.moveaxis(images, -1, 1).astype(np.float32)
    return np.stack([np.stack([resized(plane) for plane in image], -1) for image in planes]).clip(0, 255)


TENSORFLOW_1 = Resize(
    f"bilinear to {SIDE} x {SIDE} as TensorFlow 1 does it: target pixel i lies at i·length/{SIDE}, no antialiasing",
    _tensorflow_1,
)
ANTIALIASED = Resize(f"bicubic to {SIDE} x {SIDE} with antialiasing, channel by channel in float32 (Pillow)", _bicubic)
RESIZES = {"tensorflow_1": TENSORFLOW_1, "antialiased": ANTIALIASED}


@jax.jit
def _inception_output(variables: PyTree, levels: Picture) -> InceptionOutput:
    rgb = jnp.broadcast_to(levels, (*levels.shape[:3], 3))
    output = Inception().apply(variables, (rgb - 128) / 128)
    assert isinstance(output, InceptionOutput)
    return output


def inception_function(
    variables: PyTree, resize: Resize = TENSORFLOW_1, batch: int = 32
) -> Callable[[Images], InceptionOutput]:
    """A function from images, uint8 [n, h, w, c], grey (c = 1) or RGB (3), to the net's output in NumPy arrays.

    Images are resized by the rule, grey ones repeated to three channels, and enter as (level − 128) / 128, `batch` at a
    time. `TENSORFLOW_1` is the rule of published FIDs, `ANTIALIASED` that of clean-fid (Parmar et al. 2022). Raises
    UserError for a batch below 1; the function, for other images.
    """
    if batch < 1:
        raise UserError(f"batch is {batch}: give at least one image at once")

    def extract(images: Images) -> InceptionOutput:
        check_images(images)
        size = min(batch, len(images))
        parts = []
        for start in range(0, len(images), size):
            batch_images = images[start : start + size]
            full = batch_images[np.minimum(np.arange(size), len(batch_images) - 1)]  # so that one size is compiled
            output = _inception_output(variables, jnp.asarray(resize.apply(full)))
            parts.append([np.asarray(part)[: len(batch_images)] for part in output])
        return InceptionOutput(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    return extract


def check_images(images: np.ndarray) -> None:
    """Raises UserError for images of another type or shape than the net takes."""
    if images.ndim != 4 or images.dtype != np.uint8 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise UserError(
            f"images are {images.dtype} {images.shape}: Inception-v3 takes uint8 [n, h, w, c], 0 … 255, c 1 or 3"
        )
