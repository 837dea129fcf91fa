"""What a command answers before it has loaded JAX: help, and mistakes in flags and fields."""

import subprocess
import sys
from pathlib import Path

import pytest

from diffjax.commands import assessment, evaluation_parts

HEAVY = ("jax", "flax", "orbax", "grain", "tensorflow_datasets", "sklearn", "scipy", "matplotlib")
RUN = f"""
import sys
sys.argv = [name + ".py" for name in sys.argv[1:2]] + sys.argv[2:]
from importlib import import_module
try:
    import_module("diffjax.commands." + sys.argv[0][:-3] + "_command").run()
finally:
    print("loaded:", *[name for name in {HEAVY} if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["train", "--help"], 0),
        (["sample", "--help"], 0),
        (["evaluate", "--help"], 0),
        (["export", "--help"], 0),
        (["train", "--config", "digits", "--wrkdir=runs"], 2),
        (["train", "--config", "digits", "--config.train.stps=3"], 2),
        (["train", "--config", "digits", "--config.train.steps=three"], 2),
        (["train", "--config", "digits"], 2),
        (["train", "--config", "none", "--workdir=runs"], 2),
        (["sample", "--num=few"], 2),
        (["sample", "--workdir=runs"], 2),
        (["evaluate", "--likelihood=odd"], 2),
        (["export"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_help_and_mistakes_load_nothing_heavy(arguments: list[str], code: int, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", RUN, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == code, ended.stderr
    assert ended.stdout.splitlines()[-1].split() == ["loaded:"]


def test_importing_the_library_loads_what_is_used() -> None:
    code = "import sys, diffjax; print('jax' in sys.modules); diffjax.schedule; print('flax' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "False"]


def test_the_parts_that_evaluation_offers_are_those_that_it_has() -> None:
    assert tuple(assessment.PARTS) == evaluation_parts.PARTS
