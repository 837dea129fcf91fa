"""diffjax: generation by destroying and restoring information. A denoiser, a noise and an order, in JAX and Flax.

Every name is imported when it is first used (PEP 562): the commands answer --help without loading JAX, and samplers
need no Orbax, Grain or TensorFlow Datasets.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffjax import (
        conditions,
        diagnostics,
        edit,
        grids,
        guidance,
        lab,
        likelihood,
        loss,
        net_inputs,
        nets,
        oracles,
        order,
        predict,
        sampling,
        schedule,
        steps,
        times,
        weights,
    )
    from diffjax.denoising import denoiser, with_variance
    from diffjax.errors import UserError
    from diffjax.experiment.loading import load
    from diffjax.noise import Gaussian, Masking
    from diffjax.order import Order
    from diffjax.protocols import ConditionPart, Denoise, GaussianNoise, Hook, Noise, Prediction, Step, TokenNoise
    from diffjax.sampling.adaptive_ode import adaptive
    from diffjax.sampling.loop import invert, sample, stepwise
    from diffjax.training.freezing import freeze
    from diffjax.training.loop import fit
    from diffjax.training.variables_files import load_variables, save
    from diffjax.traits import NetTraits
    from diffjax.utils.prng import keys

_HOMES = {  # the module of each name that is no module
    "ConditionPart": "protocols",
    "Denoise": "protocols",
    "Gaussian": "noise",
    "GaussianNoise": "protocols",
    "Hook": "protocols",
    "Masking": "noise",
    "NetTraits": "traits",
    "Noise": "protocols",
    "Order": "order",
    "Prediction": "protocols",
    "Step": "protocols",
    "TokenNoise": "protocols",
    "UserError": "errors",
    "adaptive": "sampling.adaptive_ode",
    "denoiser": "denoising",
    "fit": "training.loop",
    "freeze": "training.freezing",
    "invert": "sampling.loop",
    "keys": "utils.prng",
    "load": "experiment.loading",
    "load_variables": "training.variables_files",
    "sample": "sampling.loop",
    "save": "training.variables_files",
    "stepwise": "sampling.loop",
    "with_variance": "denoising",
}
__all__ = [
    "ConditionPart",
    "Denoise",
    "Gaussian",
    "GaussianNoise",
    "Hook",
    "Masking",
    "NetTraits",
    "Noise",
    "Order",
    "Prediction",
    "Step",
    "TokenNoise",
    "UserError",
    "adaptive",
    "conditions",
    "denoiser",
    "diagnostics",
    "edit",
    "fit",
    "freeze",
    "grids",
    "guidance",
    "invert",
    "keys",
    "lab",
    "likelihood",
    "load",
    "load_variables",
    "loss",
    "net_inputs",
    "nets",
    "oracles",
    "order",
    "predict",
    "sample",
    "sampling",
    "save",
    "schedule",
    "steps",
    "stepwise",
    "times",
    "weights",
    "with_variance",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """A public module or function, imported when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'diffjax' has no attribute {name!r}")
    if name not in _HOMES:
        return importlib.import_module(f"diffjax.{name}")
    value = vars(importlib.import_module(f"diffjax.{_HOMES[name]}"))[name]
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
