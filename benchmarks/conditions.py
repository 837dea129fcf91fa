"""What conditions of a model of digits do: python benchmarks/conditions.py --workdir runs/conditions --allow_imports

Of a model that knows text: whether the digit that is named in a prompt is drawn, and whether each trait moves what it
names. Of one that knows sketches: whether its strokes follow them. Of any: the Fréchet ratio and the accuracy of the
label under each part alone. It prints one table, for docs/results.md.

python train.py --config examples/digits_text/config_conditions.py --workdir runs/conditions
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import numpy as np
from absl import flags
from jaxtyping import UInt8
from scoring import accuracy, frechet_ratio

from diffjax import reports
from diffjax.commands import command_line, evaluation_subject, image_sampler
from diffjax.conditions import fill_condition
from diffjax.data import byte_tokenizer
from diffjax.data.condition_batches import build_parts, split_conditions
from diffjax.data.condition_parts import sketch
from diffjax.evaluation.pixels import fractions_like
from diffjax.experiment import data_spec
from diffjax.nets.condition_encoders import Picture, Text
from examples.digits_text.attributes import measure
from examples.digits_text.captions import WORDS, distinct_prompts, parse_caption, write_caption

command_line.define_sampling_flags()
PROMPTS = flags.DEFINE_integer("prompts", 200, "Prompts of the first figure.")
ABOUT = flags.DEFINE_list("about", [], "Combinations that training has not seen, as 'bold three,thin seven'.")
PICTURES = flags.DEFINE_string("pictures", "", "Folder for pictures of prompts and sketches.")
SHOWN = 12  # prompts or sketches of a picture
EACH, PAIRS, ROUNDS = 5, 20, 5  # pictures of a prompt; pairs of a trait and a digit; draws of a Fréchet ratio
BATCH = 500


class Row(NamedTuple):
    """One line of the table."""

    name: str
    value: str
    asked: str


def main() -> None:
    """One row per figure."""
    workdir, asked = command_line.folder_flag("workdir"), flags.FLAGS
    model = evaluation_subject.open_subject(
        workdir, asked.ema, command_line.step_choice(), 1_000_000, allow_imports=asked.allow_imports
    )
    painter = model.build_sampler(command_line.sampler_settings(vars(model.info.config.sample)))
    kinds = {type(each) for each in model.info.net.conditions}
    print("| figure | found | asked for |\n|---|---|---|")
    for row in [
        *(of_text(model, painter) if Text in kinds else ()),
        *(of_sketches(model, painter) if Picture in kinds else ()),
        *marginals(model, painter),
    ]:
        print(f"| {row.name} | {row.value} | {row.asked or '—'} |", flush=True)


def pictures(
    painter: image_sampler.ImageSampler, count: int, given: dict[str, Any], seed: int = 0
) -> UInt8[np.ndarray, "n h w c"]:
    """So many pictures under these parts of a condition, which are one for each."""
    cond = fill_condition(painter.net.null_cond, count, given)
    return image_sampler.sample_images(painter, jax.random.key(seed), count, min(BATCH, count), cond)


def of_prompts(painter: image_sampler.ImageSampler, told: list[str], seed: int = 0) -> UInt8[np.ndarray, "n h w c"]:
    """One picture for each of these texts."""
    encoder = next(each for each in painter.net.conditions if isinstance(each, Text))
    return pictures(painter, len(told), {encoder.part: byte_tokenizer.encode(told, encoder.shape[0])}, seed)


def classes(
    model: evaluation_subject.EvaluationSubject, images: UInt8[np.ndarray, "n h w c"], labels: np.ndarray
) -> float:
    """The share of pictures that a classifier takes for these labels."""
    return accuracy(model, fractions_like(images, model.splits), labels)


def of_text(model: evaluation_subject.EvaluationSubject, painter: image_sampler.ImageSampler) -> Iterator[Row]:
    """The digit of prompts, and what each trait moves."""
    told = distinct_prompts(PROMPTS.value, ABOUT.value, seed=1)
    every = [each for each in told for _ in range(EACH)]
    images, digits = of_prompts(painter, every), np.array([parse_caption(each).digit for each in every], np.int32)
    what = f"of combinations left out ({', '.join(ABOUT.value)})" if ABOUT.value else f"of {len(told)} prompts"
    if PICTURES.value:
        rows = np.repeat(np.arange(len(told)), EACH)[: SHOWN * EACH]
        shown = reports.labelled_grid(images[: len(rows)], rows, told, EACH)
        reports.write_png(Path(PICTURES.value) / "conditions_prompts.png", shown)
    yield Row(f"the digit {what} is drawn", f"{classes(model, images, digits):.3f}", "0.90" if ABOUT.value else "0.97")
    for name, (low, high) in WORDS.items():
        yield Row(f"{name}: {high} is more than {low}", f"{moved(painter, name, low, high):.3f}", "0.90")
    if ABOUT.value:
        share = np.mean([moved(painter, *apart(text)) for text in ABOUT.value])
        yield Row("what was left out is further to its side than its opposite", f"{share:.3f}", "0.80")


def apart(combination: str) -> tuple[str, str, str, range]:
    """The first trait of a combination, its low end and its high end, and the digit."""
    digit, traits = parse_caption(combination)
    name = next(iter(traits))
    low, high = WORDS[name]
    return name, low, high, range(digit, digit + 1)


def moved(painter: image_sampler.ImageSampler, name: str, low: str, high: str, digits: range = range(10)) -> float:
    """The share of pairs, of one digit and from one key, of which the picture of the higher trait measures higher.

    Of real pictures, which are called by their measures, it is 1.
    """
    found = []
    for trait in (low, high):
        told = [write_caption(digit, {name: trait}) for digit in digits for _ in range(PAIRS * 10 // len(digits))]
        found.append(measure(of_prompts(painter, told), 256)[name])
    return float((found[1] > found[0]).mean())


def of_sketches(model: evaluation_subject.EvaluationSubject, painter: image_sampler.ImageSampler) -> Iterator[Row]:
    """How far the strokes of samples are those of sketches of test images, with the label and without."""
    data = model.info.config.data
    dataset = data_spec.open_configured(data)
    (part,) = build_parts([sketch()], dataset)
    given = split_conditions(dataset, "test", None, (part,))
    sketches, labels = np.asarray(given[part.name].value), np.asarray(given["label"])
    parts = {part.name: sketches}
    images = pictures(painter, len(labels), parts)
    if PICTURES.value:
        drawn = (255 * sketches[: 2 * SHOWN]).astype(np.uint8)
        shown = reports.side_by_side(drawn, images[: len(drawn)], SHOWN, names=("sketch", "sample"))
        reports.write_png(Path(PICTURES.value) / "conditions_sketches.png", shown)
    yield Row("intersection over union with the sketch", f"{overlap(part, images, sketches, 255):.3f}", "0.80")
    real = dataset.arrays("test")[0]
    yield Row("the same, of the picture that it was drawn from", f"{overlap(part, real, sketches, 16):.3f}", "")
    if model.info.facts.classes and model.info.config.model.conditional:
        images = pictures(painter, len(labels), {**parts, "label": labels})
        yield Row("the label that was given too is drawn", f"{classes(model, images, labels):.3f}", "0.97")


def overlap(part: Any, images: UInt8[np.ndarray, "n h w c"], sketches: np.ndarray, top: int) -> float:
    """The mean over pictures of |A ∩ B| / |A ∪ B|, A the pixels of the picture's own strokes, B those that were given.

    `top` is the level of white.
    """
    levels = np.rint(images.astype(np.float64) * 16 / top).astype(np.uint8)
    own = np.stack([part.make(image, 0) for image in levels]) > 0
    both, either = own & (sketches > 0), own | (sketches > 0)
    return float((both.sum((1, 2, 3)) / np.maximum(either.sum((1, 2, 3)), 1)).mean())


def marginals(model: evaluation_subject.EvaluationSubject, painter: image_sampler.ImageSampler) -> Iterator[Row]:
    """The Fréchet ratio under each part alone, of test images, and under none; and the label's accuracy."""
    data = model.info.config.data
    dataset = data_spec.open_configured(data)
    rows = dataset.split("test").sample_indices(360)
    known = split_conditions(dataset, "test", rows, data_spec.parse_parts(data.parts, dataset))
    every = known if isinstance(known, dict) else {"label": known}
    null = painter.net.null_cond
    heard = [name for name in every if name in (null if isinstance(null, dict) else {"label": null})]
    for name in ["nothing", *heard, *(["everything"] if len(heard) > 1 else [])]:
        parts = {"nothing": [], "everything": heard}.get(name, [name])
        given = {part: np.asarray(getattr(every[part], "value", every[part])) for part in parts}
        rounds = [pictures(painter, len(rows), given, seed) for seed in range(ROUNDS)]
        yield Row(
            f"Fréchet ratio, given {name}",
            spread([frechet_ratio(model, fractions_like(images, model.splits)) for images in rounds]),
            "",
        )
        if parts:
            right = [classes(model, images, np.asarray(every["label"])) for images in rounds]
            yield Row(f"accuracy, given {name}", spread(right), "")


def spread(values: list[float]) -> str:
    """Their mean, and its standard error."""
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.3f}"


if __name__ == "__main__":
    command_line.run_script(main)
