"""Speed beside torch and diffusers, and what the library costs beside its nets: make bench, or

python benchmarks/performance.py [ROUNDS [CASE …]]

Each case is a process of each peer that take turns; a ratio is the median of those of the rounds. Times are CPU time of
processes that are pinned to one core with one thread, so other work on the machine matters little; those on all cores
are wall time, of an idle machine. The peers are installed into .venv-peers (make bench does that); where there are
none, diffjax alone is timed. Twenty minutes; LONG takes some more, and is measured where it is named.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from report import PICTURES, Table, format_row, publish, table

WORKERS = Path(__file__).parent / "workers"
PEERS = Path(__file__).parents[1] / ".venv-peers" / "bin" / "python"
STEPS = {  # of training beside torch, and the ratio that is aimed at
    "DiT step": "≥ 1.0; AVX-512: ≥ 1.7",
    "causal transformer step": "≥ 0.95",
    "U-Net step, 16x16x3": "≥ 0.95",
    "U-Net step, 32x32x3": "≥ 0.9",
}
BESIDE = {
    "GEMM": "",
    **STEPS,
    "ddim, 16x16x3, batch 1": "≥ 1.6",
    "ddim, 16x16x3, batch 16": "≥ 1.0",
    "ddim, 32x32x3, batch 16": "≥ 0.95",
    "50 steps of ddim, 16x16x3, batch 1": "≥ 6",
    "50 steps of ddim, 16x16x3, batch 16": "≥ 2.0",
}
TRAINERS = {
    "train.py over bare steps, configs/digits.py": "≤ 1.02",
    "train.py over bare steps, 32x32x3, folder in memory": "≤ 1.02",
    "train.py over bare steps, 32x32x3, folder read": "≤ 1.02",
}
PAIRS = {  # of calls of diffjax
    "uncached over cached decoding, batch 1": "≥ 3",
    "uncached over cached decoding, batch 64": "≥ 1.5",
    "sample over blockwise.sample, batch 64": "",
    "guided step over a plain one of twice the batch, DiT": "≤ 1.02",
    "guided step over a plain one of twice the batch, U-Net": "≤ 1.02",
    "host loop over calls of the net, U-Net, batch 1": "≤ 1.03",
    "host loop over calls of the net, U-Net, batch 16": "≤ 1.03",
    **TRAINERS,
    "finite check over none, DiT": "≤ 1.01",
    "finite check over none, U-Net": "≤ 1.01",
    "64x64x3 over 32x32x3, attention at one depth": "≤ 7",
    "64x64x3 over 32x32x3, attention at 64 tokens": "≤ 4.2",
    "MB on the device over MB of the state": "≤ 1.05",
    "compilation, 28 blocks, scan=True": "≤ 7,000 ms",
    (LONG := "compilation, 28 blocks, scan=False"): "",
}
ROUNDS, FEWEST_ROUNDS, CASE_S = 9, 3, 30.0  # rounds end after so many seconds
ALL_CORES = {"JAX_PLATFORMS": "cpu", "DIFFJAX_KEEP_HEAP": "1", "OMP_NUM_THREADS": str(os.cpu_count())}
ONE_THREAD = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "OMP_NUM_THREADS": "1",
}
CPU, WALL = 0, 1  # the clocks of a worker's answer
PIN = """
import os, sys
os.sched_setaffinity(0, {*map(int, sys.argv[1].split(","))})
os.execv(sys.argv[2], sys.argv[2:])
"""


class Result(NamedTuple):
    """Milliseconds of each call, the ratios of the first to the others, and the operations of each worker's call."""

    ms: list[float]
    ratios: list[float]
    flops: list[float]


