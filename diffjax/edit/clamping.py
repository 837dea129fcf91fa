"""Methods that put what is known in its place: clamped where the net is given it, or re-noised after each step."""

from typing import Any

from diffjax.denoising import nets_of
from diffjax.edit import constraints
from diffjax.edit.solver import Method, Problem, by_sampling
from diffjax.errors import UserError
from diffjax.steps import ddim, posterior
from diffjax.utils.memo import one_object


@one_object
def clamp() -> Method:
    """The net is given every seen pixel or token as it is, at its own level, and any rule draws the rest: exact.

    A pixel with noise of deviation n is, times alpha, x_t at the level where sigma/alpha = n, and from there on is
    drawn with the others: exact by the posterior, which draws the process backwards, and by no ODE. Needs a net of
    per-position levels that was taught so (`regression(given=0.8)`, or `order.rolling`; Chen et al. 2024, diffusion
    forcing). Of tokens it serves all nets in any order (Austin et al. 2021, section 4.2), but a causal one only where
    what is known comes before what is hidden.
    """
    return by_sampling("clamp", _clamp, noisy=True, bases=False, orders=True, tokens=True)


@one_object
def replacement() -> Method:
    """After each step the known coordinates are replaced by alpha_s values + sigma_s eps (Song et al. 2021, app. I.2).

    Biased: each step looks at noise on what is known that the state never came from. 1 evaluation a step, any rule.
    """
    return by_sampling("replacement", _replacement, orders=True)


def _clamp(problem: Problem) -> tuple[Any, Any]:
    noise, seen, denoise = problem.noise, problem.seen, problem.denoise
    if seen.of_tokens:
        constraints.check_order(seen, problem.order, denoise, (len(problem.keys), *seen.shape))
    elif noise.channel_axes and seen.std.shape[-1] > 1 and nets_of(denoise):
        raise UserError(
            "clamp: nets take one level for all channels of a pixel, and the mask differs between channels; give a "
            "mask [h, w], or use ddnm or pigdm"
        )
    if seen.noisy and problem.step not in (None, posterior(), ddim(1.0)):
        raise UserError(
            "clamp: from a pixel seen with noise on, only the posterior draws the process backwards; leave step out"
        )
    return constraints.clamped(noise, seen, denoise), constraints.released(noise, seen)


def _replacement(problem: Problem) -> tuple[Any, Any]:
    return problem.denoise, constraints.renoised(problem.noise, problem.seen)
