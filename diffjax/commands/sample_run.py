"""What sample.py does with its flags: samples, edits and sweeps, written as numbers and as images."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from jaxtyping import Int32, Shaped, UInt8

from diffjax import loss
from diffjax.commands import edit_requests, image_sampler
from diffjax.commands.condition_inputs import ConditionRequest, build_conditions, label_index, prompt_part
from diffjax.commands.edit_inputs import EditRequest
from diffjax.commands.edit_run import EditContext, EditResult
from diffjax.commands.flags import (
    edit_settings,
    folder_flag,
    refuse_flags,
)
from diffjax.commands.model_check import check_model
from diffjax.commands.model_flags import load_selected
from diffjax.commands.sample_defaults import EDITED_IMAGES, IMAGES_PER_CELL, MAX_SINGLES, TRAJECTORIES
from diffjax.commands.sample_request import PreparedRequest, SampleRequest, image_grid, prepare_request
from diffjax.commands.sampler_flags import sampler_config
from diffjax.commands.size_flag import SizeRequest, apply_size
from diffjax.errors import UserError, tell
from diffjax.experiment import specs
from diffjax.experiment.build import build_sampler
from diffjax.experiment.config import Sample as SamplerConfig
from diffjax.experiment.model_info import ModelInfo
from diffjax.experiment.trained_model import TrainedModel
from diffjax.parallel.batch_progress import BatchProgress
from diffjax.reports import animation, grid, labelled_grid, plot_signals, strip, write_png
from diffjax.utils.files import check_writable, write_atomically
from diffjax.utils.waiting import Waiting

MIN_EDIT_STEPS = 50  # of an edit, unless --steps is given
EDIT_GRID = "trailing()"  # of an edit, where that of the model begins below full noise
LAST_FRAME_MS = 800
Images = UInt8[np.ndarray, "n h w c"]
Labels = Int32[np.ndarray, " n"] | None


def main() -> None:
    """Everything is checked before anything is written or compiled."""
    values = flags.FLAGS
    edit_flags = edit_settings()
    if not values.check:
        check_writable(folder_flag("out"), "--out")
    model = load_selected()
    model = apply_size(model, SizeRequest(values.size, values.tile_overlap, values.edit, values.image, values.low_res))
    label = None if values.label is None else label_index(model.info, values.label)
    condition = ConditionRequest(
        label, values.prompt, values.sketch, values.number, values.low_res, values.low_res_noise, values.style
    )
    request = SampleRequest(sampler_config(model.info), condition, values.negative, values.seed)
    if values.check:
        ready = prepare_request(model, request, 1)
        check_model(model, ready.sampler, ready.cond)
        return
    out = folder_flag("out")
    if values.edit is not None:
        draw_edit(out, model, request, edit_flags)
    elif values["sweep"].present:
        draw_grid(out, model, request)
    else:
        draw_samples(out, model, request)


def draw_samples(out: Path, model: TrainedModel, request: SampleRequest) -> None:
    """Write samples as numbers and as images."""
    values = flags.FLAGS
    ready = prepare_request(model, request, values.num)
    if not model.info.data.of_images:
        draw_arrays(out, model, ready, request)
        return
    with BatchProgress(values.num) as progress:
        images = ready.images(values.num, values.batch, progress)
    write_samples(out, images, ready.labels, sample_provenance(model.info, request))
    picture = grid(images[:100], min(10, len(images)))
    if ready.labels is not None and request.condition.label is None:
        picture = labelled_grid(images[:100], ready.labels[:100], model.info.data.class_names, 12)
    write_png(out / "grid.png", picture)
    write_singles(out / "samples", images, values.singles)
    if values.trajectory or values.animate:
        count = min(values.num, TRAJECTORIES)
        waiting = Waiting("trajectory")
        frames, clock = image_sampler.sample_trajectory(ready.sampler, ready.root, count, ready.cond)
        waiting.end()
        write_trajectory(out, frames, clock, as_strip=values.trajectory, animated=values.animate)
    tell(f"{values.num} samples written to {out / 'samples.npz'}, with images of them")


def draw_arrays(out: Path, model: TrainedModel, ready: PreparedRequest, request: SampleRequest) -> None:
    """Write samples that are no images as numbers: real numbers as they are, levels as bytes; and a plot of signals."""
    values = flags.FLAGS
    refuse_flags(("trajectory", "animate", "singles"), "is for images, which this model does not draw")
    with BatchProgress(values.num) as progress:
        if model.info.data.encoding.real:
            arguments = (ready.sampler, ready.root, values.num, values.batch, ready.cond, progress)
            arrays = image_sampler.sample_states(*arguments)
        else:
            arrays = ready.images(values.num, values.batch, progress)
    write_samples(out, arrays, ready.labels, sample_provenance(model.info, request))
    if model.info.data.of_signals:
        plot_signals(out / "signals.png", arrays.astype(float))
    tell(f"{values.num} samples of shape {model.info.data.shape} written to {out / 'samples.npz'}")


def draw_grid(out: Path, model: TrainedModel, request: SampleRequest) -> None:
    """Write one picture of samples over one or two varied settings."""
    values = flags.FLAGS
    refuse_flags(("trajectory", "animate", "singles"), "does not apply to --sweep")
    count = values.num if values["num"].present else IMAGES_PER_CELL
    write_png(out / "sweep.png", image_grid(model, request, values.sweep, count, values.batch))
    tell(f"{count} samples per cell written to {out / 'sweep.png'}, all from the same keys")


def draw_edit(out: Path, model: TrainedModel, request: SampleRequest, edit_flags: Mapping[str, Any]) -> None:
    """Write edited images; of a class only if it is requested."""
    values = flags.FLAGS
    refuse_flags(("trajectory", "animate", "sweep"), "does not apply to --edit")
    info = model.info
    if info.origin is not None and info.data.encoding.real:
        raise UserError("--edit: this model draws latents; add --codec, the file that makes pictures of them")
    if "label_to" in edit_flags:
        edit_flags = {**edit_flags, "label_to": label_index(info, values.label_to, "--label_to")}
    edit_request = EditRequest(
        info.data,
        sampler_set=bool(values["sampler"].present),
        grid_set=bool(values["grid"].present),
        steps=values.steps,
        inpainting_net=trained_to_inpaint(info),
        **edit_flags,
    )
    edit = edit_requests.build_edit(values.edit, edit_request)
    if values.steps is None and model.order.width == 1:
        request = request.with_value("steps", max(request.sampler.steps, MIN_EDIT_STEPS))
    count = values.num if values["num"].present else EDITED_IMAGES
    if not values["grid"].present and _starts_below_noise(model, request.sampler):
        tell(f"edits begin at full noise, and {request.sampler.grid} below it; the grid is {EDIT_GRID}")
        request = request.with_value("grid", EDIT_GRID)
    ready = prepare_request(model, request, count, random_labels=False)
    end = end_condition(info, request.condition, edit_request)
    end_cond = build_conditions(info, end, ready.root, count, random_labels=False).cond
    context = EditContext(ready.sampler, ready.root, count, values.batch, ready.cond, end_cond)
    edit.check(context)
    tell(*edit.inputs.notes)
    result = edit.draw(context)
    provenance = {**sample_provenance(info, request), "edit": values.edit, **edit_flags, **result.provenance}
    write_edit(out, result, ready.labels, provenance)
    write_singles(out / "samples", result.images, values.singles)
    tell(f"{count} samples written to {out / 'samples.npz'}, with images of them")


def _starts_below_noise(model: TrainedModel, config: SamplerConfig) -> bool:
    """Whether the grid of these settings begins below t = 1."""
    _, grid = build_sampler(model.noise, model.order, step=config.sampler, grid=config.grid, count=config.steps)
    return bool(grid[0] < 1)


def trained_to_inpaint(info: ModelInfo) -> bool:
    """Whether the network was trained with some of the pixels known."""
    share = specs.parse_spec(loss, info.config.train.loss, "train.loss").kwargs.get("given", 0.0)
    return isinstance(share, int | float) and share > 0


def end_condition(info: ModelInfo, condition: ConditionRequest, edit: EditRequest) -> ConditionRequest:
    """The condition at the end of an interpolation: that at its start, but for --label_to and --prompt_to."""
    if edit.prompt_to is not None:
        prompt_part(info, edit.prompt_to, "--prompt_to")
        condition = condition._replace(prompt=edit.prompt_to)
    return condition if edit.label_to is None else condition._replace(label=edit.label_to)


def sample_provenance(info: ModelInfo, request: SampleRequest) -> dict[str, object]:
    """How samples were made: settings, what they should show beside their class, seed, size and weights."""
    request_fields = {**request.condition._asdict(), "label": None, "negative": request.negative}
    texts = {name: value for name, value in request_fields.items() if value not in (None, (), [])}
    run = {"config": info.config_hash, "step": info.step}
    weights = {**(run if info.origin is None else {"weights": info.origin.describe()}), "ema": info.ema}
    size: dict[str, object] = {} if info.size is None else {"size": "{}x{}".format(*info.size)}
    if info.tiles is not None:
        size["tile_overlap"] = info.tiles.overlap
    return {**vars(request.sampler), **texts, "seed": request.seed, **size, **weights}


def write_samples(
    out: Path, images: Shaped[np.ndarray, "n ..."], labels: Labels, provenance: Mapping[str, object]
) -> None:
    """Write samples.npz in the format that public evaluators read, with the provenance of the samples."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"arr_0": images, "provenance": np.array(json.dumps(provenance))}
    np.savez(buffer, **(arrays if labels is None else {**arrays, "arr_1": labels}))
    write_atomically(out / "samples.npz", lambda file: file.write(buffer.getvalue()))


