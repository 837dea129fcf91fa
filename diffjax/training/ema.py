"""Moving averages of the weights, by name, and averages of any length synthesized from stored ones.

`0.999`      a constant decay: old weights lose a thousandth of their share at every step
`std=0.05`   the power function of Karras et al. 2024 (EDM2, section 3.1) whose standard deviation is that share of the
             training so far: after t steps the weights of moment τ count (γ + 1) τ^γ / t^(γ + 1)

Weights stand still between two steps, so the recursion below is that integral exactly, and a sum of stored profiles
gives the profile of any other average in the least-squares sense.
"""

from collections.abc import Sequence
from math import isfinite

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from diffjax.errors import UserError
from diffjax.training.joint_leaves import map_joined

STD = "std="
MAX_STD = 0.28  # the standard deviation of the flat average of all weights, γ = 0, is 1/√12
MAX_RESIDUAL = 0.1  # error of a synthesized profile over its norm
StoredAverage = tuple[int, float]  # an average: the step after which it was taken, and its std


def average_names(averages: Sequence[float | str]) -> tuple[str, ...]:
    """The names of averages given as decays or names. Raises UserError for an invalid one, and where there is none."""
    names = tuple(average if isinstance(average, str) else str(average) for average in averages)
    if not names:
        raise UserError("train.ema: expected one or more averages, such as 0.999 (or train.ema_std, such as 0.05)")
    for name in names:
        _check(name)
    return names


def default_average(names: Sequence[str]) -> str:
    """The average of the longest decay, or of the largest std where none has a decay."""
    return max([name for name in names if not name.startswith(STD)] or names, key=_number)


def select_average(names: Sequence[str], choice: str | None) -> str:
    """The average of that name, or the default one. Raises UserError where the run does not have it."""
    if choice is None:
        return default_average(names)
    if choice not in names:
        raise UserError(f"ema: {choice!r} is not in this run; it has {', '.join(sorted(names))}")
    return choice


def initial_averages(names: Sequence[str], params: PyTree) -> dict[str, PyTree]:
    """Averages that begin with these weights, in buffers of their own (the trainer donates them).

    Float32 at least: in bfloat16 a thousandth of a difference would round to nothing.
    """

    def copy(leaf: Array) -> Array:
        return jnp.array(leaf, jnp.promote_types(leaf.dtype, jnp.float32), copy=True)

    return {name: jax.tree.map(copy, params) for name in names}


def update_averages(emas: dict[str, PyTree], params: PyTree, step: Int[Array, ""]) -> dict[str, PyTree]:
    """Each average moved towards the weights after `step` + 1 steps."""

    def move(name: str, ema: PyTree) -> PyTree:
        gain = _gain(name, step)
        return map_joined(lambda old, new: old + gain * (new - old), ema, params)  # exact where weights stand still

    return {name: move(name, ema) for name, ema in emas.items()}


def power_exponent(std: float) -> float:
    """γ of a standard deviation: std² = (γ + 1) / ((γ + 2)² (γ + 3)), the largest root (EDM2, eq. 126)."""
    over = std**-2
    return float(np.roots([1.0, 7.0, 16.0 - over, 12.0 - over]).real.max())


def synthesis_weights(stored: Sequence[StoredAverage], step: int, std: float) -> tuple[Float[np.ndarray, " n"], float]:
    """The coefficients of stored averages in one of length `std` after `step` steps, and its profile's relative error.

    Least squares between profiles (EDM2, section 3.2 and algorithm 3), here with coefficients that sum to 1, so that
    constant weights are reproduced.
    """
    times = np.array([*(at for at, _ in stored), step], np.float64)
    gammas = np.array([power_exponent(length) for length in (*(length for _, length in stored), std)])
    gram = _product(times[:, None], gammas[:, None], times[None], gammas[None])
    centred = gram - gram[-1] - gram[:, -1:] + gram[-1, -1]  # of the differences from the target profile
    last = len(stored) - 1  # its coefficient is 1 minus the others'
    normal_matrix = centred[:last, :last] - centred[last, :last] - centred[:last, last:-1] + centred[last, last]
    solution = np.linalg.lstsq(normal_matrix, centred[last, last] - centred[:last, last], rcond=1e-12)[0]
    weights = np.array([*solution, 1 - solution.sum()])
    residual = weights @ centred[:-1, :-1] @ weights
    return weights, float(np.sqrt(max(residual, 0.0) / gram[-1, -1]))


def std_from_name(name: str) -> float:
    """The std of a name `std=…`. Raises UserError for another name, or a std out of range."""
    _check(name)
    if not name.startswith(STD):
        raise UserError(f"ema: expected {STD}… with a number in (0, {MAX_STD}], got {name!r}")
    return _number(name)


def _product(t: np.ndarray, a: np.ndarray, s: np.ndarray, b: np.ndarray) -> np.ndarray:
    """∫ of the product of the profiles of exponent a up to t and of exponent b up to s."""
    earlier = np.minimum(t, s)
    return (a + 1) * (b + 1) / (a + b + 1) * (earlier / t) ** (a + 1) * (earlier / s) ** (b + 1) / earlier


def _gain(name: str, step: Int[Array, ""]) -> Float[Array, ""]:
    """The share of the weights after n + 1 steps in an average, n = `step`.

    1 - (1 - 1/t)^(γ + 1) at t = n + 1 (EDM2, eq. 127); of a constant decay 1 - min(decay, (1 + n)/(10 + n)), so that
    it starts short.
    """
    if name.startswith(STD):
        return -jnp.expm1((power_exponent(_number(name)) + 1) * jnp.log1p(-1 / (step + 1)))
    return jnp.maximum(1 - _number(name), 9 / (10 + step))


def _check(name: str) -> None:
    try:
        number = _number(name)
    except ValueError:
        number = float("nan")
    if name.startswith(STD):
        if not 0 < number <= MAX_STD:
            raise UserError(f"train.ema_std: expected a share of the training in (0, {MAX_STD}], got {name!r}")
    elif not (isfinite(number) and 0 <= number < 1):
        raise UserError(f"train.ema: expected decays in [0, 1), got {name!r}")


def _number(name: str) -> float:
    return float(name.removeprefix(STD))
