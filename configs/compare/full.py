"""The comparison of docs/compare.md: three training seeds and five sampling seeds of every family.

make compare, or

python benchmarks/compare.py --config configs/compare/full.py --workdir runs/compare --publish

About two hours on two cores; its first line says what is left to do.
"""

from configs.compare import Compare


def get_config() -> Compare:
    """The nets of configs/digits_any_order.py, four blocks of width 64, 1,200 steps."""
    return Compare(name="full")
