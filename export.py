"""Write a run's weights into one file: python export.py --workdir runs/digits --out digits.safetensors [--ema …]

The file holds one average of the weights, and the config and facts of the data that are needed to use it; dj.load,
sample.py, evaluate.py and train.init_from read it as they read the run's folder. It can run no code.
"""

import sys
from pathlib import Path

from absl import flags

from diffjax import cli, loading
from diffjax.errors import UserError
from diffjax.training import tensors

flags.DEFINE_string("workdir", None, "Folder of a run that train.py made.")
cli.weights_flags()
flags.adopt_module_key_flags(cli)  # so that --help lists them
OUT = flags.DEFINE_string("out", None, "The file to write, NAME.safetensors.")


def main() -> None:
    """Everything that can be known is checked before anything is written."""
    workdir, out = cli.folder("workdir"), Path(OUT.value or "")
    if out.suffix != tensors.SUFFIX:
        raise UserError(f"--out: give a file, such as weights{tensors.SUFFIX}, got {OUT.value!r}")
    weights = loading.weights(workdir, flags.FLAGS.ema, cli.step())
    loading.export(weights, out)
    told = f"step {weights.step:,}, average {weights.ema}{weights.made}"
    print(f"{out}: the weights of {workdir}, {told}, {out.stat().st_size:,} bytes", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main)
