"""Draw pictures from a trained model: python sample.py --workdir runs/digits --out out --num 100 [--label 3] …
Or edit some: python sample.py --workdir runs/digits --out out --edit inpaint --image in.png --mask mask.png …

Writes into --out samples.npz (arr_0: uint8 [n, h, w, c], 0 … 255; arr_1: labels; provenance), grid.png and each
sample as samples/N.png; of an interpolation strip.png and animation.gif in place of the grid (docs/editing.md).
"""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from diffjax import loss
from diffjax.commands import (
    command_line,
    condition_inputs,
    edit_inputs,
    edit_requests,
    edit_run,
    image_grid_sweep,
    image_sampler,
    interpolation_run,
)
from diffjax.commands.sample_files import MAX_SINGLES, write_samples, write_singles, write_trajectory
from diffjax.errors import UserError, tell
from diffjax.experiment import specs, trained_model
from diffjax.reports import animation, grid, labelled_grid, strip, write_png
from diffjax.reports.edit_figures import edit_figure
from diffjax.utils.files import check_writable

PER_CELL = 4  # samples of each setting of a sweep
INTERPOLATION_IMAGES, STEPS = 8, 50  # edits, and their steps at least, unless as many are asked for

command_line.define_sampling_flags()
command_line.define_edit_flags()
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
    "singles", None, f"Write each sample as samples/N.png too; by default of up to {MAX_SINGLES:,} samples."
)
SWEEP = flags.DEFINE_multi_string(
    "sweep",
    [],
    "Draw one picture, sweep.png, over one or two of: settings of the sampler and of guidance, label, prompt, seed, "
    "numbers; as --sweep guidance=1,2,4 --sweep steps=5,10; --num is then of each.",
)


def main() -> None:
    """Everything that can be known is checked before anything is written or compiled."""
    workdir, out, flag_values, edit = (
        command_line.folder_flag("workdir"),
        command_line.folder_flag("out"),
        flags.FLAGS,
        command_line.edit_settings(),
    )
    check_writable(out, "--out")
    loaded_model = trained_model.load(
        workdir, ema=flag_values.ema, step=command_line.step_choice(), allow_imports=flag_values.allow_imports
    )
    request = image_grid_sweep.SampleRequest(
        command_line.sampler_settings(asdict(loaded_model.info.config.sample)),
        flag_values.seed,
        None if LABEL.value is None else image_grid_sweep.label_index(loaded_model.info, LABEL.value),
        PROMPT.value,
        NEGATIVE.value,
        SKETCH.value,
        NUMBER.value,
    )
    if flag_values.edit is not None:
        draw_edit(out, loaded_model, request, flag_values.edit, edit)
    elif SWEEP.present:
        draw_grid(out, loaded_model, request)
    else:
        draw_samples(out, loaded_model, request)


def draw_samples(out: Path, loaded_model: trained_model.TrainedModel, request: image_grid_sweep.SampleRequest) -> None:
    """The samples, as numbers and as pictures."""
    info, ready = loaded_model.info, image_grid_sweep.prepare_request(loaded_model, request, NUM.value)
    images, labels = ready.images(NUM.value, flags.FLAGS.batch), ready.labels
    write_samples(out, images, labels, sample_provenance(info, request))
    picture = grid(images[:100], min(10, len(images)))
    if labels is not None and request.label is None:
        picture = labelled_grid(images[:100], labels[:100], info.facts.class_names, 12)
    write_png(out / "grid.png", picture)
    write_singles(out / "samples", images, SINGLES.value)
    if TRAJECTORY.value or ANIMATE.value:
        write_trajectory(
            out,
            *image_sampler.sample_trajectory(ready.sampler, ready.root, min(NUM.value, 8), ready.cond),
            as_strip=TRAJECTORY.value,
            animated=ANIMATE.value,
        )
    print(f"{NUM.value} samples are in {out / 'samples.npz'}, the pictures beside them", file=sys.stderr)


def draw_grid(out: Path, loaded_model: trained_model.TrainedModel, request: image_grid_sweep.SampleRequest) -> None:
    """One picture of samples over one or two settings."""
    for flag in ("trajectory", "animate", "singles"):
        if flags.FLAGS[flag].present:
            raise UserError(f"--{flag}: is of one setting, and --sweep draws many; leave one of the two out")
    per_cell = NUM.value if NUM.present else PER_CELL
    write_png(
        out / "sweep.png", image_grid_sweep.image_grid(loaded_model, request, SWEEP.value, per_cell, flags.FLAGS.batch)
    )
    print(f"{per_cell} samples of each are in {out / 'sweep.png'}, all from the same keys", file=sys.stderr)


