"""The noise of diffusers' schedulers, and of the chains that published models were trained on."""

import numpy as np


def linear_betas(first: float, last: float, count: int) -> tuple[float, ...]:
    """`count` betas from first to last, evenly (Ho et al. 2020, section 4)."""
    return tuple(np.linspace(first, last, count).tolist())
