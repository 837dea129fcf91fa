"""The comparison on an accelerator: larger nets that are trained for longer, and more samples.

python benchmarks/compare.py --config configs/compare/accelerator.py --workdir runs/compare_accelerator
"""

from configs.compare import Compare


def get_config() -> Compare:
    """Eight blocks of width 256, 10,000 steps; one run at a time has all devices."""
    return Compare(
        name="accelerator",
        samples=1_257,
        steps=10_000,
        width=256,
        depth=8,
        heads=4,
        evaluations=(1, 2, 4, 8, 10, 16, 32, 64, 128),
        at_a_time=(1, 2, 4, 8, 16, 32, 64),
        checkpoints=10,
        bits_of=360,
        draws=64,
        at_once=1,
        batch=2_048,
    )
