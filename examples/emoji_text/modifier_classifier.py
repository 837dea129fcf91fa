"""A small convolutional network that reads the modifiers of an emoji: gender, skin tone and hair.

It is trained on real pictures with augmentation, and judges pictures that a model draws.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int32, Key, PyTree, UInt8

MODIFIERS = ("gender", "tone", "hair")
STEPS, BATCH = 1_500, 64
_NOISE, _SHIFT, _BRIGHTNESS = 0.08, 2, 0.05  # of augmentation: of white, pixels, of white

Pictures = UInt8[np.ndarray, "n h w 3"]
Names = Mapping[str, list[str]]  # the values of each modifier
Logits = list[Float[Array, "b _"]]  # of each modifier


class ModifierNet(nn.Module):
    """Three convolutions with pooling, and a linear layer for each modifier."""

    counts: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"], dropout: Key[Array, ""] | None = None) -> Logits:
        for features in (24, 48, 96):
            x = nn.relu(nn.Conv(features, (3, 3))(x))
            x = nn.avg_pool(x, (2, 2), (2, 2))
        x = nn.Dropout(0.3, deterministic=dropout is None)(x.reshape(len(x), -1), rng=dropout)
        x = nn.relu(nn.Dense(96)(x))
        return [nn.Dense(count)(x) for count in self.counts]


class Classifier(NamedTuple):
    """A trained network, and the values of each modifier in the order of its outputs."""

    net: ModifierNet
    params: PyTree
    names: Names

    def predict(self, pictures: Pictures) -> dict[str, list[str]]:
        """The most probable value of each modifier of each picture."""
        outputs = _predict(self.net, self.params, _scale(pictures))
        numbers = zip(self.names.items(), outputs, strict=True)
        return {name: [values[number] for number in np.argmax(rows, 1).tolist()] for (name, values), rows in numbers}


def train_classifier(pictures: Pictures, modifiers: Mapping[str, Sequence[str]], steps: int = STEPS) -> Classifier:
    """The classifier of these pictures, whose modifiers are the texts of `modifiers`, one for each picture."""
    names = {name: sorted(set(values)) for name, values in modifiers.items()}
    labels = np.stack([[names[name].index(value) for value in values] for name, values in modifiers.items()], 1)
    net = ModifierNet(tuple(map(len, names.values())))
    x = jnp.asarray(_scale(pictures))
    optimizer = optax.adamw(optax.cosine_decay_schedule(2e-3, steps), weight_decay=0.05)
    params = net.init(jax.random.key(0), x[:1])
    state = optimizer.init(params)

    @jax.jit
    def step(params: PyTree, state: PyTree, key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        rows_key, augment_key, dropout_key = jax.random.split(key, 3)
        rows = jax.random.randint(rows_key, (BATCH,), 0, len(x))
        grads = jax.grad(_loss)(params, net, augment(augment_key, x[rows]), jnp.asarray(labels)[rows], dropout_key)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    for number in range(steps):
        params, state = step(params, state, jax.random.fold_in(jax.random.key(1), number))
    return Classifier(net, params, names)


def augment(key: Key[Array, ""], x: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """Pictures moved by up to two pixels, mirrored, lighter or darker, and noisy."""
    keys = jax.random.split(key, len(x))

    def change(key: Key[Array, ""], image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
        shift_key, flip_key, light_key, noise_key, level_key = jax.random.split(key, 5)
        moved = jnp.roll(image, jax.random.randint(shift_key, (2,), -_SHIFT, _SHIFT + 1), (0, 1))
        mirrored = jnp.where(jax.random.bernoulli(flip_key), moved[:, ::-1], moved)
        lighter = mirrored + _BRIGHTNESS * jax.random.normal(light_key)
        return lighter + _NOISE * jax.random.uniform(level_key) * jax.random.normal(noise_key, image.shape)

    return jax.vmap(change)(keys, x)


def _loss(
    params: PyTree, net: ModifierNet, x: Float[Array, "b h w 3"], labels: Int32[Array, "b k"], key: Key[Array, ""]
) -> Float[Array, ""]:
    losses = [
        optax.softmax_cross_entropy_with_integer_labels(logits, labels[:, column]).mean()
        for column, logits in enumerate(_apply(net, params, x, key))
    ]
    return jnp.sum(jnp.stack(losses))


def _apply(net: ModifierNet, params: PyTree, x: Float[Array, "b h w 3"], key: Key[Array, ""] | None = None) -> Logits:
    outputs: Any = net.apply(params, x, key)  # whose type Flax leaves open
    return outputs


_predict = jax.jit(_apply, static_argnums=0)


def _scale(pictures: Pictures) -> Float[np.ndarray, "n h w 3"]:
    return (np.asarray(pictures) / 255).astype(np.float32)
