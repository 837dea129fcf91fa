"""What was seen of an example: coordinates in an orthonormal basis, and the noise on each of them.

Every linear observation y = H x + noise is one of these. With H = U S Vᵀ the coordinates are z = Vᵀ x, of which z_i was
seen to be (Uᵀ y)_i / s_i, its noise being that of y over s_i. What H does not see has infinite noise.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer, eval_context
from jax.tree_util import Partial
from jaxtyping import Array, Shaped

from diffjax.edit import constraints
from diffjax.errors import UserError
from diffjax.protocols import TokenNoise
from diffjax.utils.closures import as_pytree

Image = Any  # [*shape] or [b, *shape]: numbers, or tokens


def pixel_basis(x: Any) -> Any:
    """The basis of pixels."""
    return x


_PIXELS = Partial(pixel_basis)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["values", "std", "forward", "inverse"], meta_fields=["batched"]
)
@dataclass(frozen=True)
class Observation:
    """The coordinates `forward(x)` of one example were seen to be `values`, up to noise of deviation `std`.

    `forward` and its `inverse` map one example to one of the same shape, orthonormally. `std` is 0 where a coordinate
    is known exactly and infinite where nothing was seen; it broadcasts against `values`, which have the shape of one
    example, or are `batched` and have one entry for each. A pytree: other values compile nothing.
    """

    values: Any
    std: Any
    forward: Any = _PIXELS
    inverse: Any = _PIXELS
    batched: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example."""
        return self.values.shape[1:] if self.batched else self.values.shape

    @property
    def of_pixels(self) -> bool:
        """Whether the coordinates are the pixels, or tokens, themselves."""
        return isinstance(self.forward, Partial) and self.forward.func is pixel_basis

    @property
    def of_tokens(self) -> bool:
        """Whether tokens were seen, and not numbers."""
        return jnp.issubdtype(self.values.dtype, jnp.integer)

    @property
    def noisy(self) -> bool:
        """Whether some coordinate was seen with noise; False where that is not known while tracing."""
        if isinstance(self.std, Tracer):
            return False
        std = np.asarray(self.std)
        return bool(np.any((std != 0) & np.isfinite(std)))

    def batched_values(self) -> tuple[Array, Array]:
        """Values and std, with a batch axis."""
        return (self.values, self.std) if self.batched else (self.values[None], self.std[None])

    def to_coordinates(self, x: Shaped[Array, "b ..."]) -> Shaped[Array, "b ..."]:
        """The coordinates of each example."""
        return x if self.of_pixels else jax.vmap(self.forward)(x)

    def from_coordinates(self, z: Shaped[Array, "b ..."]) -> Shaped[Array, "b ..."]:
        """The examples that have these coordinates."""
        return z if self.of_pixels else jax.vmap(self.inverse)(z)

    def replace_coordinates(self, x: Shaped[Array, "b ..."], z: Any, where: Any) -> Shaped[Array, "b ..."]:
        """x with the coordinates z there: of pixels bit for bit, else to rounding."""
        if self.of_pixels:
            return jnp.where(where, z, x)
        return x + self.from_coordinates(jnp.where(where, z - self.to_coordinates(x), 0))

    def as_hook(self, noise: Any, order: Any, denoise: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
        """How `dj.sample` is to draw what was seen: tokens clamped, numbers by re-noising replacement."""
        check_fit(self, noise, shape)
        if self.of_tokens:
            constraints.check_order(self, order, denoise, shape)
            return constraints.clamp_denoiser(noise, self, denoise), constraints.pin_hook(noise, self)
        check_exact(self, "hook")
        if not self.of_pixels and order.width < 1:
            raise UserError(f"hook: another basis than pixels needs order.together, and this width is {order.width:g}")
        return denoise, constraints.renoise_hook(noise, self)


def observed(forward: Callable, inverse: Callable, values: Image, std: Any, *, batched: bool = False) -> Observation:
    """The coordinates `forward(x)` of an example, in any orthonormal basis, were seen to be `values`, up to `std`.

    `forward` and `inverse` map one example to one of the same shape. std is 0 where they are exact, infinite where
    nothing was seen. Raises UserError where the two are not linear, orthonormal and each other's inverse.
    """
    values = jnp.asarray(values, jnp.result_type(float))
    std = jnp.broadcast_to(jnp.asarray(std, values.dtype), values.shape)
    observation = Observation(values, std, as_pytree(forward), as_pytree(inverse), batched)
    _check_basis(observation)
    return validate_observation(observation, "observed")


def validate_observation(observation: Observation, name: str) -> Observation:
    """The observation with 0 for what was not seen, once something was seen of each example, and not everything."""
    finite = jnp.isfinite(observation.std)
    values = jnp.where(finite, observation.values, 0)
    if not any(isinstance(part, Tracer) for part in (finite, values)):
        flat = np.asarray(finite).reshape(len(finite) if observation.batched else 1, -1)
        if not np.all(np.isfinite(np.asarray(values, float))):
            raise UserError(f"{name}: expected finite values where something was seen")
        if not np.all(np.asarray(observation.std) >= 0):
            raise UserError(f"{name}: std must be at least 0: 0 is known exactly, infinity not seen")
        if not flat.any(axis=1).all():
            raise UserError(f"{name}: nothing is known; without an observation draw by dj.sample, without a hook")
        if (np.asarray(observation.std) == 0).reshape(flat.shape).all(axis=1).any():
            raise UserError(f"{name}: everything is known exactly, and nothing is left to draw")
    return Observation(values, observation.std, observation.forward, observation.inverse, observation.batched)


def check_fit(observation: Observation, noise: Any, shape: tuple[int, ...]) -> None:
    """Raise UserError where examples of the noise are of another kind or shape, the batch first."""
    if observation.of_tokens != isinstance(noise, TokenNoise):
        kind, observed_kind = ("numbers", "tokens") if observation.of_tokens else ("tokens", "numbers")
        raise UserError(
            f"edit: {type(noise).__name__} is of {kind}, and {observed_kind} were seen; give an image of {kind}"
        )
    if observation.shape != shape[1:]:
        raise UserError(f"edit: examples are of shape {shape[1:]}, and what was seen is of shape {observation.shape}")
    if observation.batched and len(observation.values) not in (1, shape[0]):
        raise UserError(
            f"edit: there are {shape[0]} keys, and {len(observation.values)} examples were seen; give one for each"
        )


def check_exact(observation: Observation, name: str) -> None:
    """Raise UserError where what was seen has noise."""
    if observation.noisy:
        raise UserError(
            f"{name}: what was seen must be exact here, and it has noise; use edit.solve with ddrm, ddnm, pigdm, dps "
            "or twisted, or clamp where pixels were seen"
        )


def _check_basis(observation: Observation) -> None:
    """Orthonormality, on two random vectors: Vᵀ V = 1, lengths are kept, and sums map to sums."""
    with eval_context():
        u, v = jax.random.normal(jax.random.key(0), (2, *observation.shape), observation.values.dtype)
        try:
            z_u, z_v, z_sum = observation.forward(u), observation.forward(v), observation.forward(2 * u - v)
            pairs = ((observation.inverse(z_u), u), (z_sum, 2 * z_u - z_v), (jnp.sum(z_u * z_v), jnp.sum(u * v)))
            pairs += ((jnp.sum(z_u**2), jnp.sum(u**2)),)
            right = all(one.shape == other.shape for one, other in pairs)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"observed: forward and inverse must map one example {observation.shape}: {error}"
            ) from error
        size = float(jnp.sqrt(jnp.sum(u**2)))
        if not right or any(float(jnp.max(jnp.abs(one - other))) > 1e-3 * size for one, other in pairs):
            raise UserError(
                "observed: forward must be an orthonormal change of basis, of one example to its shape, and inverse "
                "its inverse; divide by the singular values of H, and take its singular vectors"
            )
