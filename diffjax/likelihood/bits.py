"""Bits per dimension of an example under a model, for every noise, order and net.

For tokens they are -log2 of a probability. For real numbers they are -log2 of a density, so they may be negative and
depend on the unit: for pixels dequantized to 2 (v + U) / levels - 1, adding log2(levels / 2) gives, in the mean over U,
an upper bound on the bits of the pixel v (Theis et al. 2016, eq. 4).
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import CheckedDenoiser, checked_denoiser, has_head, is_causal, with_ranks
from diffjax.errors import UserError
from diffjax.likelihood.ode import DensityOde, Inputs, call_jitted, negative_log_density
from diffjax.loss.protocol import position_shape, sum_per_example
from diffjax.loss.variational import BoundTerm, bound_grid
from diffjax.noise import Gaussian
from diffjax.order import Order, is_fixed, ranks
from diffjax.protocols import Cond, Denoise, Keys, Level, Noise, Prediction, Sample
from diffjax.utils.closures import closure_jit
from diffjax.utils.kinds import matches_type, type_name
from diffjax.utils.prng import KeyUse, fold
from diffjax.utils.values import python_scalar

__all__ = ["BitsPerDim", "bits_per_dim"]

Nats = Float[Array, " b"]
_FIRST_OPTION = 3  # of a method's parameters, after noise, order and inputs
_MAX_EXACT_DIM = 16  # dimensions up to which the divergence is exact by default


class BitsPerDim(NamedTuple):
    """Bits per dimension, and two errors of the measurement itself, all in bits per dimension."""

    bits: Float[Array | np.ndarray, " b"]
    errors: Float[Array | np.ndarray, " b"]  # standard errors: of draws or probes
    discretization: Float[Array | np.ndarray, " check"] = np.zeros(0)  # bits at twice the steps less bits


@validate_arguments
def bits_per_dim(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    x: Sample,
    cond: Cond = None,
    *,
    method: str = "bound",
    **options: int | bool | None,
) -> BitsPerDim:
    """Bits per dimension of every example and their standard errors, each [b], and the discretization error [check].

    * "exact": -log2 p(x) of tokens, for an order that is the same for all (raster), in one pass of a causal net, or one
      evaluation per position of any other.
    * "bound": the variational bound, for every order, by `draws` (64) evaluations of random terms, noises and orders.
      `draws` equal to `steps` takes every term once. `levels`: see `noise.boundary_terms`.
    * "ode": -log2 p(x) by the probability-flow ODE, for Gaussian noise under order.together, in `steps` (64) steps of
      order 4. The divergence is exact with probes=0 (the default up to 16 dimensions), otherwise Hutchinson's estimate.
      `discretization` is measured on the first `check` examples (by default an eighth of the batch, at least one; 0
      skips it): bits at 2m steps less bits at m, m = steps // 2, with the same probes. For a smooth denoiser the error
      at 2m steps is a fifteenth of it; near the data nets are stiff, and it may be all of it or more.

    scan=False runs a host loop over compiled steps, for convolutions on a CPU. Raises UserError where a method does not
    fit the model.
    """
    methods: dict[str, Callable[..., tuple[Array, ...]]] = {"exact": _exact, "bound": _bound, "ode": _ode}
    if method not in methods:
        raise UserError(f"bits_per_dim: unknown method {method!r}; choose from {', '.join(methods)}")
    _check_options(method, methods[method], options)
    inputs = Inputs(keys, checked_denoiser(noise, denoise), noise.data(x), cond)
    nats = BitsPerDim(*methods[method](noise, order, inputs, **options))
    bits = x[0].size * jnp.log(2.0)
    return jax.tree.map(lambda values: values / bits, nats)


def _check_options(method: str, call: Callable[..., tuple[Array, ...]], options: Mapping[str, object]) -> None:
    """Raise UserError for an option that the method does not take, or of another type."""
    parameters = list(inspect.signature(call).parameters.values())[_FIRST_OPTION:]
    types = {parameter.name: parameter.annotation for parameter in parameters}
    for name, value in options.items():
        if name not in types:
            raise UserError(f"bits_per_dim: method {method} takes {', '.join(types)}, and no {name}")
        if not matches_type(python_scalar(value), types[name]):
            raise UserError(f"bits_per_dim: {name} must be {type_name(types[name])}, got {value!r}")


def _exact(noise: Noise, order: Order, inputs: Inputs, scan: bool = True) -> tuple[Nats, Nats]:
    """-log p(x): all terms of the bound at width 0, for an order that is the same for all examples."""
    positions = position_shape(noise, inputs.x)
    if order.width > 0 or not is_fixed(order, positions):
        reason = f"has width {order.width:g}" if order.width else "is drawn for each"
        raise UserError(
            f"bits_per_dim: the exact likelihood needs one order of positions for all examples (order.raster), and "
            f"this one {reason}; use method='bound'"
        )
    count = prod(positions)
    size = len(inputs.x)
    nats = _terms(_Estimate(noise, order, None, count), inputs, jnp.full(size, 0.5 / count), scan)
    return jnp.mean(nats, axis=0), jnp.zeros(size)


def _bound(
    noise: Noise,
    order: Order,
    inputs: Inputs,
    steps: int | None = None,
    draws: int = 64,
    levels: int | None = None,
    scan: bool = True,
) -> tuple[Nats, Nats]:
    """The mean of `draws` estimates, each from another stratum of the clock (Kingma et al. 2021, appendix I.1)."""
    if draws < 2:
        raise UserError(f"bits_per_dim: draws must be at least 2, got {draws}; one alone has no standard error")
    first = jax.vmap(jax.random.uniform)(fold(inputs.keys, KeyUse.TIME))
    nats = _terms(_Estimate(noise, order, steps, draws, levels), inputs, first, scan)
    return jnp.mean(nats, axis=0), _standard_error(nats)


def _ode(
    noise: Noise,
    order: Order,
    inputs: Inputs,
    steps: int = 64,
    probes: int | None = None,
    check: int | None = None,
    scan: bool = True,
) -> tuple[Nats, Nats, Float[Array, " check"]]:
    """By the ODE; the probes of an example are independent, so their spread gives the error of their mean."""
    if order.width < 1 or not isinstance(noise, Gaussian):
        raise UserError(
            f"bits_per_dim: the ODE needs Gaussian noise under order.together, and this is {type(noise).__name__} "
            f"noise under an order of width {order.width:g}; use method='bound' or 'exact'"
        )
    size = len(inputs.x)
    if probes is None:
        probes = 0 if inputs.x[0].size <= _MAX_EXACT_DIM else 8
    if probes < 0 or probes == 1 or steps < 1:
        raise UserError(f"bits_per_dim: expected steps >= 1 and probes 0 or >= 2, got steps {steps}, probes {probes}")
    check = max(1, size // 8) if check is None else check
    if not 0 <= check <= size:
        raise UserError(f"bits_per_dim: expected check from 0 to the batch's {size} examples, got {check}")
    ode = DensityOde(noise, probes, scan)
    nats = negative_log_density(ode, inputs, steps)
    errors = _standard_error(nats) if probes else jnp.zeros(size)
    keys, x, cond = jax.tree.map(lambda leaf: leaf[:check], (inputs.keys, inputs.x, inputs.cond))
    return jnp.mean(nats, axis=0), errors, _discretization(ode, Inputs(keys, inputs.denoise, x, cond), steps // 2)


def _discretization(ode: DensityOde, inputs: Inputs, steps: int) -> Nats:
    """-log p(x) in 2 · steps minus that in `steps`, with the same probes.

    Each pair of short steps has the probes of the long one, so both are integrals of one function, and the difference
    has the order of the method; fresh probes would leave their noise in it. One step is compared with two.
    """
    steps = max(1, steps)
    if not len(inputs.x):
        return jnp.zeros(0)
    fine = negative_log_density(ode, inputs, 2 * steps, repeat=2)
    return jnp.mean(fine - negative_log_density(ode, inputs, steps), axis=0)


@dataclass(frozen=True)
class _Estimate:
    """Estimates of the bound in nats, each with a noise, an order and a stratum of the clock of its own."""

    noise: Noise
    order: Order
    steps: int | None
    draws: int
    levels: int | None = None

    def __call__(self, inputs: Inputs, first: Float[Array, " b"], k: Int[Array, ""]) -> Nats:
        """The k-th estimate, at the quantile (first + k / draws) mod 1 of the clock."""
        noise = self.noise
        x = inputs.x
        keys = fold(inputs.keys, k)
        positions = position_shape(noise, x)
        rank = ranks(self.order, fold(keys, KeyUse.RANK), positions, noise.channel_axes)
        denoise = with_ranks(inputs.denoise, self.order, rank)
        assert isinstance(denoise, CheckedDenoiser)
        if is_causal(denoise):  # one pass computes every term
            x_1 = jax.vmap(lambda key: noise.prior(key, x.shape[1:]))(inputs.keys)
            t = jnp.ones(rank.shape)
            s = jnp.zeros(rank.shape)
            return sum_per_example(noise.bound(x, denoise(x, s, inputs.cond), x_1, t, s))
        grid = bound_grid(noise, self.order, self.steps, positions, self.levels)
        ends = jax.vmap(lambda key, x0: noise.boundary_terms(key, x0, grid.lowest_level, self.levels))(
            fold(keys, KeyUse.BOUNDARY), x
        )

        def denoise_at(x_t: Sample, t: Level) -> Array | Prediction:
            return denoise.predict(x_t, t, inputs.cond)

        bound = BoundTerm(noise, self.order, denoise_at, grid, has_head(denoise))
        between = bound.nats(1 - (first + k / self.draws) % 1, fold(keys, KeyUse.CORRUPT), x, rank)
        return between + sum_per_example(ends)


def _terms(term: _Estimate, inputs: Inputs, first: Float[Array, " b"], scan: bool) -> Float[Array, "draws b"]:
    """All estimates; of a causal net under a fixed order there is one, since all of them are equal."""
    is_exact = is_causal(inputs.denoise) and is_fixed(term.order, position_shape(term.noise, inputs.x))
    index = jnp.arange(1 if is_exact else term.draws)
    if is_exact:
        term = replace(term, draws=1)
    call = Partial(term, inputs, first)
    return _map_terms(call, index) if scan else jnp.stack([call_jitted(call, k) for k in index])


@closure_jit
def _map_terms(term: Callable[[Array], Nats], index: Int[Array, " draws"]) -> Float[Array, "draws b"]:
    return jax.lax.map(term, index)


def _standard_error(nats: Float[Array, "draws b"]) -> Nats:
    """The standard error of the mean over draws; 0 for a single one, which holds every term."""
    if len(nats) == 1:
        return jnp.zeros(nats.shape[1])
    return jnp.std(nats, axis=0, ddof=1) / len(nats) ** 0.5
