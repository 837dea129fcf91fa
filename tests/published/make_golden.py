"""Make the golden numbers again: .venv-peers/bin/python tests/published/make_golden.py ORIGINALS [FAMILY …] [--compare]

ORIGINALS is a folder with clones of facebookresearch/DiT, willisma/SiT, LTH14/mar, NVlabs/edm, NVlabs/edm2,
openai/guided-diffusion and openai/CLIP; diffusers and transformers are installed. Weights come from NumPy's seeds
(seeded.py), so that the numbers can be made by anyone. With --compare they are compared with those that are stored,
which stay as they are.
"""

import argparse
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
FAMILIES = sorted(
    path.stem for path in (Path(__file__).parent / "originals").glob("*.py") if "def make(" in path.read_text()
)
MAX_ERROR = 1e-5  # relative, of the original by two versions of torch


def make(originals: Path, families: Iterable[str]) -> None:
    """Write the golden files of these families."""
    for family in families:
        importlib.import_module(f"tests.published.originals.{family}").make(originals)


def compare(originals: Path, families: Iterable[str]) -> bool:
    """Print the largest difference in each file that is made again; whether all are small."""
    golden = importlib.import_module("tests.published.originals.golden")
    stored = golden.GOLDEN
    errors = {}
    with TemporaryDirectory() as folder:
        golden.GOLDEN = Path(folder)
        make(originals, families)
        for path in sorted(golden.GOLDEN.glob("*.npz")):
            errors[path.stem] = difference(path, stored / path.name)
            print(f"{path.stem:<28} {errors[path.stem]:.1e}")
    return max(errors.values()) <= MAX_ERROR


def difference(made: Path, kept: Path) -> float:
    """The largest relative difference of the arrays of two files; infinite where they have not the same."""
    with np.load(made) as new, np.load(kept) as old:
        if sorted(new) != sorted(old) or any(new[name].shape != old[name].shape for name in new):
            return np.inf
        numbers = [name for name in new if new[name].dtype.kind == "f" and new[name].size]
        if any(not np.array_equal(new[name], old[name]) for name in new if name not in numbers):
            return np.inf
        differences = (float(np.abs(new[name] - old[name]).max() / np.abs(old[name]).max()) for name in numbers)
        return max(differences, default=0.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("originals", type=lambda text: Path(text).resolve())
    parser.add_argument("families", nargs="*", default=FAMILIES)
    parser.add_argument("--compare", action="store_true")
    arguments = parser.parse_args()
    if arguments.compare:
        sys.exit(0 if compare(arguments.originals, arguments.families) else 1)
    make(arguments.originals, arguments.families)