def write_edit(out: Path, result: EditResult, labels: Labels, provenance: Mapping[str, object]) -> None:
    """Write the images and the figure of an edit; frames of an interpolation also as animation.gif, there and back."""
    write_png(out / result.figure_name, result.figure)
    if result.animated:
        frames = np.concatenate([result.images, result.images[-2::-1]])
        animation(out / "animation.gif", frames[:, None], columns=1, last_ms=LAST_FRAME_MS)
    write_samples(out, result.images, None if result.animated else labels, provenance)


def write_singles(folder: Path, images: Images, wanted: bool | None) -> None:
    """Write each sample as N.png if `wanted`; None: if there are at most `MAX_SINGLES`.

    N has as many digits as the largest. Images of an earlier call that remain beside them are reported.
    """
    count = len(images)
    enabled = count <= MAX_SINGLES if wanted is None else wanted
    names = [f"{index:0{len(str(count - 1))}}.png" for index in range(count)] if enabled else []
    for name, image in zip(names, images, strict=False):
        write_png(folder / name, image)
    if not enabled and wanted is None:
        tell(f"more than {MAX_SINGLES:,} samples are not written as single PNG files; --singles writes them too")
    numbered = {path.name for path in folder.glob("*.png") if path.stem.isdecimal()}
    if old := sorted(numbered - {*names}):
        tell(f"{folder}: {len(old)} pictures of an earlier call, such as {old[0]}, remain; delete them if unwanted")


def write_trajectory(
    out: Path, frames: UInt8[np.ndarray, "k n h w c"], clock: list[float], *, as_strip: bool, animated: bool
) -> None:
    """Write all states of the first images as strip.png and as animation.gif."""
    if as_strip:
        write_png(out / "strip.png", strip(*image_sampler.subsample_states(frames, clock), caption="clock"))
    if animated:
        animation(out / "animation.gif", frames, columns=frames.shape[1])
