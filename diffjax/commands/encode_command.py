"""Make the latents of a data set, so that training computes none:

diffjax encode --codec runs/codec --config configs/pictures.py --config.data.image_size=64 --out latents

The fields of --config.data say which pictures; a training on --config.data.latents=latents must say the same ones.
--codec is a run of configs/photos_codec.py, or published weights of an AutoencoderKL (docs/latents.md).
"""

from absl import flags

from diffjax.commands.command_line import run_command, start
from diffjax.commands.config_flags import define_config_flag
from diffjax.commands.flags import folder_flag


def run() -> None:
    """Parse the flags and make the latents; the process ends with an exit code."""
    config = define_config_flag("Config whose data section names the pictures; no default.")
    flags.DEFINE_string("codec", None, "Run, file or folder of the codec; no default.")
    flags.DEFINE_string("out", None, "New folder for the latents; no default.")
    flags.DEFINE_boolean("flips", False, "Whether training pictures are stored mirrored as well.")
    run_command(main, __doc__ or "", config=config)


def main() -> None:
    """Make the latents, once the flags are known to be right."""
    folder_flag("codec")
    folder_flag("out")
    start("encode_run")


if __name__ == "__main__":
    run()
