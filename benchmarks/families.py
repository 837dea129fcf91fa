"""Four families on the digits: python benchmarks/families.py runs/families (an hour on two idle cores)

Trains the configs of autoregression, any-order autoregression, masked diffusion and flow matching from three seeds,
evaluates each run, and prints the tables that docs/results.md keeps; draws families.png into the folder. Runs that are
there already are not trained again.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

import diffjax as dj
from diffjax.commands import image_sampler
from diffjax.reports import write_png
from diffjax.reports.image_grids import labelled_rows

SEEDS = (0, 1, 2)
CONFIGS = ("digits_raster", "digits_any_order", "digits_masked", "digits_flow")
NAMES = {
    "digits_raster": "autoregression",
    "digits_any_order": "any order",
    "digits_masked": "masked diffusion",
    "digits_flow": "diffusion",
}
DIGIT, MOMENTS = 3, 9
MEASURES = ("frechet_ratio", "mmd2", "two_sample", "accuracy", "copies")
HEAD = (
    "| config | seed | bits test | bits train | Fréchet ratio | 1000 MMD² | two-sample | accuracy | copies | minutes |"
)


def main(folder: Path) -> None:
    """One row per run and one per mean; then what context is worth."""
    print(HEAD, "|---" * 10 + "|", sep="\n", flush=True)
    contexts, baselines = {}, {}
    for config in CONFIGS:
        runs = [scored(folder / f"{config}_{seed}", config, seed) for seed in SEEDS]
        rows = np.array([values(scores, minutes) for scores, minutes in runs])
        for seed, row in zip(SEEDS, rows, strict=True):
            print(line(config, str(seed), row))
        print(line(config, "mean", rows.mean(axis=0)), flush=True)
        baselines = {name: both for name, both in bits_of(runs[0][0]).items() if name != "this model"}
        contexts[config] = [scores["curves"].get("context") for scores, _ in runs]
    for name, (train, test) in baselines.items():
        print(f"| {name} | | {test:.3f} | {train:.3f} |" + " |" * 6)
    for config, found in contexts.items():
        if all(found):
            costs = np.mean([each["lines"]["test"]["y"] for each in found], axis=0)
            counts = found[0]["lines"]["test"]["x"]
            print(f"\n{config}, bits of a hidden pixel of test by visible pixels:")
            print(", ".join(f"{count:.0f}: {cost:.2f}" for count, cost in zip(counts, costs, strict=True)))
    write_png(folder / "families.png", picture(folder))


def scored(workdir: Path, config: str, seed: int) -> tuple[dict[str, Any], float]:
    """The scores of one run, and the minutes that its training took, from its first file to its last checkpoint."""
    begun, minutes = time.perf_counter(), workdir / "minutes.txt"
    if not minutes.exists():
        run("train.py", "--config", f"configs/{config}.py", "--workdir", str(workdir), f"--config.train.seed={seed}")
        minutes.write_text(str((time.perf_counter() - begun) / 60))
    if not (workdir / "evaluation" / "report.json").exists():
        run("evaluate.py", "--workdir", str(workdir), f"--seed={seed}")
    return json.loads((workdir / "evaluation" / "report.json").read_text()), float(minutes.read_text())


def picture(folder: Path) -> np.ndarray:
    """One digit on its way under each of the families, from left to right."""
    rows = []
    for config in CONFIGS:
        denoise, noise, order, info = dj.load(folder / f"{config}_{SEEDS[0]}")
        painter = image_sampler.build_image_sampler(
            denoise, noise, order, info.net, info.facts, vars(info.config.sample)
        )
        frames, clock = image_sampler.sample_trajectory(painter, jax.random.key(0), 1, np.array([DIGIT], np.int32))
        moments, _ = image_sampler.subsample_states(frames[:, 0], clock, MOMENTS)
        rows.append(np.broadcast_to(moments, (*moments.shape[:3], 3)))
    return labelled_rows([NAMES[config] for config in CONFIGS], rows, MOMENTS, None)


def bits_of(scores: dict[str, Any]) -> dict[str, list[float]]:
    """Of the model and of each baseline, those of train and of test."""
    return {name: [told[split]["mean"] for split in ("train", "test")] for name, told in scores["bits_per_dim"].items()}


def values(scores: dict[str, Any], minutes: float) -> list[float]:
    """The numbers of a row."""
    train, test = bits_of(scores)["this model"]
    return [test, train, *(scores["scores"]["pixels"][name]["value"] for name in MEASURES), minutes]


def line(config: str, seed: str, row: np.ndarray) -> str:
    """A row of the table."""
    test, train, frechet, mmd2, two_sample, accuracy, copies, minutes = row
    told = f"{frechet:.2f} | {1000 * mmd2:.2f} | {two_sample:.3f} | {accuracy:.3f} | {100 * copies:.1f} %"
    return f"| {config} | {seed} | {test:.3f} | {train:.3f} | {told} | {minutes:.1f} |"


def run(script: str, *args: str) -> None:
    """One script, its words kept off the table."""
    subprocess.run([sys.executable, script, *args], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/families"))
