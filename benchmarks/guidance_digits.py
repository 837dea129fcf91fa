"""Accuracy against diversity, each guidance on digits: python benchmarks/guidance_digits.py --workdir runs/digits

Writes the section "On digits" of docs/guidance.md and docs/pictures/guidance_digits.png. `--weak` is a run of the same
net that was trained for less long, for autoguidance:

    python train.py --config configs/digits.py --workdir runs/digits_weak --config.train.steps=700
"""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from absl import flags
from guidance_words import DIGITS
from scoring import accuracy, frechet_ratio, labels_of
from tables import head, row

from diffjax import guidance
from diffjax.commands import command_line, evaluation_subject, image_sampler
from diffjax.evaluation.pixels import fractions_like, fractions_of
from diffjax.experiment import trained_model

matplotlib.use("Agg")
command_line.define_sampling_flags()
WEAK = flags.DEFINE_string("weak", "runs/digits_weak", "A run that was trained for less long.")
ROOT = Path(__file__).parents[1]
COUNT, ROUNDS = 360, 4
NUMBERS: tuple[tuple[str, dict[str, str], tuple[float, ...]], ...] = (
    ("cfg", {}, (0.0, 1.0, 1.5, 2.0, 3.0, 5.0)),
    ("interval(0, 0.6)", {"guidance_when": "interval(low=0.0, high=0.6)"}, (2.0, 3.0, 5.0)),
    ("interval(0.2, 0.8)", {"guidance_when": "interval(low=0.2, high=0.8)"}, (2.0, 3.0, 5.0)),
    ("rescaled(0.7)", {"guidance_rule": "rescaled(phi=0.7)"}, (2.0, 3.0, 5.0)),
    ("thresholded(99.5, 1)", {"guidance_rule": "thresholded(percentile=99.5, limit=1.0)"}, (2.0, 3.0, 5.0)),
    ("apg()", {"guidance_rule": "apg()"}, (2.0, 3.0, 5.0)),
    ("zero_star(noise)", {"guidance_rule": "zero_star()"}, (2.0, 3.0, 5.0)),
    ("perturbed_attention", {"guidance_form": "perturbed_attention(blocks=(1,))"}, (1.5, 2.0, 3.0)),
)
STRENGTHS, WEAKER = (0.2, 0.4, 0.6), (1.5, 2.0, 3.0)
WORDS = """
A U-Net of `configs/digits.py`, ten steps of dpmpp_2m (ddim for `plus_plus`), {count:,} pictures a row, as many of each
class, from the same keys. *Accuracy*: how many a classifier of the training images takes for the class that was asked
for; real test images get {real:.3f}. *Variety*: the variance within the classes, over that of test images. *Fréchet*:
the ratio of `evaluate.py`, 1 being as near to test images as training images are. Errors are those of the mean of
{rounds} draws.
"""


class Found(NamedTuple):
    """What was drawn, with the errors of its means."""

    accuracy: tuple[float, float]
    variety: tuple[float, float]
    frechet: tuple[float, float]


def main() -> None:
    """Measure, draw, and write the section."""
    workdir, asked = command_line.folder_flag("workdir"), flags.FLAGS
    model = evaluation_subject.open_subject(workdir, asked.ema, command_line.step_choice(), 1_000_000)
    weak, *_ = trained_model.load(Path(WEAK.value))
    found: dict[str, dict[float, Found]] = {}
    for name, scale, painter in painters(model, weak, command_line.sampler_settings(vars(model.info.config.sample))):
        found.setdefault(name, {})[scale] = measured(model, painter)
        print(name, scale, *found[name][scale], flush=True)
    plotted(found, ROOT / "docs" / "pictures" / "guidance_digits.png")
    table = list(head("guidance", "w", "accuracy", "variety", "Fréchet"))
    table += [
        row(f"`{name}`", f"{scale:g}", *(f"{mean:.3f} ± {error:.3f}" for mean, error in one))
        for name, line in found.items()
        for scale, one in line.items()
    ]
    _, _, test = fractions_of(model.splits, model.info.facts.levels)
    words = WORDS.format(count=COUNT * ROUNDS, rounds=ROUNDS, real=accuracy(model, test, labels_of(model, "test")))
    path = ROOT / "docs" / "guidance.md"
    before, _, after = path.read_text().partition(DIGITS)
    _, told, verdict = after.partition("<!-- read from it -->")
    picture = "\n![Accuracy against variety](pictures/guidance_digits.png)\n"
    path.write_text("\n".join([before + DIGITS, words.strip(), picture, *table, ""]) + told + verdict)


