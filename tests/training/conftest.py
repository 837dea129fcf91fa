"""What tests of the trainer share: the programs that they run, whose compilation takes nearly all of their time."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from diffjax.training import data_parallel


@pytest.fixture(scope="module")
def compiled_once() -> Iterator[None]:
    """Runs of one net, loss, optimizer and number of parts share their programs."""
    pmapped, made = data_parallel.pmap_step, {}

    def shared(step: Callable[..., Any], devices: Sequence[Any]) -> data_parallel.AdvanceState:
        key = (step.func, step.args, tuple(step.keywords.items()), tuple(devices))
        if key not in made:
            made[key] = pmapped(step, devices)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_parallel, "pmap_step", shared)
        yield
