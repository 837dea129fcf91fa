"""The sampler that suits a net: one compiled scan over all steps, or a host loop over one compiled step."""

from collections import deque
from collections.abc import Callable

from jaxtyping import PyTree

from diffjax.parallel.dispatch import loops_are_slow
from diffjax.protocols import Net, Sample
from diffjax.sampling.loop import sample, stepwise


def sample_for(*nets: Net) -> Callable[..., Sample]:
    """`sample` as it suits the nets: one compiled scan, or a host loop over one compiled step."""
    return _last_state if loops_are_slow(*nets) else sample


def _last_state(*args: PyTree, **options: PyTree) -> Sample:
    return deque(stepwise(*args, **options), maxlen=1).pop()  # one state at a time: a list of all would be large
