"""How work goes to the devices: how many steps at once. Chosen here, for training and sampling.

On a CPU, XLA's convolution inside a compiled loop is ten to fifty times slower than outside one, so convolutional
nets are dispatched step by step there. Everything else, and every accelerator, is given whole loops.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import jax

from diffjax.protocols import State
from diffjax.sampling import sample, stepwise


def loops_are_slow(net: Any) -> bool:
    """Whether this net wants one step per dispatch on this platform; a net that does not say does not."""
    return jax.default_backend() == "cpu" and getattr(net, "convolutional", False)


def steps_per_dispatch(net: Any) -> int:
    """Training steps in one compiled call: one where loops are slow, else 10, which hides the host."""
    return 1 if loops_are_slow(net) else 10


def sample_for(net: Any) -> Callable[..., State]:
    """`sample` as it suits the net: one compiled scan, or a host loop over one compiled step."""
    return _last if loops_are_slow(net) else sample


def _last(*args: Any, **options: Any) -> State:
    return deque(stepwise(*args, **options), maxlen=1).pop()  # one state at a time: a list of all would be large
