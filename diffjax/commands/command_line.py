"""What the scripts share: flags read with one line and exit code 2 for a mistake, and configs that refuse to guess."""

import errno
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from absl import app, flags

from diffjax.commands.console import quiet_libraries
from diffjax.errors import UserError, escape, escape_unencodable, tell
from diffjax.experiment import config_files, run_record
from diffjax.experiment.config_files import check_types
from diffjax.utils.files import describe_error

INTERRUPTED = 130  # 128 + SIGINT
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a full disk, a quota, a limit on the size of files
EDIT_FLAGS = ("image", "mask", "strokes", "method", "strength", "place", "label_to", "prompt_to", "seed_to")


def run_script(main: Callable[[], None], config: Any = None, more: Any = None, resumes: type | None = None) -> None:
    """Run a script: read the flags, and the config that one of them may name (its FlagHolder), then call `main`.

    A script that `resumes` configs of this dataclass takes, without --config, that of the run in --workdir.
    What follows the flags belongs to `more`, a flag of a list, where that is given, and is refused otherwise.

    A user's mistake, in a flag, a field, a file or later, is one line on stderr and exit code 2.
    """

    def parse(argv: Sequence[str]) -> list[str]:
        escape_unencodable()
        with exit_on_error():
            argv = _join_interval(argv)
            if config is not None and not any(argument.startswith(("--help", "-help")) for argument in argv):
                argv = _add_config(argv, config, resumes)
            rest = _parse_flags(argv)
            if more is not None and more.present:
                flags.FLAGS[more.name].value = [*more.value, *rest[1:]]
                rest = rest[:1]
            if rest[1:]:
                raise UserError(f"unexpected argument {rest[1]!r}; every argument is a --flag, see --help")
            return rest

    def guarded(_: Sequence[str]) -> None:
        quiet_libraries()
        with exit_on_error():
            if config is not None:
                check_types(config.value, "config")
            main()

    app.run(guarded, flags_parser=parse)


def define_sampling_flags() -> None:
    """The flags of every script that draws from a run; `chosen` reads them."""
    flags.DEFINE_string("workdir", None, "Folder of a run that train.py made, or a file that export.py wrote.")
    flags.DEFINE_float("guidance", None, "Scale of classifier-free guidance; 1 is none.")
    flags.DEFINE_string(
        "guidance_when", None, "When: 'interval(low=0.2, high=0.8)' of the clock, or 'plus_plus()'; empty is always."
    )
    flags.DEFINE_string("guidance_rule", None, "How: such as 'rescaled(phi=0.7)', 'apg()'; empty is the linear one.")
    flags.DEFINE_string(
        "guidance_form",
        None,
        "Of what: empty is cfg; \"several(scales={'text': 3.0})\", 'perturbed_attention(blocks=(1,))'.",
    )
    flags.DEFINE_list("guidance_interval", None, "LOW HIGH: short for --guidance_when 'interval(low=LOW, high=HIGH)'.")
    flags.DEFINE_string("sampler", None, "Step rule, such as dpmpp_2m or 'ddim(eta=1.0)'.")
    flags.DEFINE_string("grid", None, "Where the clock stops, such as uniform or 'karras(rho=5.0)'.")
    flags.DEFINE_integer("steps", None, "Steps of the sampler; of each, under an order of blocks.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Picture i depends on it and on i alone.", lower_bound=0, upper_bound=2**32 - 1)
    define_weights_flags()
    flags.DEFINE_integer("batch", 360, "Pictures at once.", lower_bound=1)
    flags.register_validator("guidance", lambda scale: scale is None or isfinite(scale), "expected a finite number")


def define_edit_flags() -> None:
    """The flags of an edit; `editing` reads all but the first."""
    flags.DEFINE_string("edit", None, "inpaint, outpaint, sketch, interpolate, super_resolve, variations or colourise.")
    flags.DEFINE_multi_string("image", [], "Picture to edit, of any size; the two ends of interpolate.")
    flags.DEFINE_string("mask", None, "Picture as large as it, white where it is to be painted.")
    flags.DEFINE_string("strokes", None, "Copy of it that was drawn over, for sketch.")
    flags.DEFINE_string(
        "method", None, "How the known part leads: repaint, 'dps(scale=1.0)', clamp, …; docs/editing.md."
    )
    flags.DEFINE_float("strength", None, "How much of it is given up, above 0 up to 1, which is all; 0.5 by default.")
    flags.DEFINE_string("place", None, "TOP,LEFT of it in what outpaint draws; the middle by default.")
    flags.DEFINE_string("label_to", None, "Class at the end of the way, for interpolate; --label is at its beginning.")
    flags.DEFINE_string("prompt_to", None, "Words at the end of the way, as --prompt at its beginning.")
    flags.DEFINE_integer("seed_to", None, "Seed at its end, as --seed at its beginning.", 0, 2**32 - 1)


