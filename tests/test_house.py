"""The house: which package may import which, where the heavy libraries live, and what every file owes its reader."""

import ast
import graphlib
import importlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "diffjax"
LONGEST = 250  # lines of a file
MOST_ROOT_MODULES = 18
MOST_ANY = 40
MOST_BY_NAME = 10  # uses of hasattr and getattr
LONGEST_FUNCTION = 40  # lines, without the docstring
WIDE, MOST_WIDE = 8, 15  # parameters of a function, and functions of as many
LONGEST_CHAIN = 12  # of packages and root modules that import each other
MOST_LINES = {"benchmarks": 6_100}  # of all files of a folder

# What a package or a module at the root must not import, nor anything that it imports.
NEVER = {
    "utils": ("protocols", "arguments", "order", "schedule", "noise"),
    "protocols": ("order", "schedule", "noise"),
    "order": ("schedule", "noise"),
    "schedule": ("order", "predict", "noise"),
    "nets": ("schedule", "noise", "order", "loss", "sampling"),
    "loss": ("sampling", "steps", "nets", "training"),
    "steps": ("loss", "sampling", "nets"),
    "guidance": ("loss", "sampling", "steps"),
    "sampling": ("loss", "nets", "edit", "likelihood", "training"),
    "edit": ("loss", "nets", "lab", "training"),
    "likelihood": ("sampling", "nets", "training"),
    "diagnostics": ("nets", "edit", "training", "lab"),
    "lab": ("nets", "training", "data"),
    "training": ("sampling", "edit", "evaluation", "data"),
    "data": ("noise", "sampling", "training", "nets", "loss"),
    "evaluation": ("noise", "sampling", "training", "data", "reports"),
    "reports": ("noise", "sampling", "training", "data"),
    "experiment": ("commands",),
}
LIBRARY_NEVER = ("experiment", "commands")

# Libraries that not every package may import, and the packages that may; configuration stops at the scripts.
LIBRARIES = {
    "configs": "",
    "ml_collections": "commands",
    "tensorflow": "",
    "torch": "",
    "absl": "commands",
    "flax": "nets training evaluation published",
    "diffrax": "sampling",
    "equinox": "nets",
    "optax": "training experiment commands",
    "orbax": "training",
    "tensorstore": "training",
    "tensorboardX": "training",
    "wandb": "training",
    "grain": "data",
    "tensorflow_datasets": "data commands",
    "sklearn": "data evaluation",
    "scipy": "grids evaluation",
    "skimage": "data",
    "sentence_transformers": "data",
    "datasets": "data",
    "matplotlib": "reports",
    "PIL": "utils evaluation reports",
    "safetensors": "training evaluation",
    "huggingface_hub": "published",
    "tokenizers": "published",
}

FILES = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}
INNER = [name for name in FILES if name != "__init__"]  # diffjax/__init__.py gathers what it likes


