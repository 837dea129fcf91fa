"""What every command shares: flags parsed, --help, and a user's mistake reported as one line with exit code 2."""

import errno
import functools
import importlib
import logging as stdlib_logging
import re
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from absl import app, flags, logging

from diffjax.commands.config_flags import add_config_argument, check_config
from diffjax.errors import UserError, escape, escape_unencodable, tell
from diffjax.utils.files import describe_error

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

INTERRUPTED = 130  # exit code: 128 + SIGINT
NO_SPACE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a full disk, a quota, a limit on the size of files
SCRIPT = re.compile(r"python (train|sample|evaluate|export)\.py")
HELP_WIDTH = 100
_CLOSED = "Event loop is closed"


def run_command(
    main: Callable[[], None],
    description: str,
    *,
    config: flags.FlagHolder[object] | None = None,
    resumes: bool = False,
    trailing: str | None = None,
) -> None:
    """Parse the flags, and the config that one of them may name, then call `main`; the process ends with its exit code.

    A command that `resumes` takes, without --config, the config of the run in --workdir. Arguments after the flags
    belong to `trailing`, a flag that holds a list; without it they are refused. `description` is printed by --help. A
    user's mistake, in a flag, a field or a file, is one line on stderr and exit code 2.
    """

    flags.DEFINE_boolean(
        "cache", True, "Keep compiled programs in ~/.cache/diffjax for later starts; --nocache: do not."
    )

    def parse(argv: Sequence[str]) -> list[str]:
        escape_unencodable()
        if {"--help", "-help", "-h"} & {*argv[1:]}:
            print(_help_text(description))
            sys.exit(0)
        with exit_on_error():
            arguments = _join_interval(["--nocache" if argument == "--no-cache" else argument for argument in argv])
            if config is not None:
                arguments = add_config_argument(arguments, config, resumes)
            return _assign_trailing(flags.FLAGS(arguments), trailing)

    def guarded(_: Sequence[str]) -> None:
        quiet_libraries()
        with exit_on_error():
            if config is not None:
                check_config(config)
            main()

    app.run(guarded, flags_parser=parse)


def start(module: str) -> None:
    """Import a module of commands, which loads JAX, and call its `main`; programs are kept unless --nocache."""
    loaded = importlib.import_module(f"diffjax.commands.{module}")
    if flags.FLAGS.cache:
        importlib.import_module("diffjax.utils.programs").keep_programs()
    vars(loaded)["main"]()


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Ends the program with one line on stderr: exit code 2 on a user's mistake, and a shell's own on Ctrl-C."""
    try:
        yield
    except (UserError, flags.Error) as mistake:
        hint = "; see --help" if isinstance(mistake, flags.UnrecognizedFlagError) else ""
        _exit(f"{' '.join(str(mistake).split())}{hint}", 2)
    except OSError as error:
        if error.errno not in NO_SPACE_ERRORS:
            raise
        where = f"{error.filename}: " if error.filename else ""
        text = f"{where}cannot be written ({describe_error(error)}); free some space and run the same command again"
        _exit(escape(text), 2)
    except KeyboardInterrupt:
        tell("")
        _exit("interrupted; no file was left half-written", INTERRUPTED)


def _exit(message: str, code: int) -> None:
    tell(f"{Path(sys.argv[0]).name}: {message}")
    sys.exit(code)


def _assign_trailing(rest: list[str], trailing: str | None) -> list[str]:
    """The program's name; what else is left after the flags goes to the flag `trailing`."""
    if not rest[1:]:
        return rest
    if trailing is None or not flags.FLAGS[trailing].present:
        raise UserError(f"unexpected argument {rest[1]!r}; every argument is a --flag, see --help")
    flags.FLAGS[trailing].value = [*(flags.FLAGS[trailing].value or ()), *rest[1:]]
    return rest[:1]


def _join_interval(argv: Sequence[str]) -> list[str]:
    """The arguments, where the two numbers of --guidance-interval LOW HIGH are one argument."""
    rest = list(argv)
    result: list[str] = []
    while rest:
        argument = rest.pop(0)
        name, _, value = argument.partition("=")
        if re.fullmatch(r"--?guidance[-_]interval", name):
            values = [value] if value else []
            while rest and len(values) < 2 and re.fullmatch(r"-?[\d.]+", rest[0]):
                values.append(rest.pop(0))
            argument = f"--guidance_interval={','.join(values)}"
        result.append(argument)
    return result


def _help_text(description: str) -> str:
    """The description, and every flag that the program itself defines."""
    text = SCRIPT.sub(r"diffjax \1", description) if sys.argv[0].startswith("diffjax ") else description
    defined: dict[str, list[flags.Flag]] = flags.FLAGS.flags_by_module_dict()
    program_flags = [flag for module, module_flags in defined.items() if _is_own(module) for flag in module_flags]
    lines = map(_describe_flag, sorted(program_flags, key=lambda flag: str(flag.name)))
    return "\n".join([text.rstrip(), "", "flags:", *lines])


def _is_own(module: str) -> bool:
    return module.startswith("diffjax.commands") or module == sys.argv[0]


def _describe_flag(flag: flags.Flag) -> str:
    name = f"[no]{flag.name}" if flag.boolean else flag.name
    default = f" (default: {flag.default_as_str})" if flag.default not in (None, [], "") else ""
    lines = textwrap.wrap(f"{flag.help}{default}", HELP_WIDTH - 6)
    return "\n".join([f"  --{name}:", *(f"      {line}" for line in lines)])


def quiet_libraries() -> None:
    """Leave out what Orbax, asyncio and TensorStore print of a write that failed: the exception itself is raised.

    Orbax logs each error as well as raising it, and each file that it touches. Where one of several writes fails, it
    ends its event loop before the others: asyncio then warns of coroutines that were never awaited, and each of
    TensorStore's threads prints a traceback since it finds the loop closed.
    """
    logging.set_verbosity(logging.FATAL)
    stdlib_logging.getLogger("asyncio").setLevel(stdlib_logging.CRITICAL)
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    _filter_unraisable()


@functools.cache
def _filter_unraisable() -> None:
    previous = sys.unraisablehook

    def report(unraisable: "UnraisableHookArgs") -> None:
        if not (isinstance(unraisable.exc_value, RuntimeError) and str(unraisable.exc_value) == _CLOSED):
            previous(unraisable)

    sys.unraisablehook = report
