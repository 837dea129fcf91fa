"""Bits per dimension: what an example costs under a model, in the same unit for every noise, order and net.

Of tokens these are bits of a probability. Of numbers they are bits of a density, which may be negative and depend on
the unit: for pixels dequantised to 2 (v + U) / levels - 1, log2(levels / 2) more are, on average over U, an upper bound
on the bits of the pixel v (Theis et al. 2016, eq. 4).
"""

import functools
import inspect
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import checked_denoiser, has_head, is_causal, with_ranks
from diffjax.errors import UserError
from diffjax.likelihood.context import bits_vs_context as bits_vs_context
from diffjax.likelihood.ode import negative_log_density
from diffjax.loss.protocol import position_shape, sum_per_example
from diffjax.loss.variational import BoundTerm, bound_grid
from diffjax.noise import Gaussian
from diffjax.order import Order, is_fixed, ranks
from diffjax.protocols import Denoise, Keys, Noise, Sample
from diffjax.utils.closures import closure_jit
from diffjax.utils.kinds import matches_type, python_scalar, type_name
from diffjax.utils.prng import KeyUse, fold

__all__ = ["BitsPerDim", "bits_per_dim", "bits_vs_context"]

Nats = Float[Array, " b"]
_DATA = 6  # arguments of a method before its options
_SMALL = 16  # dimensions up to which the divergence is taken exactly unless probes say otherwise


class BitsPerDim(NamedTuple):
    """Bits per dimension, and two errors of the measurement itself, all in bits per dimension."""

    bits: Float[Array | np.ndarray, " b"]
    errors: Float[Array | np.ndarray, " b"]  # standard errors: of draws or probes
    discretization: Float[Array | np.ndarray, " check"] = np.zeros(0)  # by how much a doubling of the steps moves bits


@validate_arguments
def bits_per_dim(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    x: Sample,
    cond: PyTree = None,
    *,
    method: str = "bound",
    **options: Any,
) -> BitsPerDim:
    """Bits per dimension of every example, and their standard errors, each [b], and the ODE's discretization [check].

    * "exact": -log2 p(x) of tokens, for an order that is the same for all (raster): one pass of a causal net, else one
      evaluation a position.
    * "bound": the variational bound, for every order, by `draws` (64) evaluations of terms, noises and orders. With
      as many draws as `steps`, every term is taken once. `levels`: see `noise.boundary_terms`.
    * "ode": -log2 p(x) by the probability-flow ODE, for Gaussian noise under order.together, in `steps` (64) steps of
      order 4. The divergence is exact with probes=0 (so up to 16 dimensions), else Hutchinson's estimate by that many.
      `discretization` is measured on the first `check` examples (an eighth of the batch, at least one; 0 skips it), of
      which alone the denoiser is asked: bits at 2m steps less bits at m, m = steps // 2, of the same probes. Where the
      denoiser is smooth the error at 2m steps is a fifteenth of it; near the data nets are stiff, and it is all of it
      or more. The other methods have none, [0].

    scan=False makes a host loop over compiled steps, for convolutions on a CPU. Raises UserError where a method does
    not fit the model.
    """
    methods: dict[str, Callable[..., tuple[Array, ...]]] = {"exact": _exact, "bound": _bound, "ode": _ode}
    if method not in methods:
        raise UserError(f"bits_per_dim: unknown method {method!r}; choose from {', '.join(methods)}")
    _check_options(method, methods[method], options)
    arguments = (keys, noise, order, checked_denoiser(noise, denoise), noise.data(x), cond)
    nats = BitsPerDim(*methods[method](*arguments, **options))
    bits = x[0].size * jnp.log(2.0)
    return jax.tree.map(lambda values: values / bits, nats)


def _check_options(method: str, call: Callable[..., Any], options: dict[str, Any]) -> None:
    """Raise UserError for an option that the method does not take, or that is of another kind."""
    parameters = list(inspect.signature(call).parameters.values())[_DATA:]
    kinds = {parameter.name: parameter.annotation for parameter in parameters}
    for name, value in options.items():
        if name not in kinds:
            raise UserError(f"bits_per_dim: method {method} takes {', '.join(kinds)}, and no {name}")
        if not matches_type(python_scalar(value), kinds[name]):
            raise UserError(f"bits_per_dim: {name} must be {type_name(kinds[name])}, got {value!r}")


def _exact(
    keys: Keys, noise: Noise, order: Order, denoise: Any, x: Sample, cond: PyTree, scan: bool = True
) -> tuple[Nats, Nats]:
    """Every term of the bound at width 0, for an order that is the same for all: its sum is -log p(x)."""
    positions = position_shape(noise, x)
    if order.width > 0 or not is_fixed(order, positions):
        reason = f"has width {order.width:g}" if order.width else "is drawn for each"
        raise UserError(
            f"bits_per_dim: the exact likelihood needs one order of positions for all examples (order.raster), and "
            f"this one {reason}; use method='bound'"
        )
    count = prod(positions)
    middle = jnp.full(len(x), 0.5 / count)
    nats = _terms((keys, x, denoise, cond, middle), noise, order, None, count, None, scan)
    return jnp.mean(nats, axis=0), jnp.zeros(len(x))


