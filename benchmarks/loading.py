"""Reading pictures: beside torch's DataLoader, and folders of 100,000 files.

python benchmarks/loading.py [ROUNDS [FOLDER]]

Pictures a second are of JPEG files of about 300 x 400 pixels, parts of scikit-image's photographs, on all cores by wall
time; the loaders take turns, each alone at work. The peer is installed by make bench. Ten minutes on an idle machine.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from performance import PEERS, WALL, ask, processes, processor
from PIL import Image
from report import Table, publish, table
from skimage import data as photographs

PICTURES, MANY, BATCHES, BATCH = 2_048, 100_000, 16, 64
CASES = {f"{side}, {way}": str(side) for side in (32, 256) for way in ("threads", "2 processes")}
OPEN = """
import json, sys, time
import jax, numpy
from diffjax.data import BatchConfig, batches, open_dataset
from diffjax.data.raw_batches import ReadAhead
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
open_dataset(f"folder:{sys.argv[2]}", image_size=32)
before, begun = resident(), time.monotonic()
dataset = open_dataset(f"folder:{sys.argv[1]}", image_size=32)
opened, seconds = resident(), time.monotonic() - begun
stream = batches(dataset, "train", BatchConfig(64, 0, resident=False, ahead=ReadAhead(workers=int(sys.argv[3]))))
for _ in range(20):
    jax.block_until_ready(next(stream)["x"])
print(json.dumps([seconds, opened - before, resident() - before, time.monotonic() - begun]))
"""


def photograph_parts(count: int, height: int, width: int) -> Iterator[Image.Image]:
    """Random parts of photographs at random scales, a pure function of their number."""
    sources = [Image.fromarray(image()) for image in (photographs.astronaut, photographs.chelsea, photographs.coffee)]
    for number in range(count):
        draw = np.random.default_rng(number)
        source = sources[number % len(sources)]
        share = draw.uniform(0.4, 1) * min(source.width / width, source.height / height)
        left, top = draw.uniform(0, (source.width - share * width, source.height - share * height))
        box = (left, top, left + share * width, top + share * height)
        yield source.resize((width, height), Image.Resampling.BICUBIC, box=box)


def write(folder: Path, count: int, height: int, width: int) -> None:
    """Pictures as JPEG files, a thousand to a class, unless they are there."""
    if len([*folder.rglob("*.jpg")]) == count:
        return
    for number, picture in enumerate(photograph_parts(count, height, width)):
        path = folder / f"{number // 1000:03}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, quality=90)


def compare(rounds: int) -> dict[str, dict[str, list[float]]]:
    """Pictures a second of each case, round by round, ours and the peer's."""
    files = [(sys.executable, "loading_ours.py"), *([(PEERS, "torch_loading.py")] if PEERS.exists() else [])]
    found = {}
    for case, peer in CASES.items():
        with processes(WALL, *files) as workers:
            for worker, name in zip(workers, (case, peer), strict=False):
                ask(worker, name)
            spent = [[ask(worker, "")[0][WALL] for worker in workers] for _ in range(rounds)]
        speeds = [[BATCH * BATCHES / seconds for seconds in column] for column in zip(*spent, strict=True)]
        found[case] = dict(zip(("diffjax", "torch"), speeds, strict=False))
        print(case, {name: round(statistics.median(each)) for name, each in found[case].items()}, flush=True)
    return found


def open_many(folder: Path, few: Path) -> dict[str, list[float]]:
    """Seconds and megabytes of opening many files, at the first start and at others."""
    found = {}
    with tempfile.TemporaryDirectory() as cache:
        env = {**os.environ, "DIFFJAX_CACHE": cache}
        for start, workers in (("first", 0), ("second, threads", 0), ("second, 2 processes", 2)):
            command = [sys.executable, "-c", OPEN, str(folder), str(few), str(workers)]
            found[start] = json.loads(subprocess.run(command, env=env, check=True, capture_output=True).stdout)
            print(start, found[start], flush=True)
    return found


def tables(figures: Any) -> list[Table]:
    """The tables of figures, as JSON keeps them."""
    speeds = []
    for case, found in figures["speeds"].items():
        ours, peer = (statistics.median(found.get(name, [0])) for name in ("diffjax", "torch"))
        ratio = statistics.median([a / b for a, b in zip(*found.values(), strict=True)]) if peer else 0
        speeds.append((case, f"{ours:,.0f}", f"{peer:,.0f}", f"{ratio:.2f}", "≥ 1.0"))
    columns = ("side, reading by", "diffjax", "torch, 2 workers", "ratio", "aim")
    starts = [(start, *(f"{value:,.1f}" for value in row)) for start, row in figures["starts"].items()]
    titles = ("start", "seconds to open", "MB then", "MB after 20 batches", "seconds until then")
    return [
        table(f"Pictures a second, {figures['processor']}, {figures['cores']} cores", columns, speeds),
        table("100,000 files of 32 x 32 pixels; MB over the process's own", titles, starts),
    ]


def main() -> None:
    """Measure, print, and publish what is whole."""
    rounds = int(sys.argv[1]) if sys.argv[1:] else 9
    with tempfile.TemporaryDirectory(prefix="loading-") as own:
        measure(Path(sys.argv[2] if sys.argv[2:] else own), rounds)


def measure(root: Path, rounds: int) -> None:
    """All figures, of pictures that are written into a folder unless they are there."""
    write(root / "few", PICTURES, 300, 400)
    write(root / "many", MANY, 32, 32)
    os.environ["PICTURES"] = str(root / "few")
    figures = {"processor": processor(), "cores": os.cpu_count(), "speeds": compare(rounds)}
    figures["starts"] = open_many(root / "many", root / "few")
    found = tables(figures)
    if PEERS.exists():
        publish("loading", found, figures)


if __name__ == "__main__":
    main()
