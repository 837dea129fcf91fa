"""diffjax: generation by destroying and restoring information. A denoiser, a noise and an order, in JAX and Flax.

What needs a net's framework, Orbax, Grain or TensorFlow Datasets is imported when it is first used (PEP 562).
"""

import importlib
from typing import TYPE_CHECKING, Any

from diffjax import conditions, edit, grids, guidance, likelihood, loss, oracles, order, predict, schedule, steps, times
from diffjax import weights as weights
from diffjax.adapting import adaptive
from diffjax.denoising import denoiser
from diffjax.errors import UserError
from diffjax.noise import Gaussian, Masking
from diffjax.order import Order
from diffjax.protocols import Denoise, Given, Hook, Noise, Step
from diffjax.randomness import keys
from diffjax.sampling import invert, sample, stepwise

if TYPE_CHECKING:
    from diffjax import decode, diagnose, lab, nested, nets, truth
    from diffjax.loading import load
    from diffjax.training.frozen import freeze
    from diffjax.training.loop import fit
    from diffjax.training.variables_files import load_variables, save

_MODULES = ("decode", "diagnose", "lab", "nested", "nets", "truth")
_FUNCTIONS = {
    "fit": "training.loop",
    "freeze": "training.frozen",
    "load": "loading",
    "load_variables": "training.variables_files",
    "save": "training.variables_files",
}
__all__ = [
    "Denoise",
    "Gaussian",
    "Given",
    "Hook",
    "Masking",
    "Noise",
    "Order",
    "Step",
    "UserError",
    "adaptive",
    "conditions",
    "decode",
    "denoiser",
    "diagnose",
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
    "nested",
    "nets",
    "oracles",
    "order",
    "predict",
    "sample",
    "save",
    "schedule",
    "steps",
    "stepwise",
    "times",
    "truth",
    "weights",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """What is not imported yet."""
    if name in _MODULES:
        return importlib.import_module(f"diffjax.{name}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(f"diffjax.{_FUNCTIONS[name]}"), name)
    raise AttributeError(f"module 'diffjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
