"""Moving averages of the weights, by their names, and averages of any length from stored ones.

`0.999`      a constant decay: old weights lose a thousandth of their share at every step
`std=0.05`   the power function of Karras et al. 2024 (EDM2, section 3.1), whose standard deviation is that share of the
             training so far: after t steps the weights of moment τ count (γ + 1) τ^γ / t^(γ + 1)

Weights stand still between two steps, so the recursion below is that integral without an error, and the profile of any
average is a sum of stored profiles as far as least squares can make it so.
"""

from collections.abc import Sequence
from math import isfinite

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from diffjax.errors import UserError

STD = "std="
MAX_STD = 0.28  # the standard deviation of the flat average of all weights, γ = 0, is 1/√12
MAX_RESIDUAL = 0.1  # of its own norm, how far the profile of a synthesised average may be off
StoredAverage = tuple[int, float]  # an average: the step after which it was taken, and its std


def average_names(averages: Sequence[float | str]) -> tuple[str, ...]:
    """The names of averages given as decays or by name. Raises UserError for what is none."""
    names = tuple(average if isinstance(average, str) else str(average) for average in averages)
    if not names:
        raise UserError("train.ema: expected one or more averages, such as 0.999 (or train.ema_std, such as 0.05)")
    for name in names:
        _check(name)
    return names


def default_average(names: Sequence[str]) -> str:
    """The longest of the averages, by decay where any has one."""
    return max([name for name in names if not name.startswith(STD)] or names, key=_number)


def select_average(names: Sequence[str], choice: str | None) -> str:
    """The average asked for, by its name or its number, or the default. Raises UserError where it is not there."""
    if choice is None:
        return default_average(names)
    if choice not in names:
        raise UserError(f"ema: {choice!r} is not in this run; it has {', '.join(sorted(names))}")
    return choice


def update_averages(emas: dict[str, PyTree], params: PyTree, step: Int[Array, ""]) -> dict[str, PyTree]:
    """Each average moved towards the weights after `step` + 1 steps."""

    def move(name: str, ema: PyTree) -> PyTree:
        gain = _gain(name, step)
        return jax.tree.map(lambda old, new: old + gain * (new - old), ema, params)  # weights that stand still: no bit

    return {name: move(name, ema) for name, ema in emas.items()}


def power_exponent(std: float) -> float:
    """γ of a standard deviation: std² = (γ + 1) / ((γ + 2)² (γ + 3)), the largest root (EDM2, eq. 126)."""
    over = std**-2
    return float(np.roots([1.0, 7.0, 16.0 - over, 12.0 - over]).real.max())


def synthesis_weights(stored: Sequence[StoredAverage], step: int, std: float) -> tuple[Float[np.ndarray, " n"], float]:
    """How much of each stored average makes up that of length `std` after `step` steps, and how far its profile is off.

    Least squares between profiles (EDM2, section 3.2 and algorithm 3), of amounts that sum to 1, as theirs need not:
    weights that do not change come out as they are. Off by the share of the profile's norm.
    """
    times = np.array([*(times_at for times_at, _ in stored), step], np.float64)
    gammas = np.array(
        [power_exponent(normal_matrix) for normal_matrix in (*(normal_matrix for _, normal_matrix in stored), std)]
    )
    gram = _product(times[:, None], gammas[:, None], times[None], gammas[None])
    distances = (
        gram - gram[-1] - gram[:, -1:] + gram[-1, -1]
    )  # of the profiles' differences from the one that is wanted
    target = len(stored) - 1  # its amount is what the others leave of 1
    normal_matrix = (
        distances[:target, :target]
        - distances[target, :target]
        - distances[:target, target:-1]
        + distances[target, target]
    )
    solution = np.linalg.lstsq(normal_matrix, distances[target, target] - distances[:target, target], rcond=1e-12)[0]
    amounts = np.array([*solution, 1 - solution.sum()])
    residual = amounts @ distances[:-1, :-1] @ amounts
    return amounts, float(np.sqrt(max(residual, 0.0) / gram[-1, -1]))


def std_from_name(name: str) -> float:
    """The std of a name `std=…`. Raises UserError for another, or one out of range."""
    _check(name)
    if not name.startswith(STD):
        raise UserError(f"ema: expected {STD}… with a number in (0, {MAX_STD}], got {name!r}")
    return _number(name)


def _product(t: np.ndarray, a: np.ndarray, s: np.ndarray, b: np.ndarray) -> np.ndarray:
    """∫ of the product of the profiles of exponent a up to t and of exponent b up to s."""
    earlier = np.minimum(t, s)
    return (a + 1) * (b + 1) / (a + b + 1) * (earlier / t) ** (a + 1) * (earlier / s) ** (b + 1) / earlier


def _gain(name: str, step: Int[Array, ""]) -> Float[Array, ""]:
    """How far an average goes towards the weights after n + 1 steps, n = `step`.

    1 - (1 - 1/t)^(γ + 1) at t = n + 1 (EDM2, eq. 127), or 1 - min(decay, (1 + n)/(10 + n)), so that a constant decay
    starts short.
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
