"""Step rules: how x moves from level t to level s. Each is a maker of a `Step`, cached so that equal arguments are
one object and compile once."""

from diffjax.steps.ancestral import ddim, posterior
from diffjax.steps.halfway import dpmpp_2s, midpoint
from diffjax.steps.multistep import adams, deis, dpmpp_3m, unipc
from diffjax.steps.ode import euler, heun, rk4
from diffjax.steps.sde import dpmpp_2m_sde, edm_stochastic, euler_maruyama
from diffjax.steps.tokens import confidence, remask, unmask
from diffjax.steps.two_levels import dpmpp_2m

__all__ = [
    "adams",
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
    "posterior",
    "remask",
    "rk4",
    "unipc",
    "unmask",
]
