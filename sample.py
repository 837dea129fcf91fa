"""Draw pictures from a trained model: python sample.py --workdir runs/digits --out out --num 100 [--label 3] …
Or edit some: python sample.py --workdir runs/digits --out out --edit inpaint --image in.png --mask mask.png …

Writes into --out samples.npz (arr_0: uint8 [n, h, w, c], 0 … 255; arr_1: labels; provenance), grid.png and each
sample as samples/N.png; of an interpolation strip.png and animation.gif in place of the grid (docs/editing.md).
"""

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from diffjax import loss
from diffjax.commands import (
    command_line,
    condition_inputs,
    edit_requests,
    edit_run,
    image_grid_sweep,
    image_sampler,
    interpolation_run,
)
from diffjax.errors import UserError
from diffjax.experiment import specs, trained_model
from diffjax.reports import animation, grid, labelled_grid, strip, write_png
from diffjax.reports.edit_figures import edited
from diffjax.utils.files import check_writable, write_whole

EACH = 4  # samples of each setting of a sweep
MOST_SINGLES = 1_000  # samples that are also written as single files, unless --singles says so
FEW, STEPS = 8, 50  # edits, and their steps at least, unless as many are asked for

command_line.sampling_flags()
command_line.editing_flags()
flags.adopt_module_key_flags(command_line)  # so that --help lists them
OUT = flags.DEFINE_string("out", None, "Folder for samples.npz and the pictures.")
NUM = flags.DEFINE_integer("num", 100, "How many pictures; 8 of an edit by default.", lower_bound=1)
LABEL = flags.DEFINE_string(
    "label", None, "Class of all pictures, by its name or its index; by default drawn with the frequencies of training."
)
PROMPT = flags.DEFINE_string(
    "prompt", None, "What the pictures are of, in words, for a model that was trained on text."
)
NEGATIVE = flags.DEFINE_string("negative", None, "What they are not of, in words: guidance leads away from it.")
SKETCH = flags.DEFINE_string("sketch", None, "Drawing that they follow, white strokes on black.")
NUMBER = flags.DEFINE_multi_string("number", [], "Any other part that the model was trained on, as slant=0.5.")
TRAJECTORY = flags.DEFINE_boolean("trajectory", False, "Also draw the way from noise to picture, as strip.png.")
ANIMATE = flags.DEFINE_boolean("animate", False, "Also draw it as animation.gif.")
SINGLES = flags.DEFINE_boolean(
    "singles", None, f"Write each sample as samples/N.png too; by default of up to {MOST_SINGLES:,} samples."
)
SWEEP = flags.DEFINE_multi_string(
    "sweep",
    [],
    "Draw one picture, sweep.png, over one or two of: settings of the sampler and of guidance, label, prompt, seed, "
    "numbers; as --sweep guidance=1,2,4 --sweep steps=5,10; --num is then of each.",
)


def main() -> None:
    """Everything that can be known is checked before anything is written or compiled."""
    workdir, out, asked, edit = (
        command_line.folder("workdir"),
        command_line.folder("out"),
        flags.FLAGS,
        command_line.editing(),
    )
    check_writable(out, "--out")
    loaded = trained_model.load(workdir, ema=asked.ema, step=command_line.step())
    wanted = image_grid_sweep.Asked(
        command_line.chosen(loaded[3].config["sample"]),
        asked.seed,
        None if LABEL.value is None else image_grid_sweep.label_index(loaded[3], LABEL.value),
        PROMPT.value,
        NEGATIVE.value,
        SKETCH.value,
        NUMBER.value,
    )
    if asked.edit is not None:
        change(out, loaded, wanted, asked.edit, edit)
    elif SWEEP.present:
        vary(out, loaded, wanted)
    else:
        draw_samples(out, loaded, wanted)


def draw_samples(out: Path, loaded: trained_model.Loaded, wanted: image_grid_sweep.Asked) -> None:
    """The samples, as numbers and as pictures."""
    info, ready = loaded[3], image_grid_sweep.ready(loaded, wanted, NUM.value)
    images, labels = ready.images(NUM.value, flags.FLAGS.batch), ready.labels
    write_samples(out, images, labels, source_of(info, wanted))
    shown = grid(images[:100], min(10, len(images)))
    if labels is not None and wanted.label is None:
        shown = labelled_grid(images[:100], labels[:100], info.facts.class_names, 12)
    write_png(out / "grid.png", shown)
    write_singles(out / "samples", images)
    if TRAJECTORY.value or ANIMATE.value:
        write_way(out, *image_sampler.trajectory(ready.painter, ready.root, min(NUM.value, 8), ready.cond))
    print(f"{NUM.value} samples are in {out / 'samples.npz'}, the pictures beside them", file=sys.stderr)


def vary(out: Path, loaded: trained_model.Loaded, wanted: image_grid_sweep.Asked) -> None:
    """One picture of samples over one or two settings."""
    for flag in ("trajectory", "animate", "singles"):
        if flags.FLAGS[flag].present:
            raise UserError(f"--{flag}: is of one setting, and --sweep draws many; leave one of the two out")
    each = NUM.value if NUM.present else EACH
    write_png(out / "sweep.png", image_grid_sweep.panel(loaded, wanted, SWEEP.value, each, flags.FLAGS.batch))
    print(f"{each} samples of each are in {out / 'sweep.png'}, all from the same keys", file=sys.stderr)


