"""Observations of linear inverse problems y = H x + noise, in an orthonormal basis, and their use in sampling.

With the singular value decomposition H = U S Vᵀ the coordinates are z = Vᵀ x, measured as z_i = (Uᵀ y)_i / s_i with the
noise of (Uᵀ y)_i divided by s_i (Kawar et al. 2022, section 4.1). A coordinate with s_i = 0 has infinite noise.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Shaped

from diffjax.denoising import is_causal
from diffjax.errors import UserError
from diffjax.order import Order, ranks
from diffjax.protocols import Cond, Denoise, GaussianNoise, Hook, Keys, Level, Noise, Sample, TokenNoise
from diffjax.steps.ancestral import standard_normal
from diffjax.utils.closures import as_pytree
from diffjax.utils.memo import bind
from diffjax.utils.prng import fold

Basis = Callable[[Array], Array]  # an orthonormal linear map of one example to another of its shape
_KEY_COUNT = 32  # keys whose ranks `check_order` examines


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["values", "std", "forward", "inverse"], meta_fields=["batched"]
)
@dataclass(frozen=True)
class Observation:
    """Measurements `values` of the coordinates `forward(x)`, with noise of standard deviation `std` on each.

    `std` is 0 for a coordinate known exactly and infinite for one that was not measured; it broadcasts against
    `values`, which have the shape of one example or, if `batched`, the batch first. `forward` and `inverse` map one
    example; None is the basis of the pixels or tokens themselves. A pytree: other values compile nothing.
    """

    values: Shaped[Array, "..."]
    std: Float[Array, "..."]
    forward: Basis | None = None
    inverse: Basis | None = None
    batched: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.values.shape[1:] if self.batched else self.values.shape

    @property
    def of_pixels(self) -> bool:
        """Whether the coordinates are the pixels or tokens themselves."""
        return self.forward is None

    @property
    def of_tokens(self) -> bool:
        """Whether the values are tokens."""
        return jnp.issubdtype(self.values.dtype, jnp.integer)

    @property
    def noisy(self) -> bool:
        """Whether a measured coordinate has noise; False where `std` is traced."""
        if isinstance(self.std, Tracer):
            return False
        std = np.asarray(self.std)
        return bool(np.any((std != 0) & np.isfinite(std)))

    def batched_values(self) -> tuple[Shaped[Array, "_ ..."], Float[Array, "_ ..."]]:
        """Values and standard deviations with a batch axis, of length 1 where all examples share them."""
        return (self.values, self.std) if self.batched else (self.values[None], self.std[None])

    def to_coordinates(self, x: Shaped[Array, "b ..."]) -> Shaped[Array, "b ..."]:
        """The coordinates of each example."""
        return x if self.forward is None else jax.vmap(self.forward)(x)

    def from_coordinates(self, z: Shaped[Array, "b ..."]) -> Shaped[Array, "b ..."]:
        """The examples with these coordinates."""
        return z if self.inverse is None else jax.vmap(self.inverse)(z)

    def replace_coordinates(
        self, x: Shaped[Array, "b ..."], z: Shaped[Array, "..."], where: Bool[Array, "..."]
    ) -> Shaped[Array, "b ..."]:
        """x with the coordinates z where `where` is true: pixels bit for bit, other coordinates up to rounding."""
        if self.of_pixels:
            return jnp.where(where, z, x)
        return x + self.from_coordinates(jnp.where(where, z - self.to_coordinates(x), 0))

    def check_fit(self, noise: Noise, shape: tuple[int, ...]) -> None:
        """Raise UserError where samples of this shape, the batch first, are of another kind or shape."""
        if self.of_tokens != isinstance(noise, TokenNoise):
            kind, observed_kind = ("numbers", "tokens") if self.of_tokens else ("tokens", "numbers")
            raise UserError(
                f"edit: {type(noise).__name__} is of {kind}, and the observation of {observed_kind}; give {kind}"
            )
        if self.shape != shape[1:]:
            raise UserError(f"edit: examples are of shape {shape[1:]}, and the observation is of shape {self.shape}")
        if self.batched and len(self.values) not in (1, shape[0]):
            raise UserError(
                f"edit: there are {shape[0]} keys, and the observation is of {len(self.values)} examples; give one for "
                "each key"
            )

    def check_exact(self, name: str) -> None:
        """Raise UserError where the observation has noise."""
        if self.noisy:
            raise UserError(
                f"{name}: the observation must be exact here, and it has noise; use edit.solve with ddrm, ddnm, pigdm, "
                "dps or twisted, or clamp for pixels"
            )

    def as_hook(self, noise: Noise, order: Order, denoise: Denoise, shape: tuple[int, ...]) -> tuple[Denoise, Hook]:
        """The denoiser and hook of `dj.sample(hook=observation)`: tokens are clamped, numbers replaced (`replacement`).

        Raises UserError where the observation has noise, or another shape or kind than the samples.
        """
        self.check_fit(noise, shape)
        if self.of_tokens:
            check_order(self, order, denoise, shape)
            return clamp_tokens(self, denoise), pin_hook(self)
        self.check_exact("hook")
        if not self.of_pixels and order.width < 1:
            raise UserError(f"hook: a basis other than pixels needs order.together, got order width {order.width:g}")
        return denoise, renoise_hook(cast(GaussianNoise, noise), self)


def check_order(observation: Observation, order: Order, denoise: Denoise, shape: tuple[int, ...]) -> None:
    """Raise UserError where a causal net would sample an unknown token before it has seen all known ones."""
    if not is_causal(denoise):
        return
    count = len(observation.values) if observation.batched else 1
    known = jnp.broadcast_to(observation.batched_values()[1] == 0, (count, *shape[1:]))
    rank = ranks(order, jax.vmap(jax.random.key)(jnp.arange(_KEY_COUNT)), shape[1:], 0)[:, None]
    known_first = jnp.max(jnp.where(known, rank, 0), axis=2) < jnp.min(jnp.where(known, 2, rank), axis=2)
    if order.exchangeable or not (isinstance(known_first, Tracer) or np.all(known_first)):
        raise UserError(
            "clamp: a causal net sees only what comes before in its order, and here an unknown token comes before a "
            "known one; use edit.known_first(order, observation) where the net was trained on any order, or a net with "
            "causal=False"
        )


def clamp_tokens(observation: Observation, denoise: Denoise) -> Denoise:
    """The denoiser with the known tokens, at level 0, in place of x_t."""
    return Partial(_clamp_tokens, observation, as_pytree(denoise))


def _clamp_tokens(observation: Observation, inner: Denoise, x_t: Sample, t: Level, cond: Cond) -> Array:
    values, std = observation.batched_values()
    level = jnp.where(std == 0, 0, t) if t.shape == x_t.shape else t
    return inner(jnp.where(std == 0, values.astype(x_t.dtype), x_t), level, cond)


def pin_hook(observation: Observation) -> Hook:
    """The hook that sets known values: tokens after each step, numbers at level 0."""
    return Partial(_pin_tokens if observation.of_tokens else pin, observation)


def pin(observation: Observation, keys: Keys, x: Sample, pred: object, t: Level, s: Level) -> Sample:
    """x with the coordinates that are known exactly, where s = 0."""
    values, std = observation.batched_values()
    return observation.replace_coordinates(x, values, (std == 0) & (s == 0))


def _pin_tokens(observation: Observation, keys: Keys, x: Sample, pred: object, t: Level, s: Level) -> Sample:
    values, std = observation.batched_values()
    return jnp.where(std == 0, values.astype(x.dtype), x)


def renoise_hook(noise: GaussianNoise, observation: Observation) -> Hook:
    """The hook that replaces exactly known coordinates by alpha_s values + sigma_s eps, and at s = 0 by the values."""
    return Partial(bind(_renoise, noise), observation)


def _renoise(
    noise: GaussianNoise, observation: Observation, keys: Keys, x: Sample, pred: object, t: Level, s: Level
) -> Sample:
    values, std = observation.batched_values()
    m = noise.coefficients(s)
    x_s = jnp.where(s == 0, values, m.alpha * values + m.sigma * fresh_noise(keys, x))
    return observation.replace_coordinates(x, x_s, std == 0)


def fresh_noise(keys: Keys, x: Sample) -> Sample:
    """Standard normal draws of the shape of x, each example from a key of its own."""
    return standard_normal(fold(keys, 0), x)
