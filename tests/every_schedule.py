"""One of each schedule and transform, for the laws that all of them keep."""

import numpy as np

from diffjax import schedule

BETAS = tuple(np.linspace(1e-4, 0.02, 1000))
SCHEDULES = {
    "cosine": schedule.cosine,
    "flow": schedule.flow,
    "linear_beta": schedule.linear_beta,
    "edm": schedule.edm,
    "discrete": schedule.discrete(BETAS),
    "discrete_cosine": schedule.discrete_cosine(),
    "shifted_cosine": schedule.shift(schedule.cosine, 3.0),
    "shifted_linear_beta": schedule.shift(schedule.linear_beta, 3.0),
    "zero_terminal": schedule.zero_terminal(schedule.linear_beta),
}