def change(
    out: Path, loaded: trained_model.Loaded, wanted: image_grid_sweep.Asked, name: str, asked: dict[str, Any]
) -> None:
    """Pictures from pictures; of a class only if that is asked for."""
    for flag in ("trajectory", "animate", "sweep"):
        if flags.FLAGS[flag].present:
            raise UserError(f"--{flag}: is of pictures from nothing, and --edit is not; leave one of the two out")
    info, given = loaded[3], {each: flags.FLAGS[each].present for each in ("sampler", "grid", "steps")}
    about_model = {"own_rule": bool(given["sampler"]), "fills": taught_to_fill(info)}
    if "label_to" in asked:
        asked = {**asked, "label_to": image_grid_sweep.label_index(info, asked["label_to"], "--label_to")}
    made = edit_requests.made(name, edit_requests.Asked(info.facts, **about_model, **asked))
    count = NUM.value if NUM.present else FEW
    if not given["steps"] and loaded[2].width == 1:
        wanted = wanted.but("steps", max(wanted.settings["steps"], STEPS))
    ready = image_grid_sweep.ready(loaded, wanted, count, draws_labels=False)
    if isinstance(made, interpolation_run.Way):
        images, about = go(out, made, ready, far_end(loaded, wanted, count, asked), given)
    else:
        edit_run.check(made, ready.painter, ready.cond)
        say(made.told)
        images = edit_run.images(made, ready.painter, ready.root, count, flags.FLAGS.batch, ready.cond)
        about = made.about
        write_png(out / "grid.png", edited(edit_run.panels(made, images), images[:64]))
    labels = None if isinstance(made, interpolation_run.Way) else ready.labels
    write_samples(out, images, labels, {**source_of(info, wanted), "edit": name, **asked, **about})
    write_singles(out / "samples", images)
    print(f"{count} samples are in {out / 'samples.npz'}, the pictures beside them", file=sys.stderr)


def taught_to_fill(info: trained_model.Info) -> bool:
    """Whether training gave the net parts of pictures as they are."""
    return specs.arguments(loss, info.config["train"]["loss"], "train.loss").get("given", 0) > 0


def go(
    out: Path, way: interpolation_run.Way, ready: image_grid_sweep.Ready, far: Any, given: dict[str, int]
) -> tuple[Any, dict[str, Any]]:
    """The pictures of a way, drawn, and written as a strip and as an animation there and back; and how."""
    count, asked = NUM.value if NUM.present else FEW, {name: flags.FLAGS[name].value for name in given if given[name]}
    painter = interpolation_run.painter_for(way, ready.painter, asked)
    interpolation_run.check(way, painter, count, ready.cond, far)
    say(way.told)
    images = interpolation_run.images(way, painter, ready.root, count, flags.FLAGS.batch, ready.cond, far)
    write_png(out / "strip.png", strip(*interpolation_run.stations(way, images), caption="share"))
    animation(out / "animation.gif", np.concatenate([images, images[-2::-1]])[:, None], columns=1, last_ms=800)
    return images, interpolation_run.about(way, painter)


def far_end(loaded: trained_model.Loaded, wanted: image_grid_sweep.Asked, count: int, asked: dict[str, Any]) -> Any:
    """The condition at the end of a way: as at its beginning, but for what is asked for there."""
    label, words = asked.get("label_to"), asked.get("prompt_to")
    if words is not None:
        condition_inputs.said(loaded[3].net, words, "--prompt_to")
        wanted = wanted.but("prompt", words)
    wanted = wanted if label is None else wanted.but("label", label)
    return image_grid_sweep.ready(loaded, wanted, count, draws_labels=False).cond


def source_of(info: trained_model.Info, wanted: image_grid_sweep.Asked) -> dict[str, Any]:
    """Where samples come from."""
    words = {name: told for name in ("prompt", "negative") if (told := getattr(wanted, name)) is not None}
    run = {"config": info.config_hash, "step": info.step, "ema": info.ema}
    return {**wanted.settings, **words, "seed": wanted.seed, **run}


def say(lines: Sequence[str]) -> None:
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


def write_singles(folder: Path, images: np.ndarray) -> None:
    """Each sample as N.png, unless there are many and --singles does not ask for them.

    N has as many digits as the largest. Pictures of an earlier call that stay beside them are reported.
    """
    count = len(images)
    wanted = count <= MOST_SINGLES if SINGLES.value is None else SINGLES.value
    names = [f"{place:0{len(str(count - 1))}}.png" for place in range(count)] if wanted else []
    for name, image in zip(names, images, strict=False):
        write_png(folder / name, image)
    if not wanted and SINGLES.value is None:
        say([f"more than {MOST_SINGLES:,} samples are not written as single PNGs; --singles writes them too"])
    numbered = {path.name for path in folder.glob("*.png") if path.stem.isdecimal()}
    if old := sorted(numbered - {*names}):
        say([f"{folder}: {len(old)} pictures, such as {old[0]}, are of an earlier call; delete them if you want none"])


def write_way(out: Path, frames: np.ndarray, clock: list[float]) -> None:
    """All states of the first pictures, as a strip and as an animation."""
    if TRAJECTORY.value:
        write_png(out / "strip.png", strip(*image_sampler.thinned(frames, clock), caption="clock"))
    if ANIMATE.value:
        animation(out / "animation.gif", frames, columns=frames.shape[1])


if __name__ == "__main__":
    command_line.run(main)
