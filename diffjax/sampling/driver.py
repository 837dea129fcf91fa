"""The sampler that suits a net: one compiled scan over all steps, or a host loop over one compiled step."""

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

from jaxtyping import PyTree

from diffjax.parallel.dispatch import loops_are_slow
from diffjax.protocols import Net, Sample
from diffjax.sampling.loop import sample, stepwise

Watch = Callable[[Iterable[Sample]], Iterable[Sample]]  # the states of a host loop, as they come


def sample_for(*nets: Net, watch: Watch = iter) -> Callable[..., Sample]:
    """`sample` as it suits the nets: one compiled scan, or a host loop over one compiled step, which `watch` sees."""
    return partial(_last_state, watch) if loops_are_slow(*nets) else sample


def _last_state(watch: Watch, *args: PyTree, **options: PyTree) -> Sample:
    return deque(watch(stepwise(*args, **options)), maxlen=1).pop()  # one state at a time: a list would be large
