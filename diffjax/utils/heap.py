"""The heap of a process that trains on a CPU: kept, in place of being mapped anew at each step.

XLA allocates the buffers of a program at each call and frees them after it. glibc maps such memory anew each time, and
the kernel clears it page by page: a quarter of the time of a training step. All threads then share one heap. glibc
fixes the number of its heaps when a second thread first allocates, so this comes before JAX and NumPy are imported.
"""

import ctypes
import functools
import os
import platform
from pathlib import Path

from diffjax.errors import UserError

SETTING = "DIFFJAX_KEEP_HEAP"
_ACCELERATORS = ("nvidia[0-9]*", "accel*", "kfd", "vfio/[0-9]*")  # device files of GPUs and TPUs
_OPTIONS = {  # of glibc's mallopt(3), malloc.h
    -4: 0,  # M_MMAP_MAX: no memory is mapped by itself
    -1: 2**31 - 1,  # M_TRIM_THRESHOLD: none is given back
    -2: 2**29,  # M_TOP_PAD: bytes by which the heap grows
    -8: 1,  # M_ARENA_MAX: one heap, since each keeps its own
}


@functools.cache
def keep_heap() -> bool:
    """Keep what is freed for later allocations of this process; whether that was done.

    On Linux with glibc and without a GPU or TPU, unless the environment has DIFFJAX_KEEP_HEAP=0; elsewhere nothing
    happens. The process then gives no memory back, so it stays at its peak. Raises UserError for another value of that
    variable than 0 or 1.
    """
    setting = os.environ.get(SETTING, "1")
    if setting not in ("0", "1"):
        raise UserError(f"{SETTING}: expected 0 or 1, got {setting!r:.40}")
    if setting == "0" or platform.system() != "Linux" or platform.libc_ver()[0] != "glibc" or _has_accelerator():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(option, value) == 1 for option, value in _OPTIONS.items())


def _has_accelerator() -> bool:
    """Whether JAX may find another device than the CPU here."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return False
    return any(True for pattern in _ACCELERATORS for _ in Path("/dev").glob(pattern))
