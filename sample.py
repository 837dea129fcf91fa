"""Draw pictures from a trained model: python sample.py --workdir runs/digits --out out --num 100 [--label 3] …

Writes samples.npz (arr_0: uint8 [n, h, w, c], 0 … 255; arr_1: labels; provenance) and grid.png into --out.
"""

import io
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from diffjax import asking, cli, conditions, draw, loading
from diffjax.evaluation import animation, grid, labelled_grid, strip, write_png
from diffjax.files import check_writable, write_whole

cli.sampling_flags()
flags.adopt_module_key_flags(cli)  # so that --help lists them
OUT = flags.DEFINE_string("out", None, "Folder for samples.npz and the pictures.")
NUM = flags.DEFINE_integer("num", 100, "How many pictures.", lower_bound=1)
LABEL = flags.DEFINE_integer("label", None, "Class of all pictures; by default drawn with the frequencies of training.")
PROMPT = flags.DEFINE_string(
    "prompt", None, "What the pictures are of, in words, for a model that was trained on text."
)
NEGATIVE = flags.DEFINE_string("negative", None, "What they are not of, in words: guidance leads away from it.")
SKETCH = flags.DEFINE_string("sketch", None, "Drawing that they follow, white strokes on black.")
NUMBER = flags.DEFINE_multi_string("number", [], "Any other part that the model was trained on, as slant=0.5.")
TRAJECTORY = flags.DEFINE_boolean("trajectory", False, "Also draw the way from noise to picture, as strip.png.")
ANIMATE = flags.DEFINE_boolean("animate", False, "Also draw it as animation.gif.")


def main() -> None:
    """Everything that can be known is checked before anything is written or compiled."""
    workdir, out, asked = cli.folder("workdir"), cli.folder("out"), flags.FLAGS
    check_writable(out, "--out")
    denoise, noise, order, info = loading.load(workdir, ema=asked.ema, step=cli.step())
    shares = info.facts.label_frequencies if info.conditional else ()
    draw.check_label(LABEL.value, len(shares))
    settings = cli.chosen(info.config["sample"])
    parts = asking.parts(info.net, prompt=PROMPT.value, sketch=SKETCH.value, numbers=NUMBER.value)
    negative = {} if NEGATIVE.value is None else asking.said(info.net, NEGATIVE.value, "--negative")
    painter = draw.painter(denoise, noise, order, info.net, info.facts, settings, negative)
    root = jax.random.key(asked.seed)
    labels = None if parts and LABEL.value is None else draw.labels(root, NUM.value, shares, LABEL.value)
    cond = asked_for(info.net, labels, parts)
    images = draw.images(painter, root, NUM.value, asked.batch, cond)
    words = {name: told for name, told in (("prompt", PROMPT.value), ("negative", NEGATIVE.value)) if told is not None}
    source = {**settings, **words, "seed": asked.seed, "config": info.config_hash, "step": info.step, "ema": info.ema}
    write_samples(out, images, labels, source)
    shown = grid(images[:100], min(10, len(images)))
    if labels is not None and LABEL.value is None:
        shown = labelled_grid(images[:100], labels[:100], info.facts.class_names, 12)
    write_png(out / "grid.png", shown)
    if TRAJECTORY.value or ANIMATE.value:
        write_way(out, *draw.trajectory(painter, root, min(NUM.value, 8), cond))
    print(f"{NUM.value} samples are in {out / 'samples.npz'}, the pictures beside them", file=sys.stderr)


def asked_for(net: Any, labels: np.ndarray | None, parts: dict[str, Any]) -> Any:
    """The condition of these labels and parts; what is not asked for is left to the model."""
    given = parts if labels is None else {conditions.LABEL: labels, **parts}
    return conditions.completed(net.null_cond, NUM.value, given)


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
