"""Speed beside torch on one CPU core: python benchmarks/performance.py [ROUNDS [CASE …]], or make bench

Each case is a process of each peer, pinned to the same core with one thread, that take turns; a ratio is the median of
those of the rounds, in CPU time, so other work on the machine matters little. The peers are installed into
.venv-peers (make bench does that); where there are none, diffjax alone is timed. Some ten minutes.
"""

import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from report import publish, table

WORKERS = Path(__file__).parent / "workers"
PEERS = Path(__file__).parents[1] / ".venv-peers" / "bin" / "python"
CASES = {  # and the ratio that is aimed at
    "DiT step": "1.7",
    "U-Net step, 16x16x3": "0.95",
    "U-Net step, 32x32x3": "0.9",
    "ddim, 16x16x3, batch 1": "1.6",
    "ddim, 16x16x3, batch 16": "1.0",
}
ROUNDS = 9
ONE_THREAD = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "OMP_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
    "DIFFJAX_KEEP_HEAP": "1",
}


class Result(NamedTuple):
    """Milliseconds of a call by each, and how many times as fast ours is."""

    ours: float
    torch: float | None
    ratio: float | None


def worker(python: Path | str, file: str, case: str) -> subprocess.Popen[str]:
    """A process that is ready to time a case."""
    core = max(os.sched_getaffinity(0))
    process = subprocess.Popen(
        [str(python), str(WORKERS / file), case],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **ONE_THREAD},
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    if answer(process) != "ready":
        raise RuntimeError(f"{file}: cannot do {case}")
    return process


def answer(process: subprocess.Popen[str]) -> str:
    """The next line of a worker."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def call_seconds(process: subprocess.Popen[str]) -> float:
    """CPU seconds of one call."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return float(answer(process))


def measure(case: str, rounds: int) -> Result:
    """Both in turn; torch where its environment is."""
    ours = worker(sys.executable, "ours.py", case)
    theirs = worker(PEERS, "torch_twins.py", case) if PEERS.exists() else None
    try:
        pairs = [(call_seconds(ours), call_seconds(theirs) if theirs else None) for _ in range(rounds)]
    finally:
        for process in filter(None, (ours, theirs)):
            process.kill()
    milliseconds = 1e3 * statistics.median(own for own, _ in pairs)
    other = [peer for _, peer in pairs if peer is not None]
    if not other:
        return Result(milliseconds, None, None)
    ratio = statistics.median(peer / own for own, peer in pairs if peer is not None)
    return Result(milliseconds, 1e3 * statistics.median(other), ratio)


def machine() -> str:
    """The processor's kind, in words."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    vector = next((name for name in ("avx512f", "avx2") if name in flags), platform.machine())
    return {"avx512f": "AVX-512", "avx2": "AVX2"}.get(vector, vector)


def main() -> None:
    """Measure, print, and publish what is whole."""
    rounds = int(sys.argv[1]) if sys.argv[1:] else ROUNDS
    cases = sys.argv[2:] or list(CASES)
    results = {case: measure(case, rounds) for case in cases}
    rows = [
        (case, f"{found.ours:.1f}", f"{found.torch:.1f}", f"{found.ratio:.2f}", CASES[case])
        if found.torch is not None and found.ratio is not None
        else (case, f"{found.ours:.1f}", "not measured", "", CASES[case])
        for case, found in results.items()
    ]
    title = f"One core of an {machine()} CPU, JAX {version('jax')}, {rounds} rounds"
    tables = [table(title, ("case", "diffjax, ms", "torch eager, ms", "torch over diffjax", "aim"), rows)]
    if cases == list(CASES) and PEERS.exists():
        publish("performance", tables, {case: found._asdict() for case, found in results.items()})


if __name__ == "__main__":
    main()
