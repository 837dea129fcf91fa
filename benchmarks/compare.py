"""What lies between one value at a time and all at once: python benchmarks/compare.py --config FILE --workdir DIR

Trains nets of one size by each family of generation, draws from them and measures them, and writes tables and pictures
into the workdir, or with --publish where docs/compare.md shows them. Stopped at any moment and started again, it does
nothing twice: trainings go on from their last checkpoint, and what has been measured stays.

    python benchmarks/compare.py --config configs/compare/short.py --workdir runs/compare_short
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from absl import flags
from comparing.families import check
from comparing.whole import compared
from ml_collections import config_flags
from report import DOCS

from configs.compare import Compare
from diffjax.commands.command_line import run_command
from diffjax.commands.flags import folder_flag
from diffjax.utils.files import check_writable

CONFIG = config_flags.DEFINE_config_file("config", help_string="Python file with get_config(), see configs/compare/.")
flags.DEFINE_string("workdir", None, "Folder of the trainings and of what is measured of them.")
PUBLISH = flags.DEFINE_boolean("publish", False, "Write into docs/ and benchmarks/results/ in place of the workdir.")
ONLY_TABLES = flags.DEFINE_boolean("only_tables", False, "Write the tables of what is measured, and nothing else.")


def main() -> None:
    """Check, train, measure, publish."""
    compare: Compare = CONFIG.value
    check(compare)
    folder = folder_flag("workdir")
    check_writable(folder, "--workdir")
    compared(compare, folder, DOCS if PUBLISH.value else None, ONLY_TABLES.value)


if __name__ == "__main__":
    run_command(main, __doc__ or "", config=CONFIG)