def _bound(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Any,
    x: Sample,
    cond: PyTree,
    steps: int | None = None,
    draws: int = 64,
    levels: int | None = None,
    scan: bool = True,
) -> tuple[Nats, Nats]:
    """The mean of `draws` estimates, each from another stratum of the clock (Kingma et al. 2021, appendix I.1)."""
    if draws < 2:
        raise UserError(f"bits_per_dim: draws must be at least 2, got {draws}; one alone has no standard error")
    first = jax.vmap(jax.random.uniform)(fold(keys, KeyUse.TIME))
    nats = _terms((keys, x, denoise, cond, first), noise, order, steps, draws, levels, scan)
    return jnp.mean(nats, axis=0), _error(nats)


def _ode(
    keys: Keys,
    noise: Any,
    order: Order,
    denoise: Any,
    x: Sample,
    cond: PyTree,
    steps: int = 64,
    probes: int | None = None,
    check: int | None = None,
    scan: bool = True,
) -> tuple[Nats, Nats, Float[Array, " check"]]:
    """By the ODE; probes of an example are independent, so their spread is the error of their mean."""
    if order.width < 1 or not isinstance(noise, Gaussian):
        raise UserError(
            f"bits_per_dim: the ODE needs Gaussian noise under order.together, and this is {type(noise).__name__} "
            f"noise under an order of width {order.width:g}; use method='bound' or 'exact'"
        )
    probes = (0 if x[0].size <= _SMALL else 8) if probes is None else probes
    if probes < 0 or probes == 1 or steps < 1:
        raise UserError(f"bits_per_dim: expected steps >= 1 and probes 0 or >= 2, got steps {steps}, probes {probes}")
    check = max(1, len(x) // 8) if check is None else check
    if not 0 <= check <= len(x):
        raise UserError(f"bits_per_dim: expected check from 0 to the batch's {len(x)} examples, got {check}")
    density = functools.partial(negative_log_density, noise=noise, denoise=denoise, probes=probes, scan=scan)
    nats = density(keys, x=x, cond=cond, steps=steps)
    errors = _error(nats) if probes else jnp.zeros(len(x))
    first = jax.tree.map(lambda leaf: leaf[:check], {"keys": keys, "x": x, "cond": cond})
    return jnp.mean(nats, axis=0), errors, _discretization(density, first, steps // 2)


def _discretization(density: Callable[..., Float[Array, "probes n"]], data: dict[str, Any], steps: int) -> Nats:
    """By how much twice as many steps move -log p(x), with one set of probes for both.

    A pair of the short steps has the probes of the long one, so both are integrals of one function of the path, and
    the difference has the order of the method. Fresh probes for each step would leave their noise in it, which falls
    with the square root of the number of steps only. One step is told from two.
    """
    steps = max(1, steps)
    if not len(data["x"]):
        return jnp.zeros(0)
    fine, coarse = (density(**data, steps=repeat * steps, repeat=repeat) for repeat in (2, 1))
    return jnp.mean(fine - coarse, axis=0)


def _terms(
    data: tuple[Any, ...], noise: Noise, order: Order, steps: int | None, draws: int, levels: int | None, scan: bool
) -> Float[Array, "draws b"]:
    """Estimates of the bound in nats; a causal net's one pass holds all steps, so only orders are drawn for it."""
    if is_causal(data[2]) and is_fixed(order, position_shape(noise, data[1])):
        draws = 1
    term, index = Partial(_term(noise, order, steps, draws, levels), *data), jnp.arange(draws)
    return _map_terms(term, index) if scan else jnp.stack([_call_term(term, k) for k in index])


@closure_jit
def _map_terms(term: Callable[[Array], Nats], index: Array) -> Float[Array, "draws b"]:
    return jax.lax.map(term, index)


@closure_jit
def _call_term(term: Callable[[Array], Nats], k: Array) -> Nats:
    return term(k)


@functools.cache
def _term(noise: Noise, order: Order, steps: int | None, draws: int, levels: int | None) -> Callable[..., Nats]:
    def term(keys: Keys, x: Sample, denoise: Any, cond: PyTree, first: Array, k: Int[Array, ""]) -> Nats:
        """One estimate: at the quantile (first + k / draws) mod 1 of the clock, with noise and order of its own."""
        draw_keys, positions = fold(keys, k), position_shape(noise, x)
        rank = ranks(order, fold(draw_keys, KeyUse.RANK), positions, noise.channel_axes)
        ordered = with_ranks(denoise, order, rank)
        if is_causal(ordered):
            nothing = jax.vmap(lambda key: noise.prior(key, x.shape[1:]))(keys)
            t, s = jnp.ones(rank.shape), jnp.zeros(rank.shape)
            return sum_per_example(noise.bound(x, ordered(x, s, cond), nothing, t, s))
        grid = bound_grid(noise, order, steps, positions, levels)
        ends = jax.vmap(lambda key, x0: noise.boundary_terms(key, x0, grid.lowest_level, levels))(
            fold(draw_keys, KeyUse.BOUNDARY), x
        )
        bound = BoundTerm(noise, order, lambda x_t, t: ordered(x_t, t, cond), grid, has_head(ordered))
        between = bound.nats(1 - (first + k / draws) % 1, fold(draw_keys, KeyUse.CORRUPT), x, rank)
        return between + sum_per_example(ends)

    return term


def _error(nats: Float[Array, "draws b"]) -> Nats:
    """The standard error of the mean over draws; 0 of one, which holds every term."""
    if len(nats) == 1:
        return jnp.zeros(nats.shape[1])
    return jnp.std(nats, axis=0, ddof=1) / len(nats) ** 0.5
