"""Draw pictures from a trained model: python sample.py --workdir runs/digits --out out --num 100 [--label 3] …

Writes samples.npz (arr_0: uint8 [n, h, w, c], 0 … 255; arr_1: labels; provenance) and grid.png into --out.
"""

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from diffjax import cli, draw, loading, panel
from diffjax.errors import UserError
from diffjax.evaluation import animation, grid, labelled_grid, strip, write_png
from diffjax.files import check_writable, write_whole

EACH = 4  # samples of each setting of a sweep

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
SWEEP = flags.DEFINE_multi_string(
    "sweep",
    [],
    "Draw one picture, sweep.png, over one or two of: settings of the sampler and of guidance, label, prompt, seed, "
    "numbers; as --sweep guidance=1,2,4 --sweep steps=5,10; --num is then of each.",
)


def main() -> None:
    """Everything that can be known is checked before anything is written or compiled."""
    workdir, out, asked = cli.folder("workdir"), cli.folder("out"), flags.FLAGS
    check_writable(out, "--out")
    loaded = loading.load(workdir, ema=asked.ema, step=cli.step())
    wanted = panel.Asked(
        cli.chosen(loaded[3].config["sample"]),
        asked.seed,
        LABEL.value,
        PROMPT.value,
        NEGATIVE.value,
        SKETCH.value,
        NUMBER.value,
    )
    if SWEEP.present:
        vary(out, loaded, wanted)
    else:
        draw_samples(out, loaded, wanted)


def draw_samples(out: Path, loaded: loading.Loaded, wanted: panel.Asked) -> None:
    """The samples, as numbers and as pictures."""
    info, ready = loaded[3], panel.ready(loaded, wanted, NUM.value)
    images, labels = ready.images(NUM.value, flags.FLAGS.batch), ready.labels
    words = {name: told for name in ("prompt", "negative") if (told := getattr(wanted, name)) is not None}
    source = {**wanted.settings, **words, "seed": wanted.seed, "config": info.config_hash, "step": info.step}
    write_samples(out, images, labels, {**source, "ema": info.ema})
    shown = grid(images[:100], min(10, len(images)))
    if labels is not None and wanted.label is None:
        shown = labelled_grid(images[:100], labels[:100], info.facts.class_names, 12)
    write_png(out / "grid.png", shown)
    if TRAJECTORY.value or ANIMATE.value:
        write_way(out, *draw.trajectory(ready.painter, ready.root, min(NUM.value, 8), ready.cond))
    print(f"{NUM.value} samples are in {out / 'samples.npz'}, the pictures beside them", file=sys.stderr)


def vary(out: Path, loaded: loading.Loaded, wanted: panel.Asked) -> None:
    """One picture of samples over one or two settings."""
    for flag in ("trajectory", "animate"):
        if flags.FLAGS[flag].present:
            raise UserError(f"--{flag}: is of one setting, and --sweep draws many; leave one of the two out")
    each = NUM.value if NUM.present else EACH
    write_png(out / "sweep.png", panel.panel(loaded, wanted, SWEEP.value, each, flags.FLAGS.batch))
    print(f"{each} samples of each are in {out / 'sweep.png'}, all from the same keys", file=sys.stderr)


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
