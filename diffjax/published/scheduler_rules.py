"""The drawing of diffusers' schedulers: the step rule and the grid that draw as the loop of a scheduler does.

Here x and the net have one level throughout. In some settings diffusers departs from that, or from the formulas of a
paper, and then draws other latents (docs/samplers.md has the numbers):

* DPMSolverMultistep and UniPC with Karras sigmas give the net the nearest whole step.
* DDIM and PNDM step down by ⌊T/N⌋, also where the next step is not there: by "linspace", and by "trailing" where the
  number of steps N does not divide T. PNDM's Runge-Kutta steps have two middles where ⌊T/N⌋ is odd.
* PNDM takes the mean of what the net puts out, also of v, whose meaning changes with the level.
* DDPM of variance fixed_large ends with noise of sigma_t, unless its last step is the first of the chain.
* Where no signal is left at first, Euler, DPMSolverMultistep and UniPC begin at sigma/alpha = 4,096.
* The last step to sigma_min is of order 1 by UniPC, and by DPMSolverMultistep below 15 steps; here it is of order 2,
  by UniPC only where it is less than about three times as long as the one before.
"""

import difflib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from diffjax.errors import UserError
from diffjax.published.stored_tensors import WeightFile

MAX_NAME = 100  # letters of a class that is compared with those that are known
GRID_DEFAULTS = {
    **{"spacing": "linspace", "train_steps": 1000, "offset": 0},
    **{"endpoint": True, "rounded": True, "last": "clean"},
}
SPACINGS = {  # the arguments of each grid that a config may change
    "leading": ("train_steps", "offset", "endpoint", "last"),
    "linspace": ("train_steps", "endpoint", "rounded", "last"),
    "trailing": ("train_steps", "last"),
}
VARIANCES = {
    "fixed_small": "posterior()",
    "fixed_small_log": "posterior()",
    "fixed_large": "posterior(upper_variance=True)",
    "learned_range": "posterior(learned_variance=True)",
}
DPM_SOLVERS = {
    ("dpmsolver++", 1): "ddim()",
    ("dpmsolver++", 2): "dpmpp_2m()",
    ("sde-dpmsolver++", 1): "posterior()",
    ("sde-dpmsolver++", 2): "dpmpp_2m_sde()",
}
Known = Mapping[str, tuple[object, ...]]  # the values of fields that are known, the default first
UNCLIPPED: Known = {"thresholding": (False, None)}
SIGMAS: Known = {
    "use_karras_sigmas": (False, True, None),
    "use_exponential_sigmas": (False, None),
    "use_beta_sigmas": (False, None),
    "final_sigmas_type": ("zero", "sigma_min"),
}
KARRAS: Known = {"sigma_min": (None,), "sigma_max": (None,)}


class Drawing(NamedTuple):
    """A step rule and a grid as texts of a config, for any number of steps."""

    sampler: str
    grid: str


class Loop(NamedTuple):
    """How a scheduler draws.

    `known` are the values of fields, and `spacing` is the default of timestep_spacing. `ends_clean` is whether the last
    step is to sigma = 0, and not to that of the chain's first step. `endpoint`, `rounded`: see `grids.linspace`.
    """

    sampler: Callable[[WeightFile], str]
    known: Known
    spacing: str
    ends_clean: Callable[[WeightFile], bool]
    endpoint: bool = True
    rounded: bool = True


def drawing_of_scheduler(config: Mapping[str, object], path: Path) -> Drawing:
    """The step rule and the grid of a scheduler's config; of an empty one those of DDPMScheduler.

    Raises UserError, which names the field, for a drawing that is not known.
    """
    settings = WeightFile(path, {}, config=config)
    loop = _loop(settings)
    _check(settings, loop.known)
    return Drawing(loop.sampler(settings), _grid(settings, loop))


def _loop(settings: WeightFile) -> Loop:
    name = settings.setting("_class_name", str, "DDPMScheduler")
    if name in LOOPS:
        return LOOPS[name]
    nearest = difflib.get_close_matches(name[:MAX_NAME], LOOPS, 1, cutoff=0)[0]
    problem = f"_class_name {name!r:.80} draws by a rule that is not known here; the nearest that is known is {nearest}"
    raise UserError(f"{settings.path}: {problem}; write that, or one of {', '.join(LOOPS)}")


def _check(settings: WeightFile, known: Known) -> None:
    """Raise UserError for a field whose value is not known."""
    for name, values in known.items():
        value = settings.config.get(name, values[0])
        if not any(type(value) is type(other) and value == other for other in values):
            choices = ", ".join(repr(other) for other in values)
            raise UserError(f"{settings.path}: {name} {value!r:.80} is not known here; known are {choices}")


