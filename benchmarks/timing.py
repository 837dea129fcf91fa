"""How long a call takes, to its end."""

import time
from collections.abc import Callable
from typing import Any

import jax


def seconds(call: Callable[[], Any]) -> float:
    """Of one call, until its arrays are there."""
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start
