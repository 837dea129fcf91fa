"""What the Fréchet distance of 50,000 × 2,048 features costs, and how near it comes: benchmarks/frechet.py [rows]

Two normal laws whose covariances commute, in a random basis, so that their distance is known: |δ|² + Σ (√aᵢ − √bᵢ)².
Features are drawn a batch at a time, and no set is ever held.
"""

import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

sys.path.insert(0, str(Path(__file__).parent.parent))

from diffjax.evaluation.frechet_distance import Moments, frechet_from_moments, gather_moments

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
DIM, BATCH = 2_048, 1_000


class Law(NamedTuple):
    """N(mean, diag(variances)) in the coordinates of the basis."""

    mean: Float[np.ndarray, " d"]
    variances: Float[np.ndarray, " d"]


class Cost(NamedTuple):
    """Moments, the seconds that they took, and those that the features took to be drawn."""

    moments: Moments
    gathering: float
    drawing: float


def main() -> None:
    """The set is gathered, then its distance to the moments of the other one taken: what one FID costs."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0].astype(np.float32)
    a, b = laws(rng)
    reference, ours = (gathered(law, basis, seed) for seed, law in ((1, b), (2, a)))
    start = time.perf_counter()
    found = frechet_from_moments(ours.moments, reference.moments)
    distance = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # Linux counts in kilobytes
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    print(f"{ROWS:,} x {DIM:,} float32 in batches of {BATCH:,}, {cores} cores, load of the last minute {load:.1f}\n")
    print("| what | measured |\n|---|---|")
    print(f"| moments of the set | {ours.gathering:.1f} s |")
    print(f"| moments of the reference | {reference.gathering:.1f} s |")
    print(f"| the distance from both moments | {distance:.1f} s |")
    print(f"| one FID against a reference's moments | {ours.gathering + distance:.1f} s |")
    print(f"| drawing the features, counted nowhere above | {ours.drawing:.1f} and {reference.drawing:.1f} s |")
    print(f"| peak memory of the process | {peak:.2f} GB |")
    (bias, spread), truth = expected(a, b, ROWS), exact(a, b)
    print(f"| distance of the laws | {truth:.4f} |")
    print(
        f"| expected of {ROWS:,} rows each: bias, standard deviation | {truth + bias:.4f}: {bias:.4f}, {spread:.4f} |"
    )
    print(f"| found | {found:.4f} |")


def laws(rng: np.random.Generator) -> tuple[Law, Law]:
    """Variances that fall as a power, as those of features do, changed by up to a third, and another mean."""
    variances = 1 / np.arange(1, DIM + 1)
    gap = 0.1 * np.sqrt(variances) * rng.standard_normal(DIM)
    return Law(np.ones(DIM), variances), Law(1 + gap, variances * np.exp(rng.uniform(-0.4, 0.4, DIM)))


def drawn(law: Law, basis: Float32[np.ndarray, "d d"], seed: int) -> Iterator[Float32[np.ndarray, "_ d"]]:
    """All rows, a batch at a time."""
    rng = np.random.default_rng(seed)
    mean, deviations = (part.astype(np.float32) for part in (law.mean, np.sqrt(law.variances)))
    for start in range(0, ROWS, BATCH):
        yield (mean + deviations * rng.standard_normal((min(BATCH, ROWS - start), DIM), np.float32)) @ basis.T


def gathered(law: Law, basis: Float32[np.ndarray, "d d"], seed: int) -> Cost:
    """The moments of so many draws; the clock of gathering stands still while a batch is drawn."""
    drawing = 0.0

    def timed() -> Iterator[Float32[np.ndarray, "_ d"]]:
        nonlocal drawing
        batches = drawn(law, basis, seed)
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            drawing += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    start = time.perf_counter()
    moments = gather_moments(timed())
    return Cost(moments, time.perf_counter() - start - drawing, drawing)


def exact(a: Law, b: Law) -> float:
    """|δ|² + Σ (√aᵢ − √bᵢ)²."""
    return float(np.square(a.mean - b.mean).sum() + np.square(np.sqrt(a.variances) - np.sqrt(b.variances)).sum())


def expected(a: Law, b: Law, n: int) -> tuple[float, float]:
    """The bias and the standard deviation of the distance of n draws of each law, to first order in 1/n.

    With sᵢ = √(aᵢ bᵢ), the bias is n⁻¹ tr(a + b) by the means, and n⁻¹ Σ sᵢ sⱼ (1 + [i = j]) / (sᵢ + sⱼ) by the second
    derivatives of the root in both covariances. The variance is n⁻¹ Σ 4 δᵢ² (aᵢ + bᵢ) + 2 (aᵢ − sᵢ)² + 2 (bᵢ − sᵢ)²,
    by the first derivatives.
    """
    s = np.sqrt(a.variances * b.variances)
    pairs = (np.outer(s, s) / np.add.outer(s, s)).sum() + s.sum() / 2
    bias = ((a.variances + b.variances).sum() + pairs) / n
    of_means = 4 * (np.square(a.mean - b.mean) * (a.variances + b.variances)).sum()
    of_roots = 2 * (np.square(a.variances - s) + np.square(b.variances - s)).sum()
    return float(bias), float(np.sqrt((of_means + of_roots) / n))


if __name__ == "__main__":
    main()
