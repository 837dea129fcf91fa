"""The console command `diffjax`: train, sample, evaluate, encode and export."""

import importlib
import sys
from importlib.metadata import version

COMMANDS = {
    "train": "Train a model, or resume a run.",
    "sample": "Sample from a trained model, or edit images with it.",
    "evaluate": "Score a trained model, images from files, or compare runs.",
    "encode": "Make the latents of a data set, for a model of latents.",
    "export": "Write the weights of a run into one file.",
}


def main() -> None:
    """Run the command that the first argument names; the process ends with its exit code."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h", "help"):
        print(help_text())
        sys.exit(0)
    if name == "--version":
        print(f"diffjax {version('diffjax')}")
        sys.exit(0)
    if name not in COMMANDS:
        print(f"diffjax: unknown command {name!r}; choose from {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"diffjax {name}", *sys.argv[2:]]
    sys.path.insert(0, "")  # parts given as package.module:name are found in the working folder
    importlib.import_module(f"diffjax.commands.{name}_command").run()


def help_text() -> str:
    """The commands, a line each."""
    lines = [f"  diffjax {name:<9} {description}" for name, description in COMMANDS.items()]
    return "\n".join(
        ["usage: diffjax COMMAND --flag=value …", "", *lines, "", "diffjax COMMAND --help lists its flags."]
    )
