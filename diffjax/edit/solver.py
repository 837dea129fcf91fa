"""Posterior sampling: `solve` draws x0 given an observation, by a method of `edit.methods`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Unpack, cast

from diffjax.arguments.checked import validate_arguments
from diffjax.denoising import checked_denoiser, networks
from diffjax.edit.observation import Observation
from diffjax.edit.sdedit import SampleOptions
from diffjax.errors import UserError
from diffjax.grids import Grid
from diffjax.order import Order
from diffjax.protocols import Cond, Denoise, GaussianNoise, Hook, Keys, Noise, Sample, Step, TokenNoise
from diffjax.sampling.driver import sample_for


class Problem(NamedTuple):
    """The arguments of `solve`, without the method."""

    keys: Keys
    noise: Noise
    order: Order
    denoise: Denoise
    observation: Observation
    cond: Cond = None
    steps: int = 50
    grid: Grid | None = None
    step: Step | None = None

    @property
    def gaussian(self) -> GaussianNoise:
        """The noise, for methods that serve no tokens."""
        return cast(GaussianNoise, self.noise)


@dataclass(frozen=True)
class Method:
    """A posterior sampler `draw(problem) -> x` and the problems that it serves.

    `noisy`: observations with noise; `bases`: bases other than pixels; `orders`: positions with levels of their own;
    `tokens`: Masking; `rule`: the name of its own step rule, where it takes no other. `evaluations`: calls of the
    denoiser per step, and `backward` of them with a backward pass.
    """

    name: str
    draw: Callable[[Problem], Sample]
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
    **options: Unpack[SampleOptions],
) -> Sample:
    """One posterior sample per key, `[b, *observation.shape]`, at the last level of the grid.

    The options `cond`, `steps` (50), `grid` and `step` are those of `dj.sample`. Values known exactly are exact in the
    result: pixels and tokens bit for bit, coordinates of another basis up to rounding. Example i depends on key i and
    on no other example. Raises UserError where the method does not serve the noise, order, observation, net or rule.
    """
    return method.draw(make_problem(method, keys, noise, order, denoise, observation, **options))


def make_problem(
    method: Method,
    keys: Keys,
    noise: Noise,
    order: Order,
    denoise: Denoise,
    observation: Observation,
    **options: Unpack[SampleOptions],
) -> Problem:
    """The problem. Raises UserError where the observation does not fit, or the method does not serve it."""
    observation.check_fit(noise, (len(keys), *observation.shape))
    _check_serves(method, noise, order, observation)
    if method.rule and options.get("step") is not None:
        raise UserError(f"{method.name}: has its own step rule, {method.rule}, and takes no other; leave step out")
    return Problem(keys, noise, order, checked_denoiser(noise, denoise), observation, **options)


def _check_serves(method: Method, noise: Noise, order: Order, observation: Observation) -> None:
    """Raise UserError where the method does not serve the noise, order or observation."""
    if isinstance(noise, TokenNoise) and not method.tokens:
        raise UserError(f"{method.name}: serves numbers, and {type(noise).__name__} is of tokens; use clamp")
    if order.width < 1 and not method.orders:
        raise UserError(
            f"{method.name}: needs one level for all positions (order.together), and the order's width is "
            f"{order.width:g}; use clamp, or replacement"
        )
    if not observation.of_pixels and (not method.bases or order.width < 1):
        raise UserError(
            f"{method.name}: serves observations of pixels here, and this one is of coordinates of another basis; use "
            "ddnm, pigdm or twisted, under order.together"
        )
    if not method.noisy:
        observation.check_exact(method.name)


def sample_posterior(problem: Problem, denoise: Denoise, hook: Hook, step: Step | None = None) -> Sample:
    """`dj.sample` with this denoiser and hook: a compiled scan, or a host loop where that is faster for the net."""
    p = problem
    options = {"cond": p.cond, "steps": p.steps, "grid": p.grid, "step": step or p.step, "hook": hook}
    return sample_for(*networks(denoise))(p.keys, p.noise, p.order, denoise, p.observation.shape, **options)


def sample_with_hooks(make_hooks: Callable[[Problem], tuple[Denoise, Hook]]) -> Callable[[Problem], Sample]:
    """`Method.draw` of a method that is `dj.sample` with the denoiser and hook `make_hooks(problem)`."""
    return lambda problem: sample_posterior(problem, *make_hooks(problem))
