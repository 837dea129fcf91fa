"""Write a run's weights into one file: python export.py --workdir runs/digits --out digits.safetensors [--ema …]

The file holds one average of the weights, and the config and facts of the data that are needed to use it; dj.load,
sample.py, evaluate.py and train.init_from read it as they read the run's folder. It can run no code.
"""

import sys
from pathlib import Path

from absl import flags

from diffjax.commands import command_line
from diffjax.errors import UserError
from diffjax.experiment import trained_model
from diffjax.training import safetensors_io

flags.DEFINE_string("workdir", None, "Folder of a run that train.py made.")
command_line.define_weights_flags()
flags.adopt_module_key_flags(command_line)  # so that --help lists them
OUT = flags.DEFINE_string("out", None, "The file to write, NAME.safetensors.")


def main() -> None:
    """Everything that can be known is checked before anything is written."""
    workdir, out = command_line.folder_flag("workdir"), Path(OUT.value or "")
    if out.suffix != safetensors_io.SUFFIX:
        raise UserError(f"--out: give a file, such as weights{safetensors_io.SUFFIX}, got {OUT.value!r}")
    weights = trained_model.read_weights(
        workdir, flags.FLAGS.ema, command_line.step_choice(), flags.FLAGS.allow_imports
    )
    trained_model.export_weights(weights, out)
    message = f"step {weights.step:,}, average {weights.ema}{weights.synthesis}"
    print(f"{out}: the weights of {workdir}, {message}, {out.stat().st_size:,} bytes", file=sys.stderr)


if __name__ == "__main__":
    command_line.run_script(main)