def imported(name: str) -> Iterator[str]:
    """The dotted name of all that a file imports, anywhere in it; of a module's attribute, the module."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: write diffjax.… in place of a relative import"
            for alias in node.names:
                assert alias.name != "*", f"{name}: name what is imported from {node.module}"
                inner = f"{node.module}.{alias.name}"
                yield inner if inner.removeprefix("diffjax.") in FILES or node.module == "diffjax" else str(node.module)


def ours(name: str) -> set[str]:
    """The files of the package that a file imports."""
    found = {path for path in imported(name) if path.split(".")[0] == "diffjax"}
    names = {path.removeprefix("diffjax").removeprefix(".") or "__init__" for path in found}
    return {found if found in FILES else f"{found}.__init__" for found in names}


def place(name: str) -> str:
    """The package of a file, or the module itself at the root."""
    return name.split(".")[0]


PLACES = sorted({place(name) for name in INNER})
DIRECT = {
    each: {place(found) for name in INNER if place(name) == each for found in ours(name)} - {each} for each in PLACES
}


@cache
def reached(each: str) -> frozenset[str]:
    """All that a package imports, and what that imports."""
    return frozenset(DIRECT[each]).union(*(reached(other) for other in DIRECT[each]))


@cache
def chain(each: str) -> tuple[str, ...]:
    """The longest way down."""
    return each, *max((chain(other) for other in DIRECT[each]), key=len, default=())


def test_nothing_but_the_root_imports_the_root() -> None:
    assert not [name for name in INNER if "__init__" in ours(name)]


def test_packages_and_files_import_each_other_in_no_circle() -> None:
    graphlib.TopologicalSorter({name: ours(name) for name in FILES}).prepare()
    graphlib.TopologicalSorter(DIRECT).prepare()


@pytest.mark.parametrize("each", PLACES)
def test_imports_go_one_way(each) -> None:
    """library <- experiment <- commands, and within the library as the design has it."""
    forbidden = {*NEVER.get(each, ()), *(() if each in LIBRARY_NEVER else LIBRARY_NEVER)}
    assert not reached(each) & forbidden


def test_what_must_not_be_imported_is_there() -> None:
    assert {*NEVER, *LIBRARY_NEVER, *(name for names in NEVER.values() for name in names)} <= {*PLACES}


def test_a_reader_finds_the_way() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_ROOT_MODULES
    longest = max(map(chain, PLACES), key=len)
    assert len(longest) <= LONGEST_CHAIN, longest
    assert max(name.removesuffix(".__init__").count(".") for name in FILES) == 1, "packages have no packages"


@pytest.mark.parametrize("name", FILES)
def test_libraries_stay_where_they_are_used(name) -> None:
    for library in {found.split(".")[0] for found in imported(name)} & LIBRARIES.keys():
        assert place(name) in LIBRARIES[library].split(), f"{name} may not import {library}"


def test_pmap_stays_in_one_file() -> None:
    users = set()
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            called = (isinstance(node, ast.Attribute) and node.attr) or (isinstance(node, ast.Name) and node.id)
            spelt = isinstance(node, ast.ImportFrom) and [alias.name for alias in node.names]
            if called == "pmap" or "pmap" in (spelt or ()):
                users.add(name)
    assert users == {"training.data_parallel"}


# Protocols and TypedDicts that others extend: declarations without behaviour.
DECLARATIONS = {"Net", "Noise", "SampleOptions"}


def test_classes_do_not_inherit_from_each_other() -> None:
    classes = {node.name: node for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for name, node in classes.items():
        bases = {ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases}
        bases -= DECLARATIONS
        assert not bases & classes.keys(), name


def public() -> dict[str, Any]:
    """All that the `__all__`s name, by its dotted name."""
    modules = [importlib.import_module(path_of(name)) for name in FILES]
    named = [(module, name) for module in modules for name in getattr(module, "__all__", ())]
    return {f"{module.__name__}.{name}": getattr(module, name) for module, name in named}


def path_of(name: str) -> str:
    return f"diffjax.{name}".removesuffix(".__init__")


def test_no_module_shares_its_name_with_a_public_function() -> None:
    modules = {path_of(name).split(".")[-1] for name in INNER}
    functions = {name: found for name, found in public().items() if callable(found)}
    assert not [name for name in functions if name.split(".")[-1] in modules]


def test_public_functions_and_classes_are_explained() -> None:
    for name, found in public().items():
        if callable(found) and "<locals>" not in getattr(found, "__qualname__", "<locals>"):  # no value that is made
            told = found.__doc__ or ""
            assert told, f"{name} has no docstring"
            assert not told.startswith(f"{name.split('.')[-1]}("), f"{name} has only the docstring of a dataclass"


SOURCE_PLACES = ("diffjax/**/*.py", "*.py", "configs/**/*.py", "examples/**/*.py", "benchmarks/**/*.py")
SOURCES = [path.relative_to(ROOT) for pattern in SOURCE_PLACES for path in sorted(ROOT.glob(pattern))]


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_a_file_says_what_it_is_and_is_not_long(path) -> None:
    text = (ROOT / path).read_text()
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert len(text.splitlines()) <= LONGEST


@pytest.mark.parametrize(("folder", "most"), MOST_LINES.items())
def test_a_folder_stays_small(folder, most) -> None:
    assert sum(len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*.py")) <= most


def body_lines(function: ast.FunctionDef) -> int:
    """The lines of a function but for its docstring."""
    start, *_ = function.body
    docstring = (start.end_lineno or 0) - start.lineno + 1 if ast.get_docstring(function) is not None else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def test_types_say_what_a_thing_is_and_functions_are_small() -> None:
    nodes = [node for path in PACKAGE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    names = [node.id for node in nodes if isinstance(node, ast.Name)]
    assert names.count("Any") <= MOST_ANY
    assert names.count("hasattr") + names.count("getattr") <= MOST_BY_NAME
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    assert not [node.name for node in functions if body_lines(node) > LONGEST_FUNCTION]
    wide = [node.name for node in functions if len(node.args.args + node.args.kwonlyargs) >= WIDE]
    assert len(wide) <= MOST_WIDE, wide


@pytest.mark.parametrize("library", ["orbax", "grain", "tensorflow_datasets", "flax.nnx", "scipy", "matplotlib"])
def test_importing_does_not_wait_for(library) -> None:
    assert library not in after_import("sorted(sys.modules)").split()


def test_importing_starts_no_backend() -> None:
    """Which hosts there are is said after the import, and before the first array."""
    assert after_import("[__import__('jax')._src.xla_bridge.backends_are_initialized()]") == "False"


def test_no_command_starts_a_backend_as_it_is_imported() -> None:
    modules = [
        name for name in FILES if name.startswith("commands.") or name in ("experiment.loading", "published.models")
    ]
    imports = "; ".join(f"import diffjax.{name.removesuffix('.__init__')}" for name in modules)
    code = f"{imports}; print(__import__('jax')._src.xla_bridge.backends_are_initialized())"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert ended.stdout.strip() == "False"


@cache
def after_import(expression: str) -> str:
    """The items of a list, in a process that has imported what sampling with guidance needs."""
    code = f"import diffjax as dj, sys; dj.sample, dj.guidance, dj.edit, dj.likelihood; print(*{expression})"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
