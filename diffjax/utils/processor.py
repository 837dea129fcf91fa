"""What the processor of this machine can do."""

import functools
import platform
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")


def read_cpu_info() -> list[str]:
    """The lines of what Linux says of its processors; none elsewhere."""
    return CPU_INFO.read_text().splitlines() if CPU_INFO.exists() else []


@functools.cache
def lacks_avx512() -> bool:
    """Whether this is an x86-64 processor without AVX-512; False where that is not known, which is outside of Linux."""
    flags = next((line for line in read_cpu_info() if line.startswith("flags")), "")
    return platform.machine() == "x86_64" and flags != "" and "avx512f" not in flags.split()
