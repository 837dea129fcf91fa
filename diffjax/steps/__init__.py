"""Step rules: how x moves from level t to level s. Each is a maker of a `Step`, cached so that equal arguments are
one object and compile once."""

from diffjax.steps.halfway import dpmpp_2s, midpoint
from diffjax.steps.markov import ddim, posterior
from diffjax.steps.multistep import dpmpp_2m
from diffjax.steps.ode import euler, heun, rk4
from diffjax.steps.tokens import confidence, remask, unmask

__all__ = [
    "confidence",
    "ddim",
    "dpmpp_2m",
    "dpmpp_2s",
    "euler",
    "heun",
    "midpoint",
    "posterior",
    "remask",
    "rk4",
    "unmask",
]