def edit_settings() -> dict[str, Any]:
    """What the flags of an edit say. Raises UserError where one is given without an edit."""
    given_flags = {name: flags.FLAGS[name].value for name in EDIT_FLAGS if flags.FLAGS[name].present}
    if given_flags and flags.FLAGS["edit"].value is None:
        raise UserError(
            f"--{next(iter(given_flags))}: belongs to an edit; give --edit inpaint, or another, or leave it out"
        )
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given_flags.items()}


def define_weights_flags() -> None:
    """The flags that choose among the weights of a run; `step` reads the second."""
    flags.DEFINE_string("ema", None, "Which average of the weights: a decay, or std=0.15; else the longest decay.")
    define_allow_imports()
    flags.DEFINE_string("step", None, "Which checkpoint: a step, or best; by default the newest.")


def define_allow_imports() -> None:
    """The flag without which no run is read that names modules of its own."""
    flags.DEFINE_boolean(
        "allow_imports",
        False,
        "Allow a run whose config names package.module:name to import that module: runs its code.",
    )


def step_choice() -> int | Literal["best"] | None:
    """The checkpoint asked for. Raises UserError for what is neither a step nor `best`."""
    text = flags.FLAGS["step"].value
    if text is None or text == "best":
        return text
    if not text.isdecimal() or len(text) > 18:
        raise UserError(f"--step: expected a step, as 5000, or best, got {text!r}")
    return int(text)


def sampler_settings(defaults: dict[str, Any]) -> dict[str, Any]:
    """Sampler, grid, steps and guidance as asked for, and for the rest what the run's config says."""
    result = {name: flags.FLAGS[name].value if flags.FLAGS[name].present else defaults[name] for name in defaults}
    if (between := flags.FLAGS["guidance_interval"].value) is None:
        return result
    if flags.FLAGS["guidance_when"].present:
        raise UserError("--guidance_interval: says what --guidance_when says; give one of them")
    return {**result, "guidance_when": "interval(low={}, high={})".format(*_parse_interval(between))}


def _parse_interval(texts: Sequence[str]) -> tuple[float, float]:
    """Two moments of the clock, in order."""
    try:
        low, high = (float(text) for text in texts)
    except ValueError:
        low = high = float("nan")
    if not 0 <= low <= high <= 1:
        raise UserError(f"--guidance-interval: expected two numbers, 0 <= LOW <= HIGH <= 1, got {' '.join(texts)}")
    return low, high


def folder_flag(name: str) -> Path:
    """The folder that a flag names. Raises UserError where it is left out."""
    path = flags.FLAGS[name].value
    if not path:
        raise UserError(f"--{name}: give a folder")
    return Path(path)


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Ends the program with one line on stderr: exit code 2 on a user's mistake, and a shell's own on Ctrl-C."""
    try:
        yield
    except (UserError, flags.Error) as mistake:
        hint = "; see --help" if isinstance(mistake, flags.UnrecognizedFlagError) else ""
        tell(f"{Path(sys.argv[0]).name}: {' '.join(str(mistake).split())}{hint}")
        sys.exit(2)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        where = f"{error.filename}: " if error.filename else ""
        words = f"{where}cannot be written ({describe_error(error)}); make room and run the same command again"
        tell(f"{Path(sys.argv[0]).name}: {escape(words)}")
        sys.exit(2)
    except KeyboardInterrupt:
        tell(f"\n{Path(sys.argv[0]).name}: interrupted; files are written whole or not at all")
        sys.exit(INTERRUPTED)


def _join_interval(argv: Sequence[str]) -> list[str]:
    """The arguments, those of --guidance-interval, LOW HIGH, in one."""
    rest, result = list(argv), list[str]()
    while rest:
        name, _, value = (argument := rest.pop(0)).partition("=")
        if re.fullmatch(r"--?guidance[-_]interval", name):
            values = [value] if value else []
            while rest and len(values) < 2 and re.fullmatch(r"-?[\d.]+", rest[0]):
                values.append(rest.pop(0))
            argument = f"--guidance_interval={','.join(values)}"
        result.append(argument)
    return result


class _Config(flags.ArgumentParser):
    """What `--config` parses to where the config is known already."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def parse(self, argument: Any) -> Any:
        """The config, whatever its file is called."""
        return self.config


def _add_config(argv: Sequence[str], config: Any, resumes: type | None) -> list[str]:
    """The arguments, with the run's config where none is named. Raises UserError for overrides of no field."""
    argv, path = list(argv), config_files.flag_value(argv, "config")
    workdir = config_files.flag_value(argv, "workdir")
    if path is not None:
        fields = config_files.load_config(Path(path))
    elif resumes is not None and workdir is not None:
        fields = run_record.saved_config(Path(workdir), config_files.has_flag(argv, "allow_imports"))
        flags.FLAGS[config.name].parser = _Config(fields)
        argv.insert(1, f"--{config.name}={workdir}")
    else:
        hint = ", or a --workdir that holds a run to resume" if resumes else ""
        raise UserError(f"--config: {config_files.EXAMPLE}{hint}")
    config_files.check_overrides(fields, argv)
    return argv


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """What is left of the arguments when all flags are read; nothing where one of them was --help."""
    try:
        return flags.FLAGS(argv)
    except SystemExit:
        sys.exit(0)  # absl's own help ends with 1
