"""Write the weights of a run into one file: python export.py --workdir runs/digits --out digits.safetensors [--ema …]

The file holds one average of the weights, and what is needed to use it: the config and the properties of the data.
dj.load, sample.py, evaluate.py and train.init_from read it like the folder of a run. It contains no code.
"""

from pathlib import Path

from absl import flags

from diffjax.commands.command_line import run_command
from diffjax.commands.flags import define_weights_flags, folder_flag, step_choice
from diffjax.errors import UserError, tell
from diffjax.experiment import trained_model
from diffjax.training import safetensors_io


def run() -> None:
    """Parse the flags and export; the process ends with an exit code."""
    define_weights_flags()
    flags.DEFINE_string("out", None, "File to write, NAME.safetensors; no default.")
    run_command(main, __doc__ or "")


def main() -> None:
    """Everything is checked before anything is written."""
    values = flags.FLAGS
    workdir = folder_flag("workdir")
    out = Path(values.out or "")
    if out.suffix != safetensors_io.SUFFIX:
        raise UserError(f"--out: give a file, such as weights{safetensors_io.SUFFIX}, got {values.out!r}")
    weights = trained_model.read_weights(workdir, values.ema, step_choice(), values.allow_imports)
    trained_model.export_weights(weights, out)
    origin = f"step {weights.step:,}, average {weights.ema}{weights.synthesis}"
    tell(f"{out}: weights of {workdir}, {origin}, {out.stat().st_size:,} bytes")
