"""A worker of benchmarks/performance.py: it builds one case, says that it is ready, and times a call for each line.

Each line on stdin is answered by the CPU seconds of one call. This file is shared by the environments of all peers, so
it imports nothing but Python.
"""

import sys
import time
from collections.abc import Callable, Mapping

WARM_CALLS = 3
Call = Callable[[], object]


def serve(cases: Mapping[str, Callable[[], Call]]) -> None:
    """Answer for the case that the first argument names; the call returns when its results are there."""
    call = cases[sys.argv[1]]()
    for _ in range(WARM_CALLS):
        call()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        call()
        print(time.process_time() - start, flush=True)
