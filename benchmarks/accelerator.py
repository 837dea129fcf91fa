"""Speed on one GPU or TPU, beside torch where that has the GPU too: python benchmarks/accelerator.py [--minutes=8]

Each case is a process, one after the other; tables are printed as they are measured. A case that fails or is not begun
in time is one line on stderr, "not measured" in its table, and exit code 1. Without an accelerator sizes are those of
a test, in this process, and nothing is published.
"""

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from os import environ
from pathlib import Path
from threading import Timer
from typing import NamedTuple

import jax
from accelerated.cases import Row, cases
from accelerated.models import FULL, TINY
from report import Table, publish, table

HERE = Path(__file__)
TORCH, PEERS = HERE.parent / "workers" / "torch_accelerated.py", HERE.parents[1] / ".venv-peers" / "bin" / "python"
HAS_GPU = "import torch; assert torch.cuda.is_available()"
NONE = "not measured"
GRACE_S = 60.0  # beyond the minutes, for the case that is running
ALONE = {
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.92",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "OMP_NUM_THREADS": "4",
}
STEP, TWIN = ("batch", "ms", "examples/s", "TFLOP/s", "of peak", "GB", "s to compile"), ("torch, ms", "torch/diffjax")
DITS = tuple(name for name in FULL.models if "DiT" in name)
PARTS = {  # the cases of each table, and its columns
    "The device at best": (("device",), ("TFLOP/s", "GB/s")),
    "Training step, DiT, 32x32x4": (DITS, (*STEP, *TWIN)),
    "Training step, U-Net, 64x64x3": (("U-Net",), (*STEP, *TWIN)),
    "Training step, causal transformer, 256 tokens": (("transformer",), (*STEP, *TWIN)),
    "Decoding of 256 tokens": (("decoding",), ("batch", "cached tokens/s", "whole passes", "times faster")),
    "Step of ddim, DiT-XL/2": (("sampling",), (*STEP[:3], "over plain", *TWIN)),
    "Convolutions of the U-Net": (("convolutions",), ("ms", "TFLOP/s", "of peak", *TWIN)),
    "Largest operations of the training step, DiT-XL/2": (("operations",), ("ms", "share")),
}
Rows = Callable[[str, Sequence[Row]], Iterator[Row]]  # of a case; torch is given the rows of ours


class Run(NamedTuple):
    """How the cases of diffjax and torch are measured, the rows of each, and what failed."""

    ours: Rows
    torch: Rows
    measured: dict[str, list[Row]]
    failures: list[str]

    def measure(self, name: str, rows: Iterator[Row]) -> list[Row]:
        """The rows of a case, up to a failure."""
        found = self.measured.setdefault(name, [])
        try:
            found.extend(rows)
        except Exception as error:  # whatever fails, the rest is to be measured
            self.failures.append(f"{name}: {' '.join(f'{type(error).__name__}: {error}'.split())[:300]}")
            print(self.failures[-1], file=sys.stderr, flush=True)
        return found

    def rows(self, name: str, has_twin: bool) -> Iterator[Row]:
        """Ours, with torch's, of which there may be fewer, and the share of the product's TFLOP/s."""
        ours, twin = self.measure(name, self.ours(name, ())), name.partition(",")[0]
        theirs = self.measured.get(f"torch, {twin}", [])
        if has_twin and ours and not theirs:
            theirs = self.measure(f"torch, {twin}", self.torch(twin, ours))
        peak = next((row["TFLOP/s"] for row in self.measured["device"]), None)
        for row, other in itertools.zip_longest(ours or [{"case": name}], theirs[: len(ours)], fillvalue={}):
            of_peak = {"of peak": row["TFLOP/s"] / peak} if peak and "TFLOP/s" in row else {}
            ratio = {"torch, ms": other["ms"], "torch/diffjax": other["ms"] / row["ms"]} if other else {}
            yield {**row, **of_peak, **ratio}

    def table(self, title: str) -> Table:
        """A part, printed row after row."""
        names, columns = PARTS[title]
        rows = (row for name in names for row in self.rows(name, TWIN[0] in columns))
        cells = ([row["case"], *(f"{row[key]:.4g}" if key in row else NONE for key in columns)] for row in rows)
        return table(title, ("", *columns), cells)


def child(deadline: float, *command: object) -> Iterator[Row]:
    """The lines that a process prints as JSON. Raises TimeoutError, and RuntimeError with its last error."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("not begun in time, see --minutes")
    words, env = [*map(str, command)], {**environ, **ALONE}
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True, env=env) as process,
    ):
        timer = Timer(left + GRACE_S, process.kill)
        timer.daemon = True
        timer.start()
        assert process.stdout is not None
        yield from (json.loads(line) for line in process.stdout if line.startswith("{"))
        timer.cancel()
        if process.wait():
            errors.seek(0)
            named = (line for line in errors if "Error" in line.partition(":")[0])
            raise RuntimeError([f"ended with {process.returncode}", *named][-1])


def torch_rows(deadline: float) -> Rows:
    """The twins' rows by the first Python whose torch has a GPU; no rows where there is none."""
    for python in filter(None, (PEERS if PEERS.exists() else None, sys.executable, shutil.which("python3"))):
        if subprocess.run([str(python), "-c", HAS_GPU], capture_output=True).returncode == 0:
            return lambda name, ours: child(deadline, python, TORCH, name, json.dumps(ours))
    return lambda name, ours: iter(())


def serve(name: str) -> None:
    """Print the rows of a case."""
    for row in cases(TINY if jax.default_backend() == "cpu" else FULL)[name]():
        print(json.dumps(row), flush=True)


def measure_all(minutes: float) -> Run:
    """Measure and print; publish what an accelerator did."""
    deadline = time.monotonic() + 60 * minutes
    run = Run(lambda name, _: child(deadline, sys.executable, HERE, "--case", name), torch_rows(deadline), {}, [])
    tables = [run.table(title) for title in list(PARTS)[:1]]
    is_cpu = any(row.get("platform") == "cpu" for row in run.measured["device"])
    if is_cpu:
        print("\nNo accelerator: what follows is of tiny nets, whatever its titles say")
        run = run._replace(ours=lambda name, _: cases(TINY)[name](), torch=lambda *_: iter(()))
    tables += [run.table(title) for title in list(PARTS)[1:]]
    if run.measured["device"] and not is_cpu:
        publish("accelerator", tables, run.measured)
        print('\nNow docs/performance.md is to link results/accelerator.md, in place of its "not measured"')
    return run


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        serve(arguments.case)
    else:
        with tempfile.TemporaryDirectory() as programs:  # which cases share; the first one compiles them
            environ["JAX_COMPILATION_CACHE_DIR"] = programs
            raise SystemExit(bool(measure_all(arguments.minutes).failures))
