"""Draw pictures from a trained model: python sample.py --workdir runs/digits --out out --num 100 [--label 3] …
Or edit some: python sample.py --workdir runs/digits --out out --edit inpaint --image in.png --mask mask.png --num 8 …

Writes samples.npz (arr_0: uint8 [n, h, w, c], 0 … 255; arr_1: labels; provenance) and grid.png into --out; of an edit
also each sample by itself, and of an interpolation strip.png and animation.gif (docs/editing.md).
"""

import io
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from diffjax import applications, asking, cli, conditions, draw, editing, loading, ways
from diffjax.errors import UserError
from diffjax.evaluation import animation, grid, labelled_grid, strip, write_png
from diffjax.evaluation.figures import edited
from diffjax.files import check_writable, write_whole

cli.sampling_flags()
cli.editing_flags()
flags.adopt_module_key_flags(cli)  # so that --help lists them
OUT = flags.DEFINE_string("out", None, "Folder for samples.npz and the pictures.")
NUM = flags.DEFINE_integer("num", 100, "How many pictures; 8 of an edit by default.", lower_bound=1)
LABEL = flags.DEFINE_integer("label", None, "Class of all pictures; by default drawn with the frequencies of training.")
PROMPT = flags.DEFINE_string(
    "prompt", None, "What the pictures are of, in words, for a model that was trained on text."
)
NEGATIVE = flags.DEFINE_string("negative", None, "What they are not of, in words: guidance leads away from it.")
SKETCH = flags.DEFINE_string("sketch", None, "Drawing that they follow, white strokes on black.")
NUMBER = flags.DEFINE_multi_string("number", [], "Any other part that the model was trained on, as slant=0.5.")
TRAJECTORY = flags.DEFINE_boolean("trajectory", False, "Also draw the way from noise to picture, as strip.png.")
ANIMATE = flags.DEFINE_boolean("animate", False, "Also draw it as animation.gif.")
FEW, STEPS = 8, 50  # edits, and their steps at least, unless as many are asked for


class Model(NamedTuple):
    """What was loaded, and what is asked of it for all pictures."""

    painter: draw.Painter
    info: loading.Info
    shares: tuple[float, ...]
    parts: dict[str, Any]
    source: dict[str, Any]  # where the samples come from


def main() -> None:
    """Everything that can be known is checked before anything is written or compiled."""
    workdir, out, asked = cli.folder("workdir"), cli.folder("out"), cli.editing()
    check_writable(out, "--out")
    model = loaded(workdir)
    root = jax.random.key(flags.FLAGS.seed)
    if flags.FLAGS.edit is None:
        sampled(out, model, root)
    else:
        changed(out, model, root, flags.FLAGS.edit, asked)


def loaded(workdir: Path) -> Model:
    """The model, and how it is asked to draw."""
    asked = flags.FLAGS
    denoise, noise, order, info = loading.load(workdir, ema=asked.ema, step=cli.step())
    shares = info.facts.label_frequencies if info.conditional else ()
    draw.check_label(LABEL.value, len(shares))
    settings = cli.chosen(info.config["sample"])
    if asked.edit is not None and order.width == 1 and not asked["steps"].present:
        settings["steps"] = max(settings["steps"], STEPS)
    parts = asking.parts(info.net, prompt=PROMPT.value, sketch=SKETCH.value, numbers=NUMBER.value)
    negative = {} if NEGATIVE.value is None else asking.said(info.net, NEGATIVE.value, "--negative")
    painter = draw.painter(denoise, noise, order, info.net, info.facts, settings, negative)
    words = {name: told for name, told in (("prompt", PROMPT.value), ("negative", NEGATIVE.value)) if told is not None}
    source = {**settings, **words, "seed": asked.seed, "config": info.config_hash, "step": info.step, "ema": info.ema}
    return Model(painter, info, shares, parts, source)


def sampled(out: Path, model: Model, root: Any) -> None:
    """Pictures from nothing."""
    labels = None if model.parts and LABEL.value is None else draw.labels(root, NUM.value, model.shares, LABEL.value)
    cond = asked_for(model.info.net, NUM.value, labels, model.parts)
    images = draw.images(model.painter, root, NUM.value, flags.FLAGS.batch, cond)
    write_samples(out, images, labels, model.source)
    shown = grid(images[:100], min(10, len(images)))
    if labels is not None and LABEL.value is None:
        shown = labelled_grid(images[:100], labels[:100], model.info.facts.class_names, 12)
    write_png(out / "grid.png", shown)
    if TRAJECTORY.value or ANIMATE.value:
        write_way(out, *draw.trajectory(model.painter, root, min(NUM.value, 8), cond))
    print(f"{NUM.value} samples are in {out / 'samples.npz'}, the pictures beside them", file=sys.stderr)


