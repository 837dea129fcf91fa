"""diffjax: generation by destroying and restoring information. A denoiser, a noise and an order, in JAX and Flax."""

from diffjax import (
    conditions,
    decode,
    diagnose,
    edit,
    grids,
    guidance,
    lab,
    likelihood,
    loss,
    nested,
    nets,
    oracles,
    order,
    predict,
    schedule,
    steps,
    times,
    truth,
    weights,
)
from diffjax.adapting import adaptive
from diffjax.denoising import denoiser
from diffjax.errors import UserError
from diffjax.loading import load
from diffjax.noise import Gaussian, Masking
from diffjax.order import Order
from diffjax.protocols import Denoise, Given, Hook, Noise, Step
from diffjax.randomness import keys
from diffjax.sampling import invert, sample, stepwise
from diffjax.training.frozen import freeze
from diffjax.training.loop import fit
from diffjax.training.variables_files import load_variables, save

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
