"""How often emoji have the modifiers that their caption names.

python -m examples.emoji_text.agreement --workdir runs/emoji

A classifier of gender, skin tone and hair, trained on the real training pictures with augmentation, judges real
pictures of test (combinations that training does not see), samples of captions of training, and samples of captions of
test. `all` is the share of pictures of which it reads every modifier as the caption has it. Prints a table, and writes
it with a sheet of samples into WORKDIR/agreement.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, UInt8

from diffjax.commands.image_sampler import build_image_sampler, sample_images
from diffjax.commands.training_data import TrainingData, open_data
from diffjax.data.split_rules import recorded_rule
from diffjax.errors import UserError, warn
from diffjax.evaluation.precision_recall import nearest
from diffjax.experiment import trained_model
from diffjax.experiment.build import ModelParts
from diffjax.experiment.trained_model import TrainedModel
from diffjax.reports import grid, write_png
from diffjax.utils.files import write_atomically
from examples.emoji_text.modifier_classifier import MODIFIERS, STEPS, Classifier, train_classifier

PEOPLE = 256  # captions of training that are drawn, at most
PER_CAPTION = 4  # samples of each caption of test
BATCH = 64


class Row(NamedTuple):
    """Shares of pictures with the modifiers of their captions, and the share of copies of training pictures."""

    name: str
    pictures: int
    modifiers: dict[str, float]
    all: float
    copies: float


class Pictures(NamedTuple):
    """Pictures, and the modifiers that their captions name."""

    images: UInt8[np.ndarray, "n h w 3"]
    modifiers: dict[str, list[str]]


def main() -> int:
    """Parse the flags, draw, measure, print and write; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workdir", required=True, help="folder of the run")
    parser.add_argument("--guidance", type=float, default=2.0, help="scale of guidance; by default 2")
    parser.add_argument("--per_caption", type=int, default=PER_CAPTION, help="samples of a caption of test")
    parser.add_argument("--captions", type=int, default=PEOPLE, help="captions of training that are drawn")
    parser.add_argument("--classifier_steps", type=int, default=STEPS, help="training steps of the classifier")
    values = parser.parse_args()
    try:
        rows = measure(
            Path(values.workdir), values.guidance, values.captions, values.per_caption, values.classifier_steps
        )
    except UserError as mistake:
        warn(str(mistake))
        return 2
    print(table(rows))
    return 0


def measure(workdir: Path, guidance: float, captions: int, per_caption: int, classifier_steps: int) -> list[Row]:
    """The rows of the table: real pictures, samples of captions of training, and of test."""
    model = trained_model.load(workdir)
    data = open_data(model.info.config.data, recorded_rule(model.info.splits))
    train, test = (real_pictures(data, split) for split in ("train", "test"))
    classifier = train_classifier(train.images, train.modifiers, classifier_steps)
    people = np.flatnonzero([tone != "none" for tone in train.modifiers["tone"]])
    chosen = people[np.unique(np.linspace(0, len(people) - 1, captions).round().astype(int))]
    repeated = np.repeat(np.arange(len(test.images)), per_caption)
    drawn = {
        "captions of training": draw(model, data, "train", chosen, guidance),
        "captions of test": draw(model, data, "test", repeated, guidance),
    }
    near = np.quantile(_distances(test.images, train.images), 0.01)
    rows = [judge("real, test", test, classifier, _distances(test.images, train.images) <= near)]
    for (name, images), pictures, numbers in zip(drawn.items(), (train, test), (chosen, repeated), strict=True):
        modifiers = {key: [texts[number] for number in numbers] for key, texts in pictures.modifiers.items()}
        copies = _distances(images, train.images) <= near
        rows.append(judge(name, Pictures(images, modifiers), classifier, copies))
        write_png(workdir / "agreement" / f"{name.replace(' ', '_')}.png", grid(images[:160], 16))
    document = json.dumps([row._asdict() for row in rows], indent=1) + "\n"
    write_atomically(workdir / "agreement" / "agreement.json", lambda file: file.write(document.encode()))
    return rows


def real_pictures(data: TrainingData, split: str) -> Pictures:
    """All pictures of a split. Raises UserError for a set without the columns of modifiers."""
    source = data.dataset.split(split)
    missing = [name for name in MODIFIERS if name not in data.dataset.features]
    if missing:
        raise UserError(f"{data.dataset.name}: no column {missing[0]}; draw it by examples.emoji_text.make_pictures")
    rows = [source.features(number) for number in range(len(source))]
    return Pictures(data.dataset.arrays(split)[0], {name: [str(row[name]) for row in rows] for name in MODIFIERS})


def draw(
    model: TrainedModel, data: TrainingData, split: str, numbers: Sequence[int] | np.ndarray, guidance: float
) -> UInt8[np.ndarray, "n h w 3"]:
    """A sample for the caption of each of these pictures of a split."""
    info = model.info
    whole = data.examples(split, len(data.dataset.split(split)), info.net.null_cond).cond
    cond = jax.tree.map(lambda leaf: np.asarray(leaf)[np.asarray(numbers)], whole)
    settings = replace(info.config.sample, guidance=guidance)
    parts = ModelParts(model.noise, model.order, info.net)
    sampler = build_image_sampler(model.denoise, parts, info.data, settings)
    return sample_images(sampler, jax.random.key(0), len(numbers), BATCH, cond)


def judge(name: str, pictures: Pictures, classifier: Classifier, copies: Bool[np.ndarray, " n"]) -> Row:
    """How many pictures the classifier reads as their captions have them."""
    read = classifier.predict(pictures.images)
    right = {key: np.array(read[key]) == np.array(pictures.modifiers[key]) for key in MODIFIERS}
    shares = {key: float(flags.mean()) for key, flags in right.items()}
    return Row(name, len(copies), shares, float(np.all([*right.values()], axis=0).mean()), float(copies.mean()))


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table, with the ratio of each to real pictures."""
    head = ["pictures", "number", *MODIFIERS, "all", "all / real", "copies"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        shares = [f"{row.modifiers[name]:.3f}" for name in MODIFIERS]
        ratio = f"{row.all / max(rows[0].all, 1e-9):.2f}"
        lines.append([row.name, str(row.pictures), *shares, f"{row.all:.3f}", ratio, f"{row.copies:.1%}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _distances(images: UInt8[np.ndarray, "n h w 3"], train: UInt8[np.ndarray, "m h w 3"]) -> np.ndarray:
    """The distance of each picture to the nearest training picture."""
    flat, others = (pictures.reshape(len(pictures), -1) / 255 for pictures in (images, train))
    return nearest(flat, others)[0]


if __name__ == "__main__":
    raise SystemExit(main())
