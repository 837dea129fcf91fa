"""The house: who may import whom, where the heavy libraries live, and what every file owes its reader."""

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

# Each layer (a module, or a whole subpackage) and the layers it may import: only such as stand above it.
GROUND = (
    "errors",
    "host",
    "kinds",
    "contracts",
    "closures",
    "expected",
    "argument_checks",
)  # for all that comes after each
LAYERS = {
    "errors": "",
    "host": "",
    "kinds": "",
    "contracts": "",
    "code": "",
    "function_parts": "",
    "captures": "code function_parts",
    "closures": "code function_parts captures",
    "protocols": "",
    "caching": "",
    "order": "caching protocols",
    "expected": "order protocols",
    "argument_checks": "expected",
    "files": "errors",
    "images": "errors files",
    "slots": "errors kinds",
    "randomness": "errors protocols",
    "paths": "errors",
    "schedule": "errors caching",
    "predict": "errors caching schedule",
    "schedule_checks": "errors contracts schedule",
    "masking": "errors caching contracts schedule schedule_checks",
    "noise": "errors contracts schedule schedule_checks predict masking",
    "masks": "",
    "covariances": "",
    "linear_denoiser": "covariances",
    "denoising": "errors protocols order",
    "times": "errors caching protocols",
    "weights": "errors caching",
    "conditions": "errors protocols",
    "guidance": "errors caching contracts protocols predict denoising",
    "nets": "errors protocols conditions paths",
    "steps": "errors caching protocols randomness schedule masking noise",
    "gridding": "errors protocols randomness denoising steps",
    "grids": "errors protocols noise gridding",
    "mixtures": "",
    "oracles": "errors protocols noise mixtures",
    "condition_dropout": "errors protocols randomness",
    "loss": "errors contracts condition_dropout protocols randomness noise order masks times weights",
    "sampler_arguments": "errors protocols order denoising grids",
    "sampling": "errors contracts protocols randomness noise order denoising steps sampler_arguments",
    "dispatch": "protocols randomness sampling",
    "edit": "errors caching protocols randomness noise order denoising guidance steps grids sampler_arguments sampling "
    "dispatch",
    "lab": "errors protocols randomness schedule predict noise order mixtures oracles steps grids sampling edit",
    "adapting": "errors protocols randomness noise denoising",
    "truth": "errors protocols randomness noise mixtures denoising",
    "decode": "errors protocols order denoising steps sampler_arguments sampling",
    "nested": "errors protocols order denoising steps sampler_arguments sampling",
    "probability_flow": "protocols randomness noise loss",
    "context_bits": "errors protocols randomness noise order denoising loss",
    "likelihood": "errors context_bits protocols randomness noise order denoising loss probability_flow",
    "diagnose": "errors protocols randomness noise order denoising times loss steps sampling linear_denoiser",
    "loss_shares": "protocols times loss",
    "inspection": "protocols noise linear_denoiser diagnose",
    "training": "errors caching files protocols randomness paths nets loss dispatch",
    "data": "errors conditions files images slots protocols randomness mixtures",
    "evaluation": "errors files images randomness covariances",
    "build": "errors protocols slots conditions schedule predict noise order denoising times weights nets steps grids "
    "loss training",
    "run": "errors slots data build",
    "meaning": "errors",
    "record": "errors files slots training data build run meaning",
    "loading": "errors protocols conditions paths order denoising nets training data run record",
    "guiding": "errors protocols slots guidance",
    "draw": "errors protocols conditions randomness order denoising nets guiding grids sampling decode nested dispatch "
    "data evaluation build run",
    "checks": "errors files randomness loss training data",
    "data_examples": "errors conditions randomness training data run",
    "plan": "errors conditions paths nets loss training data build run record loading draw checks data_examples",
    "preflight": "training data run checks plan",
    "bits": "errors protocols conditions randomness mixtures order truth likelihood dispatch evaluation run",
    "judge": "protocols conditions randomness noise mixtures denoising loss loss_shares truth diagnose dispatch "
    "inspection training evaluation build draw bits",
    "real_images": "data",
    "subject": "errors protocols conditions mixtures order denoising data evaluation build run loading draw "
    "real_images",
    "part_progress": "",
    "interruption": "",
    "assessment_state": "evaluation draw bits judge subject",
    "logged_curves": "training evaluation",
    "assessment": "errors noise evaluation part_progress draw bits inspection judge subject assessment_state "
    "logged_curves",
    "sweep": "errors paths draw evaluation subject",
    "asking": "errors images nets data",
    "inputs": "errors images randomness data evaluation run",
    "editing": "protocols randomness denoising edit dispatch data evaluation draw",
    "ways": "errors protocols randomness edit steps sampling dispatch draw",
    "applications": "errors slots edit run inputs editing ways",
    "panel": "errors conditions guiding evaluation loading draw sweep asking",
    "config_files": "errors kinds record",
    "run_outputs": "errors files training evaluation loading",
    "console": "",
    "cli": "errors files guiding config_files console",
}

