"""The flags that several commands share, and what they say as values."""

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

from absl import flags

from diffjax.errors import UserError
from diffjax.experiment.config import Sample as SamplerConfig
from diffjax.experiment.trained_model import ModelInfo, StepChoice

EDIT_FLAGS = ("image", "mask", "strokes", "method", "strength", "place", "label_to", "prompt_to", "seed_to")
MAX_SEED = 2**32 - 1
MAX_STEP_DIGITS = 18


def define_allow_imports() -> None:
    """The flag without which no run is read that names modules of its own."""
    flags.DEFINE_boolean(
        "allow_imports", False, "Allow a run whose config names package.module:name to import, and so run, that module."
    )


def define_weights_flags() -> None:
    """Which run, and which of its weights; `step_choice` reads the last."""
    flags.DEFINE_string("workdir", None, "Folder of a run that train.py wrote, or a file that export.py wrote.")
    flags.DEFINE_string(
        "ema", None, "Average of the weights: a decay, such as 0.999, or std=0.15; by default the longest decay."
    )
    define_allow_imports()
    flags.DEFINE_string("step", None, "Checkpoint: a training step, or best; by default the newest.")


def define_sampling_flags() -> None:
    """The flags of every command that samples from a run."""
    define_weights_flags()
    flags.DEFINE_float("guidance", None, "Scale of classifier-free guidance; 1 means no guidance.")
    flags.DEFINE_string(
        "guidance_when",
        None,
        "Noise levels at which guidance is applied: 'interval(low=0.2, high=0.8)' or 'plus_plus()'; empty: all.",
    )
    flags.DEFINE_string(
        "guidance_rule", None, "Guidance rule, such as 'rescaled(phi=0.7)' or 'apg()'; empty: linear extrapolation."
    )
    flags.DEFINE_string(
        "guidance_form",
        None,
        "Guidance method, such as \"several(scales={'text': 3.0})\" or 'perturbed_attention(blocks=(1,))'; empty: cfg.",
    )
    flags.DEFINE_list("guidance_interval", None, "LOW HIGH: short for --guidance_when 'interval(low=LOW, high=HIGH)'.")
    flags.DEFINE_string("sampler", None, "Step rule of the sampler, such as dpmpp_2m or 'ddim(eta=1.0)'.")
    flags.DEFINE_string("grid", None, "Noise levels that the sampler visits, such as uniform or 'karras(rho=5.0)'.")
    flags.DEFINE_integer("steps", None, "Number of sampling steps; per block, with a block-wise order.", lower_bound=1)
    flags.DEFINE_integer(
        "seed", 0, "Random seed; sample i depends only on it and on i.", lower_bound=0, upper_bound=MAX_SEED
    )
    flags.DEFINE_integer("batch", 360, "Images per batch.", lower_bound=1)
    flags.register_validator("guidance", lambda scale: scale is None or isfinite(scale), "expected a finite number")


def define_edit_flags() -> None:
    """The flags of an edit; `edit_settings` reads all but the first."""
    flags.DEFINE_string(
        "edit",
        None,
        "Edit existing images: inpaint, outpaint, sketch, interpolate, super_resolve, variations or colourise.",
    )
    flags.DEFINE_multi_string("image", [], "Image to edit, of any size; give it twice for interpolate: both ends.")
    flags.DEFINE_string("mask", None, "Mask image of the same size as --image; white marks the region to repaint.")
    flags.DEFINE_string("strokes", None, "Copy of --image with strokes drawn over it, for sketch.")
    flags.DEFINE_string(
        "method", None, "Method that enforces the known part: repaint, 'dps(scale=1.0)', clamp, …; see docs/editing.md."
    )
    flags.DEFINE_float("strength", None, "Share of the image that is destroyed, in (0, 1]; 0.5 by default.")
    flags.DEFINE_string("place", None, "TOP,LEFT: position of the image in the larger one of outpaint; else centred.")
    flags.DEFINE_string("label_to", None, "Class at the end of an interpolation; --label is at its start.")
    flags.DEFINE_string("prompt_to", None, "Prompt at the end of an interpolation; --prompt is at its start.")
    flags.DEFINE_integer("seed_to", None, "Seed at the end of an interpolation; --seed is at its start.", 0, MAX_SEED)


def folder_flag(name: str) -> Path:
    """The folder that a flag names. Raises UserError where it is missing."""
    path = flags.FLAGS[name].value
    if not path:
        raise UserError(f"--{name}: give a folder")
    return Path(path)


def step_choice() -> StepChoice:
    """The checkpoint of --step. Raises UserError for what is neither a step nor `best`."""
    text = flags.FLAGS["step"].value
    if text is None or text == "best":
        return text
    if not text.isdecimal() or len(text) > MAX_STEP_DIGITS:
        raise UserError(f"--step: expected a step, such as 5000, or best, got {text!r}")
    return int(text)


def refuse_flags(names: Sequence[str], reason: str) -> None:
    """Raise UserError where one of these flags is set."""
    for name in names:
        if flags.FLAGS[name].present:
            raise UserError(f"--{name}: {reason}; leave it out")


def edit_settings() -> dict[str, Any]:
    """The edit flags that are set, by name. Raises UserError where one is set without --edit."""
    values = {name: flags.FLAGS[name].value for name in EDIT_FLAGS if flags.FLAGS[name].present}
    if values and flags.FLAGS["edit"].value is None:
        raise UserError(f"--{next(iter(values))}: belongs to an edit; add --edit inpaint, or another, or leave it out")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def parse_interval(texts: Sequence[str]) -> tuple[float, float]:
    """The two times of --guidance-interval, in order. Raises UserError for anything else."""
    try:
        low, high = (float(text) for text in texts)
    except ValueError:
        low = high = float("nan")
    if not 0 <= low <= high <= 1:
        raise UserError(f"--guidance-interval: expected two numbers, 0 <= LOW <= HIGH <= 1, got {' '.join(texts)}")
    return low, high


def sampler_config(info: ModelInfo) -> SamplerConfig:
    """The sampler settings of the flags, and for those that are not set, of the run's config."""
    settings = info.config.sample
    present = {name: flags.FLAGS[name].value for name in vars(settings) if flags.FLAGS[name].present}
    interval = flags.FLAGS["guidance_interval"].value
    if interval is not None:
        if "guidance_when" in present:
            raise UserError("--guidance_interval: is short for --guidance_when; give one of them")
        low, high = parse_interval(interval)
        present["guidance_when"] = f"interval(low={low}, high={high})"
    return replace(settings, **present)
