"""The scripts as a shell calls them, but in this process: imports are paid once, and every strictness holds."""

import runpy
import sys
import warnings
from pathlib import Path

from absl import flags

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # as `python train.py` has it


def called(script: str, *argv: object) -> int:
    """The exit code of a script, run as `__main__` with flags of its own."""
    before = sys.argv
    sys.argv = [script, *map(str, argv)]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the load_module", DeprecationWarning)  # as ml_collections loads configs
            runpy.run_path(str(ROOT / script), run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before
        forget_flags(script)
    raise AssertionError(f"{script} came back without an exit code")


def forget_flags(script: str) -> None:
    """Undefine what the script defined, so that another may; libraries keep theirs."""
    modules = flags.FLAGS.flags_by_module_dict()
    own = {
        flag.name
        for module, defined in modules.items()
        if module == str(ROOT / script) or module.startswith("diffjax.commands")
        for flag in defined
    }
    for name in [name for name in flags.FLAGS if name in own or name.startswith("config.")]:
        delattr(flags.FLAGS, name)
    flags.FLAGS.unparse_flags()
