"""Latents as a form in which a model sees pictures: a codec encodes them, and decodes what the model draws."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from diffjax.data.pixel_representation import Form, Images, States, to_levels, to_uint8, to_unit
from diffjax.errors import UserError
from diffjax.published.autoencoder_kl import Codec, decode, encode

PICTURES_PER_CALL = 4  # of the codec, whose states are as large as the pictures


def latents_form(codec: Codec) -> Form:
    """The form of a codec: pictures [n, h, w, 3] of levels to latents [n, h / factor, w / factor, channels], and back.

    Sides must divide by the codec's factor.
    """

    def shape(picture: tuple[int, ...]) -> tuple[int, ...]:
        if any(side % codec.factor for side in picture[:2]):
            sides = " x ".join(map(str, picture[:2]))
            raise UserError(f"size: sides of latents divide by {codec.factor}, got {sides}; give such a size")
        return *(side // codec.factor for side in picture[:2]), codec.channels

    def to_latents(keys: object, images: Images, levels: int) -> jax.Array:
        return jnp.asarray(_in_parts(partial(_encode, codec), np.asarray(to_unit(images, levels))))

    def to_pictures(x: States) -> np.ndarray:
        return _in_parts(partial(_decode, codec), np.asarray(x, np.float32))

    return Form(
        encode=to_latents,
        decode=lambda x, shape, levels: to_levels(to_pictures(x), levels),
        shape=shape,
        frame=lambda x, shape, levels: to_uint8(to_pictures(x), levels),
    )


_encode = jax.jit(encode)
_decode = jax.jit(decode)


def _in_parts(call: partial[jax.Array], x: np.ndarray) -> np.ndarray:
    """The outputs for a batch, a few at a time; the last part is filled up, so that one program serves all."""
    parts = []
    for start in range(0, len(x), PICTURES_PER_CALL):
        part = x[start : start + PICTURES_PER_CALL]
        filled = np.concatenate([part, np.repeat(part[-1:], min(len(x), PICTURES_PER_CALL) - len(part), axis=0)])
        parts.append(np.asarray(call(jnp.asarray(filled)))[: len(part)])
    return np.concatenate(parts)
