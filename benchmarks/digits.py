"""The digits' figures: python benchmarks/digits.py runs/benchmark (twelve minutes on two idle cores).

Trains configs/digits.py from three seeds for 1,700 and for 5,000 steps, evaluates each run, and prints the table that
docs/results.md keeps. Runs that are there already are not trained again.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

SEEDS, BUDGETS = (0, 1, 2), (1_700, 5_000)
MEASURES = ("frechet_ratio", "mmd2", "two_sample", "accuracy", "copies")
HEAD = "| steps | seed | Fréchet ratio | 1000 MMD² | two-sample | accuracy | copies |\n|---|---|---|---|---|---|---|"


def main(folder: Path) -> None:
    """One row per run and one per mean."""
    print(HEAD)
    for steps in BUDGETS:
        rows = np.array([scored(folder / f"{steps}_{seed}", steps, seed) for seed in SEEDS])
        for seed, row in zip(SEEDS, rows, strict=True):
            print(line(steps, str(seed), row), flush=True)
        print(line(steps, "mean", rows.mean(axis=0)), flush=True)


def scored(workdir: Path, steps: int, seed: int) -> list[float]:
    """The five measures of one run."""
    run("train.py", "--config", "configs/digits.py", "--workdir", str(workdir),
        f"--config.train.steps={steps}", f"--config.train.seed={seed}")  # fmt: skip
    run("evaluate.py", "--workdir", str(workdir), f"--seed={seed}")
    scores = json.loads((workdir / "evaluation" / "report.json").read_text())["scores"]["pixels"]
    return [scores[name]["value"] for name in MEASURES]


def run(script: str, *args: str) -> None:
    """One script, its words kept off the table."""
    subprocess.run([sys.executable, script, *args], check=True, stdout=subprocess.DEVNULL)


def line(steps: int, seed: str, row: np.ndarray) -> str:
    """A row of the table."""
    frechet, mmd2, two_sample, accuracy, copies = row
    values = f"{frechet:.2f} | {1000 * mmd2:.2f} | {two_sample:.3f} | {accuracy:.3f} | {100 * copies:.1f} %"
    return f"| {steps:,} | {seed} | {values} |"


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/benchmark"))
