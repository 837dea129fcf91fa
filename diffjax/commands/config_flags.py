"""The --config flag: a config from a file, one of those that come with diffjax, or that of the run in --workdir."""

from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from diffjax.errors import UserError
from diffjax.experiment import config_files

PACKAGE = Path(__file__).parents[1]
INSTALLED = (PACKAGE / "configs", PACKAGE.parent / "configs")  # in a wheel, and in a clone


class _LoadedConfig(flags.ArgumentParser):
    """What the flag parses to where the config is loaded already."""

    def __init__(self, config: object) -> None:
        self.config = config

    def parse(self, argument: object) -> object:
        """The config, whatever its file is called."""
        return self.config


def define_config_flag(help_string: str) -> flags.FlagHolder[object]:
    """Define --config, whose fields --config.a.b=… overrides."""
    return config_flags.DEFINE_config_file("config", help_string=help_string)


def add_config_argument(argv: Sequence[str], config: flags.FlagHolder[object], resumes: bool) -> list[str]:
    """Load the config, and return the arguments with a --config. Raises UserError for overrides of no field."""
    arguments = list(argv)
    path = config_files.flag_value(arguments, "config")
    workdir = config_files.flag_value(arguments, "workdir")
    if path is not None:
        file = find_config(path)
        if not file.is_file():
            names = ", ".join(shipped_configs())
            raise UserError(f"--config {path}: no such file; give a file, or one that comes with diffjax: {names}")
        loaded = config_files.load_config(file)
    elif resumes and workdir is not None:
        from diffjax.experiment import run_record  # loads JAX

        loaded = run_record.saved_config(Path(workdir), config_files.has_flag(arguments, "allow_imports"))
        arguments.insert(1, f"--{config.name}={workdir}")
    else:
        hint = ", or a --workdir that holds a run to resume" if resumes else ""
        raise UserError(f"--config: {config_files.EXAMPLE}{hint}")
    flags.FLAGS[config.name].parser = _LoadedConfig(loaded)
    config_files.check_overrides(loaded, arguments)
    return arguments


def find_config(text: str) -> Path:
    """The file of a config: the path itself, or else, by its name, one of the configs that come with diffjax.

    `digits`, `digits.py` and `configs/digits.py` all name the same one, also without a clone of the repository.
    """
    path = Path(text)
    if path.is_file():
        return path
    inner = path.relative_to("configs") if path.is_relative_to("configs") else path
    if inner.is_absolute() or ".." in inner.parts:
        return path
    candidates = (folder / inner.with_suffix(".py") for folder in INSTALLED)
    return next((candidate for candidate in candidates if candidate.is_file()), path)


def shipped_configs() -> list[str]:
    """The names of the configs that come with diffjax."""
    folder = next((folder for folder in INSTALLED if folder.is_dir()), INSTALLED[0])
    return sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")


def check_config(config: flags.FlagHolder[object]) -> None:
    """Raise UserError for fields of the wrong type."""
    config_files.check_types(config.value, "config")
