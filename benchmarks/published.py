"""A DiT-XL/2 of random weights from a file of 2.7 GB: python benchmarks/published.py (five minutes, two cores)

It is loaded and draws one picture's latents in two steps, in a process of its own whose peak memory is read; beside it
the same arithmetic by torch, of .venv-peers, in turns with ours (workers/published_twins.py).
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from report import ROOT, publish, table

WIDTH, DEPTH, PATCH, CHANNELS, CLASSES, SIDE = 1152, 28, 2, 4, 1000, 32
ROUNDS = 5  # of each in turns
TORCH = ROOT / ".venv-peers" / "bin" / "python"
Shapes = Iterator[tuple[str, tuple[int, ...]]]


def shapes() -> Shapes:
    """The tensors of DiT-XL/2 but the positions."""
    yield "x_embedder.proj.weight", (WIDTH, CHANNELS, PATCH, PATCH)
    yield "x_embedder.proj.bias", (WIDTH,)
    yield from _dense("t_embedder.mlp.0", 256, WIDTH)
    yield from _dense("t_embedder.mlp.2", WIDTH, WIDTH)
    yield "y_embedder.embedding_table.weight", (CLASSES + 1, WIDTH)
    for i in range(DEPTH):
        for name, inputs, outputs in (("attn.qkv", 1, 3), ("attn.proj", 1, 1), ("mlp.fc1", 1, 4), ("mlp.fc2", 4, 1)):
            yield from _dense(f"blocks.{i}.{name}", inputs * WIDTH, outputs * WIDTH)
        yield from _dense(f"blocks.{i}.adaLN_modulation.1", WIDTH, 6 * WIDTH)
    yield from _dense("final_layer.adaLN_modulation.1", WIDTH, 2 * WIDTH)
    yield from _dense("final_layer.linear", WIDTH, 2 * CHANNELS * PATCH**2)


def _dense(name: str, inputs: int, outputs: int) -> Shapes:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def write_weights(path: Path) -> None:
    """A safetensors file of normal weights of deviation 0.02, a tensor at a time."""
    from diffjax.nets.adaln_zero import sincos_positions

    tensors = [*shapes(), ("pos_embed", (1, (SIDE // PATCH) ** 2, WIDTH))]
    header: dict[str, Any] = {}
    offset = 0
    for name, shape in tensors:
        size = 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    draws = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in tensors:
            values = 0.02 * draws.standard_normal(shape, np.float32)
            if name == "pos_embed":
                values = np.asarray(sincos_positions((SIDE // PATCH,) * 2, WIDTH))[None]
            file.write(values.astype(np.float32).tobytes())


def run_twin(python: Path, name: str, weights: Path) -> subprocess.Popen[str]:
    """A process that loads the file, prints what that took, and then draws once for each line that it reads."""
    command = [python, ROOT / "benchmarks" / "workers" / "published_twins.py", name, weights]
    environment = {**os.environ, "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0)))}
    return subprocess.Popen(command, text=True, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def ask(twin: subprocess.Popen[str]) -> dict[str, float]:
    """One more drawing of a twin."""
    assert twin.stdin is not None
    assert twin.stdout is not None
    twin.stdin.write("\n")
    twin.stdin.flush()
    return json.loads(twin.stdout.readline())


def measure() -> dict[str, Any]:
    """Seconds and peak memory of both."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "DiT-XL-2-random.safetensors"
        write_weights(path)
        figures: dict[str, Any] = {"file": path.stat().st_size}
        for name, python in (("ours", Path(sys.executable)), ("torch", TORCH)):
            twin = run_twin(python, name, path)
            figures[name] = {"load": ask(twin), "first": ask(twin)}
            twin.kill()
            twin.wait()
        twins = {"ours": run_twin(Path(sys.executable), "ours", path), "torch": run_twin(TORCH, "torch", path)}
        for twin in twins.values():
            ask(twin)
            ask(twin)
        rounds = [{name: ask(twin)["seconds"] for name, twin in twins.items()} for _ in range(ROUNDS)]
        for name, twin in twins.items():
            figures[name]["again"] = [each[name] for each in rounds]
            twin.kill()
    return figures


def main() -> None:
    """Measure, print and publish."""
    figures = measure()
    size = figures["file"]
    ratio = np.median([a / b for a, b in zip(figures["ours"]["again"], figures["torch"]["again"], strict=True)])
    rows = []
    ours = figures["ours"]
    peaks = [f"{(ours[part]['peak'] - ours['load']['before']) / size:.2f}" for part in ("load", "first")]
    seconds = [f"{ours[part]['seconds']:.1f}" for part in ("load", "first")]
    rows.append(["diffjax", *seconds, f"{np.median(ours['again']):.2f}", *peaks])
    first, again = figures["torch"]["first"]["seconds"], np.median(figures["torch"]["again"])
    rows.append(["torch, weights drawn in place", "", f"{first:.1f}", f"{again:.2f}", "", ""])
    rows.append(["diffjax over torch", "", "", f"{ratio:.2f}", "", ""])
    heads = ("", "load, s", "two steps, first, s", "again, s", "peak of loading over file", "peak of drawing over file")
    title = f"DiT-XL/2, a file of {size / 1e9:.2f} GB, latents of one picture in two steps, {os.cpu_count()} cores"
    publish("published", [table(title, heads, rows)], figures)


if __name__ == "__main__":
    main()
