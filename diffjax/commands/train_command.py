"""Train a model: python train.py --config configs/digits.py --workdir runs/digits [--config.train.steps=10000 …]

--config is a file, or the name of a config that comes with diffjax, such as digits. With the --workdir of a run, alone
or with the same --config, training resumes where it stopped; with more steps, it trains longer. --check only checks
everything, all pictures of a folder too, and prints the plan and the memory and time of a step.
"""

from absl import flags

from diffjax.commands.command_line import run_command, start
from diffjax.commands.config_flags import define_config_flag
from diffjax.commands.flags import define_allow_imports, folder_flag
from diffjax.utils.heap import keep_heap


def run() -> None:
    """Parse the flags and train; the process ends with an exit code."""
    config = define_flags()
    run_command(main, __doc__ or "", config=config, resumes=True)


def define_flags() -> flags.FlagHolder[object]:
    """The flags of this command; the config's."""
    config = define_config_flag(
        "Config: a Python file with get_config(), or the name of one that comes with diffjax, see docs/reference.md; "
        "by default that of the run in --workdir."
    )
    flags.DEFINE_string("workdir", None, "Folder of the run, for checkpoints, metrics and pictures; no default.")
    define_allow_imports()
    help_line = "Check everything, print the plan and the memory and time of a step, and write nothing into WORKDIR."
    flags.DEFINE_boolean("check", False, help_line)
    help_line = "Folder into which --check writes a sheet of pictures, and one of duplicates; by default they are not."
    flags.DEFINE_string("check_out", None, help_line)
    help_line = "Trace some steps, and write where their time goes into WORKDIR/profile (docs/performance.md)."
    flags.DEFINE_boolean("profile", False, help_line)
    flags.DEFINE_string(
        "hosts",
        None,
        "Hosts that train together, each with this command: auto, or ADDRESS:PORT,HOSTS,HOST with this one's number; "
        "by default this one alone.",
    )
    help_line = "Seconds without a response after which a host counts as lost."
    flags.DEFINE_float("hosts_timeout", 60.0, help_line, lower_bound=1.0)
    return config


def main() -> None:
    """Train, once the flags and the config's fields are known to be right."""
    folder_flag("workdir")
    keep_heap()
    start("training_run")
