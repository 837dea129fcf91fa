"""Sample from a trained model: python sample.py --workdir runs/digits --out out --num 100 [--label 3] …
Or edit images with it: python sample.py --workdir runs/digits --out out --edit inpaint --image in.png --mask mask.png …

Writes samples.npz into --out (arr_0: uint8 [n, h, w, c], 0 … 255; arr_1: labels; provenance), grid.png, and each sample
as samples/N.png; for an interpolation strip.png and animation.gif in place of the grid (docs/editing.md).
"""

from absl import flags

from diffjax.commands.command_line import run_command, start
from diffjax.commands.flags import define_edit_flags, define_sampling_flags, folder_flag
from diffjax.commands.sample_defaults import EDITED_IMAGES, IMAGES_PER_CELL, MAX_SINGLES, TRAJECTORIES


def run() -> None:
    """Parse the flags and sample; the process ends with an exit code."""
    define_flags()
    run_command(main, __doc__ or "")


def define_flags() -> None:
    """The flags of this command."""
    define_sampling_flags()
    define_edit_flags()
    flags.DEFINE_string("out", None, "Folder for samples.npz and the images; no default.")
    help_line = f"Number of samples; by default {EDITED_IMAGES} for an edit and {IMAGES_PER_CELL} per cell of a sweep."
    flags.DEFINE_integer("num", 100, help_line, lower_bound=1)
    flags.DEFINE_string(
        "size",
        None,
        "Size of the samples in pixels, HEIGHTxWIDTH or one number, for nets that draw any (UNet, DiT); or image: that "
        "of the image to edit, or of --low_res, which is then not fitted; by default the size of the training images.",
    )
    define_condition_flags()
    flags.DEFINE_integer(
        "tile_overlap",
        None,
        "Draw larger samples by tiles of the size of the training images that share so many pixels; by default the net "
        "draws all at once.",
        lower_bound=0,
    )
    help_line = "Say what the model is, and what drawing needs: parameters, memory and time; draw nothing."
    flags.DEFINE_boolean("check", False, help_line)
    flags.DEFINE_boolean("trajectory", False, f"Write {TRAJECTORIES} samples from noise to image as strip.png.")
    flags.DEFINE_boolean("animate", False, f"Write {TRAJECTORIES} samples from noise to image as animation.gif.")
    help_line = f"Write each sample as samples/N.png; by default for up to {MAX_SINGLES:,} samples."
    flags.DEFINE_boolean("singles", None, help_line)
    flags.DEFINE_multi_string(
        "sweep",
        [],
        "Write one picture, sweep.png, over one or two settings with their values, such as guidance=1,2,4: of the "
        "sampler, of guidance, label, prompt, seed or numbers; by default none.",
    )


def define_condition_flags() -> None:
    """The flags of what the samples should show."""
    flags.DEFINE_string(
        "label",
        None,
        "Class of all samples, by name or index; by default drawn with the frequencies of the training images.",
    )
    flags.DEFINE_string("prompt", None, "Text prompt of all samples, for a model trained on text; by default none.")
    flags.DEFINE_string("negative", None, "Text prompt that guidance steers away from; by default none.")
    flags.DEFINE_string("sketch", None, "Image file, white strokes on black, that samples follow; by default none.")
    flags.DEFINE_string(
        "low_res",
        None,
        "Image file at low resolution that samples are a larger form of, or samples.npz of another model, sample for "
        "sample; by default none.",
    )
    help_line = "Standard deviation of noise on --low_res, whose range is 2, for a model trained so; by default 0."
    flags.DEFINE_float("low_res_noise", None, help_line)
    flags.DEFINE_string(
        "style", None, "Image file that samples look like, or two with shares, a.png:0.3,b.png:0.7; by default none."
    )
    help_line = "Value of a numeric condition of the model, such as slant=0.5; by default none."
    flags.DEFINE_multi_string("number", [], help_line)


def main() -> None:
    """Sample, once the flags are known to be right."""
    if flags.FLAGS["model"].value is None:
        folder_flag("workdir")
    if not flags.FLAGS["check"].value:
        folder_flag("out")
    start("sample_run")