def painters(
    model: evaluation_subject.EvaluationSubject, weak: Any, settings: dict[str, Any]
) -> Iterator[tuple[str, float, image_sampler.ImageSampler]]:
    """Each guidance at each scale."""
    for name, more, scales in NUMBERS:
        for scale in scales:
            yield name, scale, model.build_sampler({**settings, **more, "guidance": scale})
    for strength in STRENGTHS:
        plus = {"sampler": "ddim", "guidance_when": "plus_plus()", "guidance": strength}
        yield "plus_plus", strength, model.build_sampler({**settings, **plus})
    plain = model.build_sampler({**settings, "guidance": 1.0})
    for scale in WEAKER:
        yield (
            "autoguidance",
            scale,
            dataclasses.replace(plain, denoise=guidance.autoguidance(model.denoise, weak, scale)),
        )


def measured(model: evaluation_subject.EvaluationSubject, painter: image_sampler.ImageSampler) -> Found:
    """The mean over rounds of each measure, and its standard error."""
    labels = np.arange(COUNT, dtype=np.int32) * model.info.facts.classes // COUNT
    _, _, test = fractions_of(model.splits, model.info.facts.levels)
    rows = []
    for seed in range(ROUNDS):
        images = image_sampler.sample_images(painter, jax.random.key(seed), COUNT, COUNT, labels)
        every = fractions_like(images, model.splits)
        varied = within(every, labels) / within(test, labels_of(model, "test"))
        rows.append((accuracy(model, every, labels), varied, frechet_ratio(model, every)))
    means, errors = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1) / ROUNDS**0.5
    return Found(*zip(means.tolist(), errors.tolist(), strict=True))


def within(images: np.ndarray, labels: np.ndarray) -> float:
    """The variance of all pixels within a class, the mean over classes."""
    return float(np.mean([images[labels == each].var(axis=0, ddof=1).sum() for each in np.unique(labels)]))


def plotted(found: dict[str, dict[float, Found]], path: Path) -> None:
    """What is gained and lost against variety, a line for each guidance, its scales beside the points."""
    figure, panes = plt.subplots(1, 2, figsize=(13, 5.4), sharex=True, layout="constrained")
    for number, (name, line) in enumerate(found.items()):
        for pane, field in zip(panes, ("accuracy", "frechet"), strict=True):
            x, y = ([getattr(one, each)[0] for one in line.values()] for each in ("variety", field))
            pane.plot(x, y, marker="os^vD<>Ph*"[number], ms=5, lw=1, color=f"C{number}", label=name)
            for scale, across, up in zip(line, x, y, strict=True):
                if field == "frechet":
                    pane.annotate(f"{scale:g}", (across, up), xytext=(4, -9), textcoords="offset points", fontsize=7)
            pane.axvline(1, color="0.7", lw=0.8)
            pane.set(xlabel="variety: variance within classes, over that of test images", xlim=(0.58, 1.12))
            pane.grid(alpha=0.3)
    panes[0].set(ylabel="accuracy of the label", ylim=(0.95, 1.002))
    panes[1].set(ylabel="Fréchet ratio, 1 is as near as training images are", ylim=(0.8, 2.5))
    panes[0].legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    command_line.run_script(main)
