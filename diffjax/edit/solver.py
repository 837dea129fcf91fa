"""Drawing what was not seen, by any method: `solve`."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxtyping import Array, Float, PyTree

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import checked_denoiser, networks
from diffjax.edit.observation import Observation, check_exact, check_fit
from diffjax.errors import UserError
from diffjax.order import Order
from diffjax.protocols import Denoise, Keys, Noise, Sample, Step, TokenNoise
from diffjax.sampling.driver import sample_for


class Problem(NamedTuple):
    """All that a method is given: what `dj.sample` is, and what was seen."""

    keys: Any
    noise: Any
    order: Order
    denoise: Any
    observation: Observation
    cond: Any
    steps: int
    grid: Any
    step: Step | None


@dataclass(frozen=True)
class Method:
    """A way to draw x0 given what was seen: `draw(problem) -> x`, and what it serves.

    `noisy`: observations with noise; `bases`: others than pixels; `orders`: positions with levels of their own;
    `tokens`: Masking; `rule`: the step rule that it brings, where it takes no other. `evaluations` of the denoiser are
    spent per step, of them `backward` with a pass back.
    """

    name: str
    draw: Callable[[Problem], Any]
    noisy: bool = False
    bases: bool = True
    orders: bool = False
    tokens: bool = False
    rule: str = ""
    evaluations: float = 1
    backward: float = 0


@validate_arguments
def solve(
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    observation: Observation,
    *,
    method: Method,
    cond: PyTree = None,
    steps: int = 50,
    grid: Float[Array, " _"] | None = None,
    step: Step | None = None,
) -> Sample:
    """Draw one example per key given what was seen of it: `[b, *observation.shape]`, at the last level of the grid.

    The other arguments are those of `dj.sample`. What is known exactly is so in the result: pixels and tokens bit for
    bit, coordinates of another basis to rounding. Example i depends on key i and on nothing else of the batch. Raises
    UserError where the method does not serve the noise, order, observation, net or rule.
    """
    check_fit(observation, noise, (len(keys), *observation.shape))
    check_serves(method, noise, order, observation, step)
    return method.draw(
        Problem(keys, noise, order, checked_denoiser(noise, denoise), observation, cond, steps, grid, step)
    )


def check_serves(method: Method, noise: Noise, order: Order, observation: Observation, step: Step | None) -> None:
    """Raise UserError where the method does not serve what it is given."""
    if isinstance(noise, TokenNoise) and not method.tokens:
        raise UserError(f"{method.name}: this method is of numbers, and {type(noise).__name__} is of tokens; use clamp")
    if order.width < 1 and not method.orders:
        raise UserError(
            f"{method.name}: needs one level for all positions (order.together), and the order's width is "
            f"{order.width:g}; use clamp, or replacement"
        )
    if not observation.of_pixels and (not method.bases or order.width < 1):
        raise UserError(
            f"{method.name}: only pixels have levels of their own, and what was seen are coordinates of another basis; "
            "use ddnm, pigdm or twisted, under order.together"
        )
    if not method.noisy:
        check_exact(observation, method.name)
    if method.rule and step is not None:
        raise UserError(f"{method.name}: brings its own step rule, {method.rule}, and takes no other; leave step out")


def sample_posterior(problem: Problem, denoise: Any, hook: Any, step: Step | None = None) -> Sample:
    """By `dj.sample`, with this denoiser and hook: a compiled scan, or a host loop where a net wants that."""
    p = problem
    options = {"cond": p.cond, "steps": p.steps, "grid": p.grid, "step": step or p.step, "hook": hook}
    arguments = (p.keys, p.noise, p.order, denoise, p.observation.shape)
    return sample_for(*networks(denoise))(*arguments, **options)


def sampling_method(name: str, make_hooks: Callable[[Problem], tuple[Any, Any]], **serves: Any) -> Method:
    """The method that samples with another denoiser and a hook: `way(problem) -> (denoise, hook)`."""
    return Method(name, functools.partial(_sample_with, make_hooks), **serves)


def _sample_with(make_hooks: Callable[[Problem], tuple[Any, Any]], problem: Problem) -> Sample:
    return sample_posterior(problem, *make_hooks(problem))