def draw_edit(
    out: Path,
    loaded_model: trained_model.TrainedModel,
    request: image_grid_sweep.SampleRequest,
    name: str,
    edit_flags: dict[str, Any],
) -> None:
    """Pictures from pictures; of a class only if that is asked for."""
    for flag in ("trajectory", "animate", "sweep"):
        if flags.FLAGS[flag].present:
            raise UserError(f"--{flag}: is of pictures from nothing, and --edit is not; leave one of the two out")
    info, given_flags = (
        loaded_model.info,
        {flag_name: flags.FLAGS[flag_name].present for flag_name in ("sampler", "grid", "steps")},
    )
    about_model = {"own_rule": bool(given_flags["sampler"]), "fills": trained_to_inpaint(info)}
    if "label_to" in edit_flags:
        edit_flags = {
            **edit_flags,
            "label_to": image_grid_sweep.label_index(info, edit_flags["label_to"], "--label_to"),
        }
    edit_plan = edit_requests.build_edit(name, edit_inputs.EditRequest(info.facts, **about_model, **edit_flags))
    count = NUM.value if NUM.present else INTERPOLATION_IMAGES
    if not given_flags["steps"] and loaded_model.order.width == 1:
        request = request.with_value("steps", max(request.settings["steps"], STEPS))
    ready = image_grid_sweep.prepare_request(loaded_model, request, count, draws_labels=False)
    if isinstance(edit_plan, interpolation_run.Interpolation):
        images, about = draw_interpolation(
            out, edit_plan, ready, end_condition(loaded_model, request, count, edit_flags), given_flags
        )
    else:
        edit_run.check_edit(edit_plan, ready.sampler, ready.cond)
        tell(*edit_plan.notes)
        images = edit_run.draw_edit(edit_plan, ready.sampler, ready.root, count, flags.FLAGS.batch, ready.cond)
        about = edit_plan.about
        write_png(out / "grid.png", edit_figure(edit_run.preview_panels(edit_plan, images), images[:64]))
    labels = None if isinstance(edit_plan, interpolation_run.Interpolation) else ready.labels
    write_samples(out, images, labels, {**sample_provenance(info, request), "edit": name, **edit_flags, **about})
    write_singles(out / "samples", images, SINGLES.value)
    print(f"{count} samples are in {out / 'samples.npz'}, the pictures beside them", file=sys.stderr)


def trained_to_inpaint(info: trained_model.ModelInfo) -> bool:
    """Whether training gave the net parts of pictures as they are."""
    return bool(specs.parse_spec(loss, info.config.train.loss, "train.loss").kwargs.get("given"))


def draw_interpolation(
    out: Path,
    interpolation: interpolation_run.Interpolation,
    ready: image_grid_sweep.PreparedRequest,
    end_cond: Any,
    given_flags: dict[str, int],
) -> tuple[Any, dict[str, Any]]:
    """The pictures of a way, drawn, and written as a strip and as an animation there and back; and how."""
    count, given_settings = (
        NUM.value if NUM.present else INTERPOLATION_IMAGES,
        {name: flags.FLAGS[name].value for name in given_flags if given_flags[name]},
    )
    sampler = interpolation_run.interpolation_sampler(interpolation, ready.sampler, given_settings)
    interpolation_run.check_interpolation(interpolation, sampler, count, ready.cond, end_cond)
    tell(*interpolation.notes)
    images = interpolation_run.draw_interpolation(
        interpolation, sampler, ready.root, count, flags.FLAGS.batch, ready.cond, end_cond
    )
    write_png(out / "strip.png", strip(*interpolation_run.frames_with_ends(interpolation, images), caption="share"))
    animation(out / "animation.gif", np.concatenate([images, images[-2::-1]])[:, None], columns=1, last_ms=800)
    return images, interpolation_run.describe_inversion(interpolation, sampler)


def end_condition(
    loaded_model: trained_model.TrainedModel,
    request: image_grid_sweep.SampleRequest,
    count: int,
    edit_flags: dict[str, Any],
) -> Any:
    """The condition at the end of a way: as at its beginning, but for what is asked for there."""
    label, words = edit_flags.get("label_to"), edit_flags.get("prompt_to")
    if words is not None:
        condition_inputs.tokenize_prompt(loaded_model.info.net, words, "--prompt_to")
        request = request.with_value("prompt", words)
    request = request if label is None else request.with_value("label", label)
    return image_grid_sweep.prepare_request(loaded_model, request, count, draws_labels=False).cond


def sample_provenance(info: trained_model.ModelInfo, request: image_grid_sweep.SampleRequest) -> dict[str, Any]:
    """Where samples come from."""
    words = {name: value for name in ("prompt", "negative") if (value := getattr(request, name)) is not None}
    run = {"config": info.config_hash, "step": info.step, "ema": info.ema}
    return {**request.settings, **words, "seed": request.seed, **run}


if __name__ == "__main__":
    command_line.run_script(main)
