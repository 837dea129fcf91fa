"""What a command prints: without the libraries' own reports of errors that diffjax reports itself."""

import functools
import logging as stdlib_logging
import sys
import warnings
from typing import TYPE_CHECKING

from absl import logging

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_CLOSED = "Event loop is closed"


def quiet_libraries() -> None:
    """Leave out what Orbax, asyncio and TensorStore print of a write that failed: the exception itself is raised.

    Orbax logs each error as well as raising it, and each file that it touches. Where one of several writes fails, it
    ends its event loop before the others: asyncio then warns of coroutines that were never awaited, and each of
    TensorStore's threads prints a traceback since it finds the loop closed.
    """
    logging.set_verbosity(logging.FATAL)
    stdlib_logging.getLogger("asyncio").setLevel(stdlib_logging.CRITICAL)
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    _filter_unraisable()


@functools.cache
def _filter_unraisable() -> None:
    previous = sys.unraisablehook

    def report(unraisable: "UnraisableHookArgs") -> None:
        if not (isinstance(unraisable.exc_value, RuntimeError) and str(unraisable.exc_value) == _CLOSED):
            previous(unraisable)

    sys.unraisablehook = report
