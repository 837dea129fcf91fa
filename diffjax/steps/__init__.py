"""Step rules: x from level t to level s. Each function returns a `Step`, the same object for equal arguments, so that
programs that take it compile once.
"""

from diffjax.steps.ancestral import ddim, posterior
from diffjax.steps.clipping import clipped
from diffjax.steps.dpm_solver import dpmpp_2m, dpmpp_2s, midpoint
from diffjax.steps.multistep import adams, deis, dpmpp_3m, unipc
from diffjax.steps.ode import euler, heun, rk4
from diffjax.steps.pseudo_numerical import pndm
from diffjax.steps.sde import dpmpp_2m_sde, edm_stochastic, euler_maruyama
from diffjax.steps.tokens import confidence, remask, unmask

__all__ = [
    "adams",
    "clipped",
    "confidence",
    "ddim",
    "deis",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "dpmpp_2s",
    "dpmpp_3m",
    "edm_stochastic",
    "euler",
    "euler_maruyama",
    "heun",
    "midpoint",
    "pndm",
    "posterior",
    "remask",
    "rk4",
    "unipc",
    "unmask",
]
