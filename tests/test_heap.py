"""The heap of a training process is kept: each case in a process of its own, since that cannot be undone."""

import os
import platform
import subprocess
import sys

import pytest

GLIBC = platform.libc_ver()[0] == "glibc"
# Pages that the kernel maps while 64 MB are allocated, touched and freed, once they have been so before.
FAULTS = """
import resource
import numpy as np
from diffjax.utils.heap import keep_heap

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**23)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

kept = keep_heap()
faults()
print(kept, faults())
"""


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(not GLIBC, reason="other allocators are left as they are")
def test_memory_that_was_freed_is_used_again() -> None:
    kept, faults = run(FAULTS, JAX_PLATFORMS="cpu").stdout.split()
    assert kept == "True"
    assert int(faults) < 100  # of 16,384 pages


@pytest.mark.skipif(not GLIBC, reason="other allocators are left as they are")
def test_one_setting_leaves_it() -> None:
    kept, faults = run(FAULTS, DIFFJAX_KEEP_HEAP="0").stdout.split()
    assert kept == "False"
    assert int(faults) > 30  # huge pages have 2 MB


def test_another_value_is_refused() -> None:
    ended = run("from diffjax.utils.heap import keep_heap; keep_heap()", DIFFJAX_KEEP_HEAP="yes")
    assert "DIFFJAX_KEEP_HEAP" in ended.stderr.splitlines()[-1]
