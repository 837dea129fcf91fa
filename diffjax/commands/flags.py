"""The flags that several commands share, and what they say as values."""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from absl import flags

from diffjax.errors import UserError

EDIT_FLAGS = ("image", "mask", "strokes", "method", "strength", "place", "label_to", "prompt_to", "seed_to")
MAX_SEED = 2**32 - 1
MAX_STEP_DIGITS = 18
FROM_CONFIG = "by default that of the run's config."
SAMPLER_FLAGS = {
    "sampler": "Step rule of the sampler, such as dpmpp_2m or 'ddim(eta=1.0)'",
    "grid": "Noise levels that the sampler visits, such as uniform or 'karras(rho=5.0)'",
    "guidance_when": "Noise levels with guidance, 'interval(low=0.2, high=0.8)', 'plus_plus()', or '' for all",
    "guidance_rule": "Guidance rule, such as 'rescaled(phi=0.7)', 'apg()', or '' for linear extrapolation",
    "guidance_form": "Guidance method, such as \"several(scales={'text': 3.0})\","
    " 'perturbed_attention(blocks=(1,))', or '' for cfg",
}


def define_allow_imports() -> None:
    """The flag without which no run is read that names modules of its own."""
    help_line = "Allow importing, and so running, the modules that the run's config names as package.module:name."
    flags.DEFINE_boolean("allow_imports", False, help_line)


def define_weights_flags() -> None:
    """Which run, and which of its weights; `step_choice` reads the last."""
    flags.DEFINE_string("workdir", None, "Folder of a run by train.py, or a file by export.py; no default.")
    flags.DEFINE_string(
        "ema",
        None,
        "Average of the weights, by its decay, such as 0.999, or its width, such as std=0.15; by default the longest "
        "decay.",
    )
    define_allow_imports()
    flags.DEFINE_string("step", None, "Checkpoint to load: a training step, or best; by default the newest.")


def define_published_flags() -> None:
    """Which published weights, in place of a run."""
    help_line = "File or folder of published weights, in place of --workdir (docs/published.md); by default none."
    flags.DEFINE_string("model", None, help_line)
    help_line = "Family of --model, DiT or SiT, where its name does not tell; by default found from the file."
    flags.DEFINE_string("family", None, help_line)
    help_line = (
        "File, folder or run of the codec that makes pictures of latents; by default, of a run, that of its latents."
    )
    flags.DEFINE_string("codec", None, help_line)


def define_sampling_flags() -> None:
    """The flags of every command that samples from a run or from published weights."""
    define_weights_flags()
    define_published_flags()
    for name, help_line in SAMPLER_FLAGS.items():
        flags.DEFINE_string(name, None, f"{help_line}; {FROM_CONFIG}")
    flags.DEFINE_float("guidance", None, f"Scale of guidance, where 1 is none; {FROM_CONFIG}")
    flags.DEFINE_list(
        "guidance_interval",
        None,
        f"Times LOW HIGH in [0, 1], short for --guidance_when='interval(low=LOW, high=HIGH)'; {FROM_CONFIG}",
    )
    help_line = f"Number of sampling steps, for each block under an order of blocks; {FROM_CONFIG}"
    flags.DEFINE_integer("steps", None, help_line, lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Random seed, on which and on i alone sample i depends.", 0, MAX_SEED)
    flags.DEFINE_integer("batch", 360, "Number of images drawn at once, on all devices together.", lower_bound=1)
    flags.register_validator("guidance", lambda scale: scale is None or isfinite(scale), "expected a finite number")


def define_edit_flags() -> None:
    """The flags of an edit; `edit_settings` reads all but the first."""
    flags.DEFINE_string(
        "edit",
        None,
        "Edit of existing images: inpaint, outpaint, sketch, interpolate, super_resolve, variations or colourise; "
        "by default none, and new samples are drawn.",
    )
    flags.DEFINE_multi_string("image", [], "Image file to edit, of any size; two for interpolate; no default.")
    flags.DEFINE_string("mask", None, "Mask file of the size of --image, white in the region to repaint; no default.")
    flags.DEFINE_string("strokes", None, "Copy of --image with strokes drawn over it, for sketch; by default none.")
    flags.DEFINE_string(
        "method",
        None,
        "Method that keeps what is known of the image, such as repaint, 'dps(scale=1.0)' or clamp; by default that of "
        "the edit, see docs/editing.md.",
    )
    flags.DEFINE_float("strength", None, "Fraction of the image that is destroyed, in (0, 1]; by default 0.5.")
    flags.DEFINE_string("place", None, "Pixels TOP,LEFT of the image in that of outpaint; by default it is centred.")
    flags.DEFINE_string("label_to", None, "Class, name or index, at the end of an interpolation; by default --label.")
    flags.DEFINE_string("prompt_to", None, "Prompt at the end of an interpolation; by default --prompt.")
    flags.DEFINE_integer("seed_to", None, "Seed at the end of an interpolation; by default --seed.", 0, MAX_SEED)


def folder_flag(name: str) -> Path:
    """The folder that a flag names. Raises UserError where it is missing."""
    path = flags.FLAGS[name].value
    if not path:
        raise UserError(f"--{name}: give a folder")
    return Path(path)


def step_choice() -> int | Literal["best"] | None:
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
