"""The sampler that suits a net: one compiled scan over all steps, or a host loop over one compiled step."""

from collections import deque
from collections.abc import Callable
from typing import Any

from diffjax.parallel.dispatch import loops_are_slow
from diffjax.protocols import State
from diffjax.sampling.loop import sample, stepwise


def sample_for(*nets: Any) -> Callable[..., State]:
    """`sample` as it suits the nets: one compiled scan, or a host loop over one compiled step."""
    return _last if loops_are_slow(*nets) else sample


def _last(*args: Any, **options: Any) -> State:
    return deque(stepwise(*args, **options), maxlen=1).pop()  # one state at a time: a list of all would be large
