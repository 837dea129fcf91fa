"""Write the weights of a run into one file: python export.py --workdir runs/digits --out digits.safetensors [--ema …]

The file holds one average of the weights, and what is needed to use it: the config and the properties of the data.
dj.load, sample.py, evaluate.py and train.init_from read it like the folder of a run. It contains no code.
"""

from absl import flags

from diffjax.commands.command_line import run_command, start
from diffjax.commands.flags import define_weights_flags, folder_flag


def run() -> None:
    """Parse the flags and export; the process ends with an exit code."""
    define_weights_flags()
    flags.DEFINE_string("out", None, "File to write, NAME.safetensors; no default.")
    help_line = (
        "Names and layout of the weights: diffjax, or published, those of DiT and SiT, which their programs read."
    )
    flags.DEFINE_enum("layout", "diffjax", ["diffjax", "published"], help_line)
    run_command(main, __doc__ or "")


def main() -> None:
    """Export, once the flags are known to be right."""
    folder_flag("workdir")
    start("export_run")
