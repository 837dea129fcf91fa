"""The pictures and figures of docs/editing.md: python benchmarks/editing.py --runs runs --inputs runs/editing

Needs runs/digits, runs/text, runs/sketch and runs/filling (configs/, examples/digits_text). Writes the inputs,
digits of the test split, into --inputs, runs the commands that the page shows, and puts their pictures into
docs/pictures/edit_*.png; prints the figures.
"""

import shlex
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax.numpy as jnp
import numpy as np
from absl import app, flags
from PIL import Image

import diffjax as dj
from diffjax.data import Dataset, open_dataset
from diffjax.evaluation import as_bytes
from diffjax.reports import write_png
from diffjax.reports.image_grids import labelled_rows

RUNS = flags.DEFINE_string("runs", "runs", "Folder of the runs.")
INPUTS = flags.DEFINE_string("inputs", "runs/editing", "Folder for the inputs, and below it what is drawn.")
COMMANDS = flags.DEFINE_boolean("commands", True, "Also run the commands; else measure alone.")
PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
STEPS, COUNT, FEW = 50, 200, 6
STRENGTHS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
EDITS = {  # the picture of docs/editing.md: the run, and the rest of its command
    "inpaint": ("digits", "--edit inpaint --image {in}/3.png --mask {in}/below.png"),
    "inpaint_clamp": ("filling", "--edit inpaint --image {in}/3.png --mask {in}/below.png"),
    "inpaint_label": ("digits", "--edit inpaint --image {in}/3.png --mask {in}/below.png --label 2"),
    "outpaint": ("digits", "--edit outpaint --image {in}/part.png"),
    "variations": ("digits", "--edit variations --image {in}/5.png --strength 0.5"),
    "sketch": ("digits", "--edit sketch --image {in}/1.png --strokes {in}/drawn.png --strength 0.5"),
    "sketch_prompt": (
        "text",
        '--edit sketch --image {in}/1.png --strokes {in}/drawn.png --strength 0.6 --prompt "a seven" --guidance 2',
    ),
    "super_resolve": ("digits", "--edit super_resolve --image {in}/small.png"),
    "way": ("digits", "--edit interpolate --image {in}/3.png --image {in}/8.png"),
    "way_labels": ("digits", "--edit interpolate --label 1 --label_to 7 --seed 3 --num 9"),
    "way_seeds": ("digits", "--edit interpolate --label 4 --seed 1 --seed_to 2 --num 9"),
    "way_prompts": ("text", '--edit interpolate --prompt "a thin one" --prompt_to "a bold eight" --num 9'),
    "from_sketch": ("sketch", "--sketch {in}/lines.png --num 8"),
}


def main(_: list[str]) -> None:
    """Inputs, pictures, figures."""
    folder = Path(INPUTS.value)
    data = open_dataset("digits")
    images, labels = data.arrays("test")
    inputs(folder, images, labels)
    for name, (run, rest) in EDITS.items() if COMMANDS.value else ():
        source = f"sample.py --workdir {RUNS.value}/{run} --allow_imports"
        command = f"{source} --out {folder}/{name} {rest.format(**{'in': folder})}"
        subprocess.run([sys.executable, *shlex.split(command)], check=True, capture_output=True)
        made = folder / name / ("strip.png" if name.startswith("way") else "grid.png")
        (PICTURES / f"edit_{name}.png").write_bytes(made.read_bytes())
        print(f"python {command}", flush=True)
    model = dj.load(f"{RUNS.value}/digits")
    inversion(model, images[:COUNT], labels[:COUNT])
    strengths(model, data, images[:COUNT], labels[:COUNT])


