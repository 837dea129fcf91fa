"""diffjax: generation by destroying and restoring information. A denoiser, a noise and an order, in JAX and Flax.

What needs a net's framework, Orbax, Grain or TensorFlow Datasets is imported when it is first used (PEP 562).
"""

import importlib
from typing import TYPE_CHECKING

from diffjax import conditions, edit, grids, guidance, likelihood, loss, oracles, order, predict, schedule, steps, times
from diffjax import weights as weights
from diffjax.denoising import denoiser
from diffjax.errors import UserError
from diffjax.noise import Gaussian, Masking
from diffjax.order import Order
from diffjax.protocols import ConditionPart, Denoise, GaussianNoise, Hook, Noise, Step, TokenNoise
from diffjax.sampling.adaptive_ode import adaptive
from diffjax.sampling.loop import invert, sample, stepwise
from diffjax.traits import NetTraits
from diffjax.utils.prng import keys

if TYPE_CHECKING:
    from diffjax import diagnostics, lab, nets, sampling
    from diffjax.experiment.trained_model import load
    from diffjax.training.freezing import freeze
    from diffjax.training.loop import fit
    from diffjax.training.variables_files import load_variables, save

_MODULES = ("diagnostics", "lab", "nets", "sampling")
_FUNCTIONS = {
    "fit": "training.loop",
    "freeze": "training.freezing",
    "load": "experiment.trained_model",
    "load_variables": "training.variables_files",
    "save": "training.variables_files",
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
]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """A module or function that is imported when it is first used."""
    if name in _MODULES:
        return importlib.import_module(f"diffjax.{name}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(f"diffjax.{_FUNCTIONS[name]}"), name)
    raise AttributeError(f"module 'diffjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
