"""Methods that put what is known in its place: clamped where the net is given it, or re-noised after each step."""

from typing import Any

from diffjax.denoising import networks
from diffjax.edit import constraints
from diffjax.edit.solver import Method, Problem, sampling_method
from diffjax.errors import UserError
from diffjax.steps import ddim, posterior
from diffjax.utils.memo import memoize_by_arguments


@memoize_by_arguments
def clamp() -> Method:
    """The net is given every seen pixel or token as it is, at its own level, and any rule draws the rest: exact.

    A pixel with noise of deviation n is, times alpha, x_t at the level where sigma/alpha = n, and from there on is
    drawn with the others: exact by the posterior, which draws the process backwards, and by no ODE. Needs a net of
    per-position levels that was taught so (`regression(given=0.8)`, or `order.rolling`; Chen et al. 2024, diffusion
    forcing). Of tokens it serves all nets in any order (Austin et al. 2021, section 4.2), but a causal one only where
    what is known comes before what is hidden.
    """
    return sampling_method("clamp", _clamp_hooks, noisy=True, bases=False, orders=True, tokens=True)


@memoize_by_arguments
def replacement() -> Method:
    """After each step the known coordinates are replaced by alpha_s values + sigma_s eps (Song et al. 2021, app. I.2).

    Biased: each step looks at noise on what is known that the state never came from. 1 evaluation a step, any rule.
    """
    return sampling_method("replacement", _replacement_hooks, orders=True)


def _clamp_hooks(problem: Problem) -> tuple[Any, Any]:
    noise, observation, denoise = problem.noise, problem.observation, problem.denoise
    if observation.of_tokens:
        constraints.check_order(observation, problem.order, denoise, (len(problem.keys), *observation.shape))
    elif noise.channel_axes and observation.std.shape[-1] > 1 and networks(denoise):
        raise UserError(
            "clamp: nets take one level for all channels of a pixel, and the mask differs between channels; give a "
            "mask [h, w], or use ddnm or pigdm"
        )
    if observation.noisy and problem.step not in (None, posterior(), ddim(1.0)):
        raise UserError(
            "clamp: from a pixel seen with noise on, only the posterior draws the process backwards; leave step out"
        )
    return constraints.clamp_denoiser(noise, observation, denoise), constraints.release_hook(noise, observation)


def _replacement_hooks(problem: Problem) -> tuple[Any, Any]:
    return problem.denoise, constraints.renoise_hook(problem.noise, problem.observation)
