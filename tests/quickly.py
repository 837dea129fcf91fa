"""Nearly all time of the tests goes into compiling: XLA optimizes little, and does not fuse by its slower emitters."""

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import pytest

FLAGS = "--xla_backend_optimization_level=0"
if version("jaxlib").startswith("0.10."):  # newer ones have one emitter, and end at once on a flag that they lack
    FLAGS += " --xla_cpu_use_fusion_emitters=false"


def few(every: Iterable[str], *chosen: str) -> list[Any]:
    """All of these names as parameters of a test; but for the chosen ones they are long."""
    names = list(every)
    assert set(chosen) <= set(names), "a name that there is not"
    return [name if name in chosen else pytest.param(name, marks=pytest.mark.long) for name in names]
