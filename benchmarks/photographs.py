"""Models of photographs beside what needs no model: python benchmarks/photographs.py RUNS [PART …]

Each part reads runs of docs/photographs.md in the folder RUNS, and is published with the parts that were measured
before. Half an hour each, on two cores:

enlarge  runs enlarge and photos, and regression where there is one: test patches at half their size, enlarged
holes    run photos, and filling where there is one: a hole of 12 × 12 in test patches
sizes    run photos: samples of other sizes than that of training
whole    run enlarge: the photograph that no model has seen, at twice its size, by tiles and at once
style    run style: samples in the look of test patches
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from photographic.baselines import biharmonic, block_means, field_means, fit_field, nearest, resampled
from photographic.drawing import at_size, drawn, enlarged, open_run, photo_patches, regressed, solved, styled
from photographic.measures import (
    gradient_distance,
    jackknife,
    look,
    look_distances,
    patch_frechet,
    psnr,
    rank_coverage,
    spectrum_distance,
    squares,
)
from photographic.whole import measure_whole
from PIL import Image
from report import Table, figures_of, publish, table

from diffjax import edit

SIDE, FACTOR, EACH = 32, 2, 32
ENLARGED, HOLES, STYLES, TRAINING = 128, 32, 512, 8_192  # patches of test for each part, and of training
HOLE = slice(10, 22)
SIZES = ((32, 32), (32, 48), (48, 48), (64, 96))
PIXELS = 640 * SIDE**2  # drawn of each size
Figures = dict[str, Any]


def measure_enlarge(runs: Path) -> Figures:
    """Means of samples, single samples and baselines of test patches at half their size."""
    truth = photo_patches("test", (SIDE, SIDE), ENLARGED)
    train = photo_patches("train", (SIDE, SIDE), TRAINING)
    low = block_means(truth, FACTOR)
    samples = enlarged(open_run(runs / "enlarge"), low, EACH)
    photos = open_run(runs / "photos")
    found = {
        "bicubic": resampled(low, FACTOR, Image.Resampling.BICUBIC),
        "Lanczos": resampled(low, FACTOR, Image.Resampling.LANCZOS),
        "nearest training patch": nearest(truth, train, FACTOR),
        "Gaussian field, exact mean": field_means(low, FACTOR, fit_field(train)),
        f"model of low_res, mean of {EACH}": samples.mean(0),
        "model of low_res, one sample": samples[0],
    }
    if (runs / "regression").exists():
        regression = open_run(runs / "regression", sampler="ddim", grid="uniform", steps=1)
        found["regression, the same net"] = regressed(regression, low)
    for name, method in {"pigdm": edit.pigdm(), "ddnm": edit.ddnm()}.items():
        unconditional = solved(photos, lambda low: edit.downsampled(low, FACTOR, batched=True), 2 * low - 1, 8, method)
        found[f"unconditional, {name}, mean of 8"] = unconditional.mean(0)
        found[f"unconditional, {name}, one sample"] = unconditional[0]
    bicubic = found["bicubic"]
    rows = {}
    for name, images in found.items():
        looks = [gradient_distance(images, truth), spectrum_distance(images, truth)]
        rows[name] = [*jackknife(psnr, images, truth), *jackknife(gain, images, bicubic, truth), *looks]
    return {"rows": rows}


def gain(images: np.ndarray, baseline: np.ndarray, truth: np.ndarray) -> float:
    """How much better than the baseline the images are, in dB."""
    return psnr(images, truth) - psnr(baseline, truth)


def measure_holes(runs: Path) -> Figures:
    """A hole of 12 × 12 pixels in test patches: errors within it, and the coverage of intervals of samples."""
    truth = photo_patches("test", (SIDE, SIDE), HOLES)
    train = photo_patches("train", (SIDE, SIDE), TRAINING)
    hidden = np.zeros((SIDE, SIDE), bool)
    hidden[HOLE, HOLE] = True
    photos = open_run(runs / "photos")
    found = {"biharmonic": biharmonic(truth, hidden), "nearest training patch": nearest(truth, train, ~hidden)}
    coverage = {}
    drawings = {"repaint(5, 5)": (photos, edit.repaint(5, 5)), "pigdm": (photos, edit.pigdm())}
    if (runs / "filling").exists():
        drawings["model of given pixels, clamp"] = open_run(runs / "filling"), edit.clamp()
    for name, (model, method) in drawings.items():
        samples = solved(model, lambda x: edit.inpaint(x, jnp.asarray(~hidden)), 2 * truth - 1, EACH, method)
        found[f"{name}, mean of {EACH}"] = samples.mean(0)
        found[f"{name}, one sample"] = samples[0]
        coverage[f"{name}, mean of {EACH}"] = rank_coverage(
            samples[:, :, hidden].reshape(EACH, -1), truth[:, hidden].ravel()
        )
    rows = {}
    baseline = found["biharmonic"][:, HOLE, HOLE]
    for name, images in found.items():
        inside = images[:, HOLE, HOLE], truth[:, HOLE, HOLE]
        gained = jackknife(gain, inside[0], baseline, inside[1])
        rows[name] = [*jackknife(psnr, *inside), *gained, gradient_distance(*inside), *coverage.get(name, ())]
    return {"rows": rows}


def measure_sizes(runs: Path) -> Figures:
    """Samples of each size, cut into squares of the size of training, against real ones, beside training patches.

    Photographs themselves are cut at fewer scales where a patch is large, so that real patches of another size are not
    of the law that the model was trained on.
    """
    photos = open_run(runs / "photos")
    real, train = (photo_patches(split, (SIDE, SIDE), PIXELS // SIDE**2) for split in ("test", "train"))
    rows = {}
    for size in SIZES:
        images = squares(drawn(at_size(photos, size), PIXELS // (size[0] * size[1])), SIDE)
        rows["{}x{}".format(*size)] = [
            *(patch_frechet(each, real) for each in (images, train)),
            *(spectrum_distance(each, real) for each in (images, train)),
        ]
    return {"rows": rows}


def measure_style(runs: Path) -> Figures:
    """The look of samples beside that of their reference, and of the reference of another sample."""
    references = photo_patches("test", (SIDE, SIDE), STYLES)
    train = photo_patches("train", (SIDE, SIDE), TRAINING)
    scale = look(train).std(0)
    style = open_run(runs / "style")
    found = {
        "with the reference": styled(style, references),
        "without one": drawn(style, STYLES),
        "another patch of test": np.roll(references, STYLES // 3, axis=0),
    }
    wrong = np.roll(references, STYLES // 2, axis=0)
    rows = {}
    for name, images in found.items():
        right, other = (look_distances(images, each, scale) for each in (references, wrong))
        rows[name] = [float(right.mean()), float(other.mean()), float((right < other).mean())]
    return {"rows": rows}


PARTS: Mapping[str, Callable[[Path], Figures]] = {
    "enlarge": measure_enlarge,
    "holes": measure_holes,
    "sizes": measure_sizes,
    "whole": measure_whole,
    "style": measure_style,
}


def tables(figures: Figures) -> list[Table]:
    """The tables of the parts that were measured."""
    builders = (_enlarge_table, _holes_table, _sizes_table, _whole_table, _style_table)
    build = dict(zip(PARTS, builders, strict=True))
    return [build[name](figures[name]["rows"]) for name in PARTS if name in figures]


def _enlarge_table(rows: Figures) -> Table:
    columns = ("16 to 32 pixels a side", "PSNR, dB", "over bicubic, dB", "gradients, levels", "spectrum, dB")
    cells = [
        (name, f"{a:.2f} ± {b:.2f}", f"{c:+.2f} ± {d:.2f}", f"{gradient:.2f}", f"{power:.2f}")
        for name, (a, b, c, d, gradient, power) in rows.items()
    ]
    return table("Super-resolution of test patches", columns, cells)


def _holes_table(rows: Figures) -> Table:
    head = ("a hole of 12 x 12 in 32 x 32", "PSNR within, dB", "over biharmonic, dB", "gradients, levels")
    columns = (*head, "coverage", "of exact samples")
    cells = [
        (name, f"{a:.2f} ± {b:.2f}", f"{c:+.2f} ± {d:.2f}", f"{gradient:.2f}", *(f"{share:.3f}" for share in shares))
        for name, (a, b, c, d, gradient, *shares) in rows.items()
    ]
    return table("Inpainting of test patches", columns, [(*row, *("",) * (len(columns) - len(row))) for row in cells])


def _sizes_table(rows: Figures) -> Table:
    own = next(iter(rows.values()))
    columns = (
        "drawn at, squares of 32x32",
        "Fréchet over real's",
        "to that of 32x32",
        "spectrum over real's, dB",
        "to that of 32x32",
    )
    cells = []
    for name, (ours, real, power, real_power) in rows.items():
        ratios = (ours / real, ours / real / (own[0] / own[1]), power / real_power)
        cells.append((name, *(f"{ratio:.2f}" for ratio in (*ratios, ratios[2] / (own[2] / own[3])))))
    return table("Samples of other sizes than 32x32, on which the model was trained", columns, cells)


def _whole_table(rows: Figures) -> Table:
    columns = ("china, 320 x 213 to 640 x 426", "over bicubic, dB", "gradients, levels", "at seams over elsewhere")
    cells = [(name, f"{gain:+.2f}", f"{gradient:.2f}", f"{seam:.3f}") for name, (gain, gradient, seam) in rows.items()]
    return table("A whole photograph that no model has seen", columns, cells)


def _style_table(rows: Figures) -> Table:
    columns = ("512 samples", "look from the reference's", "from another reference's", "nearer to their own")
    cells = [(name, f"{right:.2f}", f"{wrong:.2f}", f"{share:.3f}") for name, (right, wrong, share) in rows.items()]
    return table("Style: colours and detail, in standard deviations of training patches", columns, cells)


def main() -> None:
    """Measure the parts that are named, or all, and publish what is known."""
    runs, names = Path(sys.argv[1]), sys.argv[2:] or list(PARTS)
    figures = figures_of("photographs") or {}
    for name in names:
        figures[name] = PARTS[name](runs)
        publish("photographs", tables(figures), figures)


if __name__ == "__main__":
    main()