def _grid(settings: WeightFile, loop: Loop) -> str:
    """The grid as a text, of the arguments that differ from the defaults."""
    _check(settings, {"timestep_spacing": (loop.spacing, *SPACINGS)})
    spacing = settings.setting("timestep_spacing", str, loop.spacing)
    offset = settings.setting("steps_offset", int, 0)
    train_steps = settings.setting("num_train_timesteps", int, 1000)
    if not 0 <= offset < train_steps:
        problem = f"expected steps_offset to be 0 or more, and below num_train_timesteps = {train_steps!s:.20}"
        raise UserError(f"{settings.path}: {problem}, got {offset!s:.20}; use the config that the weights came with")
    values = {
        **{"spacing": spacing, "train_steps": train_steps, "offset": offset},
        **{"endpoint": loop.endpoint, "rounded": loop.rounded},
        "last": "clean" if loop.ends_clean(settings) else "sigma_min",
    }
    if not _has_karras_sigmas(settings, loop):
        return _call(spacing, values, SPACINGS[spacing])
    _check(settings, KARRAS)
    if not loop.endpoint:  # of the whole chain, however its steps would lie
        return _call("karras_chain", values, ("train_steps", "last"))
    return _call("karras_chain", values, ("spacing", "train_steps", *("offset",) * (spacing == "leading"), "last"))


def _call(name: str, values: Mapping[str, object], arguments: tuple[str, ...]) -> str:
    changed = [f"{key}={values[key]!r}" for key in arguments if values[key] != GRID_DEFAULTS[key]]
    return f"{name}({', '.join(changed)})"


def _has_karras_sigmas(settings: WeightFile, loop: Loop) -> bool:
    return "use_karras_sigmas" in loop.known and bool(settings.config.get("use_karras_sigmas"))


def _ddim(settings: WeightFile) -> str:
    limit = _limit(settings)
    return "ddim()" if limit is None else f"ddim(limit={limit!r})"


def _ddpm(settings: WeightFile) -> str:
    rule = VARIANCES[settings.setting("variance_type", str, "fixed_small")]
    limit = _limit(settings)
    return rule if limit is None else f"clipped({rule}, {limit!r})"


def _limit(settings: WeightFile) -> float | None:
    """What predictions of x0 are clipped to; None where they are not."""
    if not settings.setting("clip_sample", bool, True):
        return None
    limit = settings.setting("clip_sample_range", float, 1.0)
    if not 0 < limit < math.inf:
        problem = f"expected clip_sample_range to be above 0, got {limit!r}"
        raise UserError(f"{settings.path}: {problem}; use the config that the weights came with")
    return limit


def _pndm(settings: WeightFile) -> str:
    return "pndm()" if settings.setting("skip_prk_steps", bool, False) else "pndm(runge_kutta=True)"


def _dpm_solver(settings: WeightFile) -> str:
    order = settings.setting("solver_order", int, 2)
    if not _ends_at_zero(settings):  # else the last step is of order 1 anyway
        _check(settings, {"euler_at_final": (False,)})
    return DPM_SOLVERS[settings.setting("algorithm_type", str, "dpmsolver++"), order]


def _unipc(settings: WeightFile) -> str:
    order = settings.setting("solver_order", int, 2)
    return f"unipc(order={order}, variant={settings.setting('solver_type', str, 'bh2')!r})"


def _ends_at_zero(settings: WeightFile) -> bool:
    return settings.config.get("final_sigmas_type", "zero") == "zero"


def _always(settings: WeightFile) -> bool:
    return True


def _with_alpha_one(default: bool) -> Callable[[WeightFile], bool]:
    return lambda settings: settings.setting("set_alpha_to_one", bool, default)


DDIM = Loop(_ddim, UNCLIPPED, "leading", _with_alpha_one(True))
DDPM = Loop(_ddpm, {**UNCLIPPED, "variance_type": tuple(VARIANCES)}, "leading", _always)
MULTISTEP: Known = {**UNCLIPPED, **SIGMAS, "solver_order": (2, 1), "use_dynamic_shifting": (False,)}
LOOPS: Mapping[str, Loop] = {
    "DDPMScheduler": DDPM,
    "DDPMParallelScheduler": DDPM,
    "DDIMScheduler": DDIM,
    "DDIMParallelScheduler": DDIM,
    "PNDMScheduler": Loop(_pndm, {}, "leading", _with_alpha_one(False)),
    "EulerDiscreteScheduler": Loop(
        lambda settings: "ddim()",
        {**SIGMAS, "interpolation_type": ("linear",)},
        *("linspace", _ends_at_zero),
        rounded=False,
    ),
    "EulerAncestralDiscreteScheduler": Loop(lambda settings: "posterior()", {}, "linspace", _always, rounded=False),
    "DPMSolverMultistepScheduler": Loop(
        _dpm_solver,
        {
            **{**MULTISTEP, "algorithm_type": ("dpmsolver++", "sde-dpmsolver++"), "solver_type": ("midpoint",)},
            **{"use_lu_lambdas": (False,), "lambda_min_clipped": (-math.inf, None)},
        },
        *("linspace", _ends_at_zero),
        endpoint=False,
    ),
    "UniPCMultistepScheduler": Loop(
        _unipc,
        {
            **{**MULTISTEP, "solver_type": ("bh2", "bh1"), "predict_x0": (True,)},
            **{"disable_corrector": ([],), "solver_p": (None,), "lower_order_final": (True,)},
        },
        *("linspace", _ends_at_zero),
        endpoint=False,
    ),
}
