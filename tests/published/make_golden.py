"""Make the golden numbers again: .venv-peers/bin/python tests/published/make_golden.py ORIGINALS [FAMILY …]

ORIGINALS is a folder with clones of facebookresearch/DiT, willisma/SiT, LTH14/mar, NVlabs/edm, NVlabs/edm2 and
openai/guided-diffusion. Weights come from NumPy's seeds (seeded.py), so that the numbers can be made by anyone.
"""

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
FAMILIES = sorted(
    path.stem for path in (Path(__file__).parent / "originals").glob("*.py") if "def make(" in path.read_text()
)

if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for family in sys.argv[2:] or FAMILIES:
        importlib.import_module(f"tests.published.originals.{family}").make(Path(sys.argv[1]).resolve())
