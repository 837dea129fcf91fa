"""Samplers: the loop over noise levels, and its faster forms for causal and block-wise nets and for adaptive steps."""

from diffjax.sampling import blockwise, cached, masked_autoregressive
from diffjax.sampling.adaptive_ode import adaptive
from diffjax.sampling.loop import invert, sample, stepwise

__all__ = ["adaptive", "blockwise", "cached", "invert", "masked_autoregressive", "sample", "stepwise"]
