"""What the processor of this machine can do."""

import functools
import platform
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")


@functools.cache
def lacks_avx512() -> bool:
    """Whether this is an x86-64 processor without AVX-512; False where that is not known, which is outside of Linux."""
    if platform.machine() != "x86_64" or not CPU_INFO.exists():
        return False
    flags = next((line for line in CPU_INFO.read_text().splitlines() if line.startswith("flags")), "avx512f")
    return "avx512f" not in flags.split()