# Libraries that not everyone may import, and the layers that may; configuration stops at the scripts.
LIBRARIES = {
    "configs": "",
    "ml_collections": "",
    "tensorflow": "",
    "torch": "",
    "absl": "cli console",
    "flax": "nets training evaluation",
    "diffrax": "adapting",
    "equinox": "nets",
    "optax": "training build",
    "orbax": "training",
    "tensorstore": "training",
    "tensorboardX": "training",
    "wandb": "training",
    "grain": "data",
    "tensorflow_datasets": "data",
    "sklearn": "data evaluation",
    "scipy": "grids evaluation",
    "skimage": "data",
    "sentence_transformers": "data",
    "matplotlib": "evaluation",
    "PIL": "images evaluation",
    "safetensors": "training evaluation",
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


def layer(name: str) -> str:
    return name.split(".")[0]


def test_every_module_has_its_place() -> None:
    homeless = {layer(name) for name in INNER} - LAYERS.keys()
    assert not homeless, f"say in LAYERS what {', '.join(homeless)} may import"
    assert not LAYERS.keys() - {layer(name) for name in INNER}, "these are gone: take them out of LAYERS"


def test_layers_lean_only_on_those_above() -> None:
    above: set[str] = set()
    for name, allowed in LAYERS.items():
        assert set(allowed.split()) <= above, name
        above.add(name)


@pytest.mark.parametrize("name", INNER)
def test_imports_go_one_way(name) -> None:
    above = list(LAYERS)[: list(LAYERS).index(layer(name))]
    allowed = {*LAYERS[layer(name)].split(), layer(name), *(ground for ground in GROUND if ground in above)}
    wrong = sorted(found for found in ours(name) if layer(found) not in allowed)
    assert not wrong, f"{name} imports {', '.join(wrong)}; {layer(name)} may import {', '.join(sorted(allowed))}"


def test_files_import_each_other_in_no_circle() -> None:
    graphlib.TopologicalSorter({name: ours(name) for name in FILES}).prepare()


@pytest.mark.parametrize("name", FILES)
def test_libraries_stay_where_they_are_used(name) -> None:
    for library in {found.split(".")[0] for found in imported(name)} & LIBRARIES.keys():
        assert layer(name) in LIBRARIES[library].split(), f"{name} may not import {library}"


def test_pmap_stays_in_one_file() -> None:
    users = set()
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            called = (isinstance(node, ast.Attribute) and node.attr) or (isinstance(node, ast.Name) and node.id)
            spelt = isinstance(node, ast.ImportFrom) and [alias.name for alias in node.names]
            if called == "pmap" or "pmap" in (spelt or ()):
                users.add(name)
    assert users == {"training.parallel"}


def test_classes_do_not_inherit_from_each_other() -> None:
    classes = {node.name: node for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for name, node in classes.items():
        bases = {ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases}
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


PLACES = ("diffjax/**/*.py", "*.py", "configs/*.py")
SOURCES = [path.relative_to(ROOT) for place in PLACES for path in sorted(ROOT.glob(place))]


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_a_file_says_what_it_is_and_is_not_long(path) -> None:
    text = (ROOT / path).read_text()
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert len(text.splitlines()) <= LONGEST


@pytest.mark.parametrize("library", ["orbax", "grain", "tensorflow_datasets", "flax.nnx", "scipy", "matplotlib"])
def test_importing_does_not_wait_for(library) -> None:
    assert library not in after_import("sorted(sys.modules)").split()


def test_importing_starts_no_backend() -> None:
    """Which hosts there are is said after the import, and before the first array."""
    assert after_import("[__import__('jax')._src.xla_bridge.backends_are_initialized()]") == "False"


@cache
def after_import(expression: str) -> str:
    """The items of a list, in a process that has imported diffjax and nothing else."""
    code = f"import diffjax, sys; print(*{expression})"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
