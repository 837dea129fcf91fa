"""Bits per dimension: by the probability-flow ODE, by the variational bound, or exactly, token by token."""

from diffjax.likelihood.bits import BitsPerDim, bits_per_dim
from diffjax.likelihood.context import bits_vs_context

__all__ = ["BitsPerDim", "bits_per_dim", "bits_vs_context"]