def ask(worker: subprocess.Popen[str], line: str) -> Any:
    """The answer to a line."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(f"{line}\n")
    worker.stdin.flush()
    if not (answer := worker.stdout.readline()):
        raise RuntimeError(f"{worker.args}: cannot do {line!r}")
    return json.loads(answer)


def measure(case: str, workers: Sequence[subprocess.Popen[str]], rounds: int, clock: int) -> Result:
    """The calls of all workers in turn."""
    flops = [ask(worker, case) for worker in workers]
    begun = time.monotonic()
    spent: list[list[float]] = []
    while len(spent) < rounds and (len(spent) < FEWEST_ROUNDS or time.monotonic() - begun < CASE_S):
        spent.append([seconds[clock] for worker in workers for seconds in ask(worker, "")])
    first, *others = zip(*spent, strict=True)
    ratios = [statistics.median(a / b for a, b in zip(first, other, strict=True)) for other in others]
    result = Result([1e3 * statistics.median(each) for each in (first, *others)], ratios, flops)
    print(format_row((case, *(f"{ms:.1f} ms" for ms in result.ms), *(f"{ratio:.3f}" for ratio in ratios))), flush=True)
    return result


def alone(file: str, case: str, rounds: int, clock: int) -> Result:
    """A case in a process of its own and, where there is one, of its peer."""
    peer = "diffusers_loop.py" if case.startswith("50 steps") else "torch_twins.py"
    peers = [(PEERS, peer)] if case in BESIDE and PEERS.exists() else []
    with processes(clock, (sys.executable, file), *peers) as workers:
        return measure(case, workers, rounds, clock)


def rules(rounds: int) -> dict[str, Result]:
    """The sampler over its net by every rule, in one process."""
    with processes(CPU, (sys.executable, "overhead.py")) as workers:
        return {case: measure(case, workers, rounds, CPU) for case in ask(workers[0], "?")}


@contextmanager
def processes(clock: int, *files: tuple[Path | str, str]) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that build and time cases, by their Python and file: see workers/protocol.py."""
    cores = {max(os.sched_getaffinity(0))} if clock == CPU else os.sched_getaffinity(0)
    pinned = [sys.executable, "-c", PIN, ",".join(map(str, cores))]
    env = os.environ | ALL_CORES | (ONE_THREAD if clock == CPU else {})
    options: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": env}
    workers = [subprocess.Popen([*pinned, str(python), str(WORKERS / file)], **options) for python, file in files]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def tables(figures: Mapping[str, Any]) -> list[Table]:
    """The tables of figures, as JSON keeps them."""
    one_core = f"One core of an {figures['processor']} CPU, CPU time"
    titles = {
        "beside": (f"{one_core}, {figures['versions']}", "diffjax", "peer", BESIDE),
        "wall": ("All cores, wall time", "diffjax", "peer", BESIDE),
        "pairs": ("Two calls of diffjax, one core, CPU time", "first", "second", PAIRS),
        "wall_pairs": ("Two calls of diffjax, all cores, wall time", "first", "second", PAIRS),
    }
    found = []
    for key, (title, first, second, aims) in titles.items():
        ratio = "peer over diffjax" if second == "peer" else "first over second"
        rows = [
            (case, *cells(Result(*each), aims is BESIDE), aims.get(case, "")) for case, each in figures[key].items()
        ]
        found.append(table(title, ("case", f"{first}, ms", f"{second}, ms", ratio, "GFLOP", "aim"), rows))
    nets: dict[str, dict[str, list[str]]] = {"normal": {}, "tiny": {}}
    for case, (_, ratios, _) in figures["rules"].items():
        net, rule = case.split(": ")
        nets[net][rule] = [f"{ratio:.3f}" for ratio in ratios]
    rows = [(f"`{rule}`", *nets["normal"][rule], *ratios) for rule, ratios in nets["tiny"].items()]
    title = "50 steps of dj.sample over as many calls of the net at batch 1, or one compiled loop of them"
    columns = ("rule", "normal net, aim ≤ 1.02", "loop", "tiny net, aim ≤ 1.06", "loop")
    return [*found, table(title, columns, rows)]


def cells(result: Result, inverted: bool) -> list[str]:
    """Times of one or two calls, their ratio, and the operations of each where they are counted."""
    times = [*(f"{ms:,.1f}" for ms in result.ms), "not measured" if inverted else ""][:2]
    ratio = [f"{1 / ratio if inverted else ratio:.3f}" for ratio in result.ratios[:1]] or [""]
    return [*times, *ratio, ", ".join(f"{flops / 1e9:.2f}" for flops in result.flops if flops)]


def draw(results: Mapping[str, Result]) -> Figure:
    """The share of the larger GEMM rate that each case reaches, ours beside its peer's."""
    rates = {}
    for case, (times, _, flops) in results.items():
        rates[case] = [(count or flops[0]) / ms for ms, count in zip(times, flops, strict=True)]
    limit = max(rates["GEMM"])
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for place, (label, colour) in enumerate((("diffjax", "#0072B2"), ("torch, diffusers", "#E69F00"))):
        bars = [100 * rate[place] / limit for rate in rates.values()]
        axes.barh([row + 0.4 * place for row in range(len(bars))], bars, 0.38, label=label, color=colour)
    axes.set_yticks([row + 0.2 for row in range(len(rates))], list(rates))
    axes.set_xlabel("operations a second, % of the faster product of 1024x1024 matrices")
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def processor() -> str:
    """The processor's kind, in words."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    vector = next((name for name in ("avx512f", "avx2") if name in flags), platform.machine())
    return {"avx512f": "AVX-512", "avx2": "AVX2"}.get(vector, vector)


def main() -> None:
    """Measure, print, and publish what is whole."""
    rounds = int(sys.argv[1]) if sys.argv[1:] else ROUNDS
    chosen = sys.argv[2:]
    groups = {
        "beside": ("ours.py", BESIDE, CPU),
        "wall": ("ours.py", STEPS, WALL),
        "pairs": ("pairs.py", PAIRS, CPU),
        "wall_pairs": ("pairs.py", TRAINERS, WALL),
    }
    results = {
        key: {case: alone(file, case, rounds, clock) for case in cases if case in (chosen or {*cases} - {LONG})}
        for key, (file, cases, clock) in groups.items()
    }
    results["rules"] = {} if chosen else rules(rounds)
    peers = (WORKERS / "requirements.txt").read_text().split()
    versions = ", ".join((f"JAX {version('jax')}", *(peer.replace("==", " ") for peer in peers)))
    figures = {"processor": processor(), "versions": versions, "rounds": rounds, **results}
    found = tables(figures)
    if not chosen and PEERS.exists():
        draw(results["beside"]).savefig(PICTURES / "performance.png", dpi=110, metadata={"Software": None})
        publish("performance", found, figures)


if __name__ == "__main__":
    main()
