"""What predicting the noise in place of the image changes: the same error in what a net puts out, by its row."""

from dataclasses import replace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array

import diffjax as dj
from diffjax import predict, schedule
from enumerated.families import Family, draw, exact, families, rounded
from enumerated.laws import Table, apart, uncertain

ERROR = 0.3  # the root mean square of what is added to the output
ROWS = {"the image (x0)": predict.x0, "v": predict.v, "the noise (eps)": predict.eps}
COUNTS = (1, 2, 4, 8, 24)  # evaluations
NOISES = {name: dj.Gaussian(schedule.linear_beta, row) for name, row in ROWS.items()}  # alpha(1) > 0, as eps needs it


class Erring(NamedTuple):
    """Total variation with its standard error, and how far numbers end from the nearest token, root mean square."""

    apart: float
    error: float
    rough: float


def rows(table: Table, draws: int) -> dict[str, dict[int, Erring]]:
    """By what is predicted and by evaluations; without any error first."""
    ddim = next(family for family in families(table.ndim) if family.name == "diffusion, ddim")
    every = {"anything, without error": (NOISES["v"], 0.0), **{name: (noise, ERROR) for name, noise in NOISES.items()}}
    return {
        name: {count: _erring(ddim, table, noise, error, count, draws) for count in COUNTS}
        for name, (noise, error) in every.items()
    }


def _erring(family: Family, table: Table, noise: dj.Gaussian, error: float, evaluations: int, draws: int) -> Erring:
    family = replace(family, noise=noise)
    x = draw(family, Partial(_WRONG[noise], exact(family, table), error), table.ndim, evaluations, draws)
    law = rounded(family, x)
    rough = float(np.sqrt(np.mean((np.abs(x) - 1) ** 2)))
    return Erring(apart(law, table), uncertain(law, table, draws), rough)


def _wrong(noise: dj.Gaussian):
    """The exact output with a smooth function of x_t added that is the same for every row."""

    def denoise(right: dj.Denoise, error: float, x_t: Array, t: Array, cond: None) -> Array:
        m = noise.coefficients(t)
        a, b = noise.parameterization.pair(m, noise.data_std)
        x0 = right(x_t, t, cond)
        out = a * x0 + b * noise.eps(x_t, x0, t)
        return noise.read(out + error * waves(noise.feed(x_t, t)), x_t, t)

    return denoise


_WRONG = {noise: _wrong(noise) for noise in NOISES.values()}


def waves(x: Array) -> Array:
    """Of mean square near 1, and in no relation to the data: √2 sin(w · x + phase) at each position."""
    n = x.shape[1]
    rng = np.random.default_rng(0)
    w, phase = rng.normal(size=(n, n)) * 2, rng.uniform(0, 2 * np.pi, n)
    return jnp.sqrt(2.0) * jnp.sin(x[..., 0] @ jnp.asarray(w, x.dtype) + jnp.asarray(phase[None], x.dtype))[..., None]