def inputs(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """The first digit of each class, and what is made of some."""
    folder.mkdir(parents=True, exist_ok=True)
    first = [as_bytes(images[np.flatnonzero(labels == digit)[0]], 17)[..., 0] for digit in range(10)]
    below, drawn = np.zeros((8, 8), np.uint8), first[1].copy()
    below[4:] = 255
    drawn[0:2, 1:6] = 255
    small = first[3].reshape(4, 2, 4, 2).mean(axis=(1, 3)).round().astype(np.uint8)
    lines = np.zeros((8, 8), np.uint8)
    for row, column in ((1, 2), (1, 3), (1, 4), (1, 5), (2, 5), (3, 4), (4, 4), (5, 3), (6, 3)):
        lines[row, column] = 255
    named = {"below": below, "drawn": drawn, "small": small, "part": first[3][2:7, 1:7], "lines": lines}
    for name, pixels in {**{str(digit): each for digit, each in enumerate(first)}, **named}.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")


def inversion(model: tuple, images: np.ndarray, labels: np.ndarray) -> None:
    """What is left of a pixel, of 1 from black to white, after inversion and back."""
    denoise, noise, order, _ = model
    x = jnp.asarray(2 * images / 16 - 1, jnp.float32)
    grids = {"reversible": dj.edit.inversion_grid(noise, STEPS), "uniform": dj.grids.uniform(noise, STEPS)}
    print(f"| rule, {STEPS} steps | grid | evaluations | median | 99 % | most |\n|---|---|---|---|---|---|")
    for rule, grid in [
        *((rule, "reversible") for rule in ("midpoint", "heun", "dpmpp_2m", "ddim")),
        ("heun", "uniform"),
    ]:
        step = getattr(dj.steps, rule)()
        how = {"cond": labels, "grid": grids[grid], "step": step}
        there = dj.invert(dj.keys(0, len(x)), noise, order, denoise, x, **how)
        back = dj.sample(dj.keys(0, len(x)), noise, order, denoise, x.shape[1:], start=there, **how)
        off = np.abs(np.asarray(back - x)) / 2
        told = " | ".join(f"{each:.1e}" for each in (np.median(off), np.quantile(off, 0.99), off.max()))
        print(
            f"| {rule} | {grid} | {STEPS * step.evaluations} | {told} |, latents' deviation {there.std():.2f}",
            flush=True,
        )
    ends = dj.edit.interpolate(
        dj.keys(0, 20), noise, order, denoise, (x[:20], x[20:40]), jnp.asarray([0.0, 1.0]), cond=labels[:20],
        cond_b=labels[20:40],
    )  # fmt: skip
    off = np.abs(np.asarray(ends) - np.asarray(x[:40]).reshape(2, 20, *x.shape[1:])) / 2
    print(f"interpolation's ends: median {np.median(off):.1e}, most {off.max():.1e}", flush=True)


def strengths(model: tuple, data: Dataset, images: np.ndarray, labels: np.ndarray) -> None:
    """How far variations are from their picture, and how often they are still of its class, told of none."""
    from sklearn.svm import SVC

    denoise, noise, order, info = model
    seen, classes = data.arrays("train")
    judge = SVC(gamma=0.001).fit(seen.reshape(len(seen), -1), classes)
    x = jnp.asarray(2 * images / 16 - 1, jnp.float32)
    nothing = dj.conditions.fill_condition(info.net.null_cond, len(x), {})
    grid = dj.grids.log_snr(noise, STEPS)
    print("| strength | log-SNR | root mean square | of its class |\n|---|---|---|---|")
    rows = []
    for strength in STRENGTHS:
        how = {"strength": strength, "cond": nothing, "grid": grid, "step": dj.steps.dpmpp_2m()}
        made = np.asarray(dj.edit.vary(dj.keys(0, len(x)), noise, order, denoise, x, **how))
        levels = np.rint((made.clip(-1, 1) + 1) * 8)
        kept = np.mean(judge.predict(levels.reshape(len(x), -1)) == labels)
        far = np.sqrt(np.mean((made - np.asarray(x)) ** 2)) / 2
        print(f"| {strength:g} | {10 - 20 * strength:g} | {far:.3f} | {kept:.2f} |", flush=True)
        rows.append(as_bytes(levels[: 2 * FEW].astype(np.uint8), 17))
    first = as_bytes(images[: 2 * FEW], 17)
    names = ["input", *(f"{strength:g}" for strength in STRENGTHS)]
    write_png(PICTURES / "edit_strengths.png", labelled_rows(names, [first, *rows], 2 * FEW, None))


if __name__ == "__main__":
    app.run(main)
