"""Every family between one position at a time and all at once, with exact denoisers: python benchmarks/compare_exact.py

A minute of one core's time, and it uses two. The data is a Markov chain of six binary tokens, whose joint
probabilities are listed, so nothing is learned: every difference is the order's own, or its step rule's. For
docs/compare_exact.md and its pictures, with what guidance and an error of the net do to exact denoisers.
"""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

if version("jaxlib").startswith("0.10."):  # most of the time would go into compiling; newer ones lack the flag
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")
sys.path.insert(0, str(Path(__file__).parents[1]))

from enumerated import picture, tables
from enumerated.families import Found, drawn, families, measured
from enumerated.guided import guided
from enumerated.laws import chain
from enumerated.rows import rows
from report import PICTURES, publish

N, STAY = 6, (0.8, 0.9)  # tokens, and how likely a 0 and a 1 are followed by their like
COUNTS = (1, 2, 3, 4, 6, 8, 12, 24)  # evaluations
DRAWS = 32_768


def main() -> None:
    """Measure, publish the tables, draw the pictures."""
    begun = time.perf_counter()
    found = find(N, STAY, COUNTS, DRAWS)
    with ThreadPoolExecutor(2) as pool:
        futures = pool.submit(guided, N, DRAWS // 4), pool.submit(rows, found.table, DRAWS // 4)
    tilted, erring = futures[0].result(), futures[1].result()
    publish("compare_exact", tables.tables(found, tilted, erring))
    picture.draw(found, PICTURES / "compare_exact.png")
    picture.draw_explained(tilted, erring, PICTURES / "compare_exact_guided.png")
    print(f"{time.perf_counter() - begun:.0f} seconds")


def find(n: int, stay: tuple[float, float], counts: tuple[int, ...], draws: int) -> Found:
    """All curves, two families at a time; and draws of what has a limit that is known."""
    table = chain(n, stay)
    all_of = {family.name: family for family in families(n)}
    limits = [(family, 1) for family in all_of.values() if family.tokens and family.serves(n, 1)]
    limits += [(all_of[name], n) for name in ("raster", "any order")]
    with ThreadPoolExecutor(2) as pool:
        curves = pool.map(lambda family: measured(family, table, counts, draws), all_of.values())
        ends = pool.map(lambda limit: drawn(limit[0], table, limit[1], draws), limits)
        named = dict(zip(all_of, curves, strict=True))
        checks = {(family.name, count): end for (family, count), end in zip(limits, ends, strict=True)}
    return Found(table, stay, counts, draws, named, checks)


if __name__ == "__main__":
    main()
