"""Step rules: how x moves from level t to level s. Each is a maker of a `Step`, cached so that equal arguments are
one object and compile once."""

from diffjax.steps.markov import ddim, posterior
from diffjax.steps.multistep import dpmpp_2m
from diffjax.steps.ode import euler, heun
from diffjax.steps.sde import dpmpp_2m_sde, edm_stochastic, euler_maruyama
from diffjax.steps.tokens import confidence, remask, unmask

__all__ = [
    "confidence",
    "ddim",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "edm_stochastic",
    "euler",
    "euler_maruyama",
    "heun",
    "posterior",
    "remask",
    "unmask",
]
