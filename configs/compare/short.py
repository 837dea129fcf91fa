"""The comparison in minutes: small nets, one training seed, two sampling seeds; it shows the way, and settles nothing.

make compare-short, or

python benchmarks/compare.py --config configs/compare/short.py --workdir runs/compare_short
"""

from configs.compare import Compare


def get_config() -> Compare:
    """Two blocks of width 48, 400 steps."""
    return Compare(
        name="short",
        train_seeds=(0,),
        sample_seeds=(0, 1),
        samples=360,
        steps=400,
        width=48,
        depth=2,
        evaluations=(1, 2, 4, 10, 32),
        checkpoints=4,
        draws=16,
        batch=360,
    )