def changed(out: Path, model: Model, root: Any, name: str, asked: dict[str, Any]) -> None:
    """Pictures from pictures; of a class only if that is asked for."""
    if TRAJECTORY.value or ANIMATE.value:
        flag = "trajectory" if TRAJECTORY.value else "animate"
        raise UserError(f"--{flag}: shows the way from noise to a picture, and not that of an edit; leave it out")
    own_rule, net = bool(flags.FLAGS["sampler"].present), model.info.net
    made = applications.made(name, applications.Asked(model.info.facts, own_rule=own_rule, **asked))
    count = NUM.value if flags.FLAGS["num"].present else FEW
    labels = None if LABEL.value is None else np.full(count, LABEL.value, np.int32)
    cond = asked_for(net, count, labels, model.parts)
    if isinstance(made, ways.Way):
        images, about = gone(out, made, model, root, count, (cond, far_end(model, count, labels, asked)))
    else:
        editing.check(made, model.painter, cond)
        say(made.told)
        images = editing.images(made, model.painter, root, count, flags.FLAGS.batch, cond)
        about = made.about
        write_png(out / "grid.png", edited(editing.panels(made, images), images[:64]))
    write_samples(out, images, labels, {**model.source, "edit": name, **asked, **about})
    for place, image in enumerate(images):
        write_png(out / "samples" / f"{place:0{len(str(count - 1))}}.png", image)
    print(f"{count} samples are in {out / 'samples.npz'}, the pictures beside them", file=sys.stderr)


def gone(out: Path, way: ways.Way, model: Model, root: Any, count: int, ends: tuple[Any, Any]) -> tuple[Any, Any]:
    """The pictures of a way, drawn, and written as a strip and as an animation there and back; and how."""
    given = {name: flags.FLAGS[name].value for name in ("sampler", "grid", "steps") if flags.FLAGS[name].present}
    painter = ways.painter_for(way, model.painter, given)
    ways.check(way, painter, count, *ends)
    say(way.told)
    images = ways.images(way, painter, root, count, flags.FLAGS.batch, *ends)
    write_png(out / "strip.png", strip(*ways.stations(way, images), caption="share"))
    animation(out / "animation.gif", np.concatenate([images, images[-2::-1]])[:, None], columns=1, last_ms=800)
    return images, ways.about(way, painter)


def far_end(model: Model, count: int, labels: np.ndarray | None, asked: dict[str, Any]) -> Any:
    """The condition at the end of a way: as at its beginning, but for what is asked for there."""
    label, words, net = asked.get("label_to"), asked.get("prompt_to"), model.info.net
    draw.check_label(label, len(model.shares), "--label_to")
    labels = labels if label is None else np.full(count, label, np.int32)
    more = {} if words is None else asking.said(net, words, "--prompt_to")
    return asked_for(net, count, labels, {**model.parts, **more})


def asked_for(net: Any, count: int, labels: np.ndarray | None, parts: dict[str, Any]) -> Any:
    """The condition of these labels and parts; what is not asked for is left to the model."""
    given = parts if labels is None else {conditions.LABEL: labels, **parts}
    return conditions.completed(net.null_cond, count, given)


def say(lines: Any) -> None:
    """What was done to the inputs."""
    for line in lines:
        print(line, file=sys.stderr)


def write_samples(out: Path, images: np.ndarray, labels: np.ndarray | None, source: dict[str, Any]) -> None:
    """samples.npz in the form that public evaluators read, with where the samples come from."""
    arrays: dict[str, Any] = {"arr_0": images, "provenance": np.array(json.dumps(source))}
    if labels is not None:
        arrays["arr_1"] = labels
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_whole(out / "samples.npz", lambda file: file.write(buffer.getvalue()))


def write_way(out: Path, frames: np.ndarray, clock: list[float]) -> None:
    """All states of the first pictures, as a strip and as an animation."""
    if TRAJECTORY.value:
        write_png(out / "strip.png", strip(*draw.thinned(frames, clock), caption="clock"))
    if ANIMATE.value:
        animation(out / "animation.gif", frames, columns=frames.shape[1])


if __name__ == "__main__":
    cli.run(main)
