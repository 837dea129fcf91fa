"""Three ternary variables whose every conditional is known: python benchmarks/joint.py (two minutes)

What each order costs against the entropy, and whether 200,000 draws of it are the joint's, by χ².
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import diffjax as dj

NOISE = dj.Masking(vocab=3)
TABLE = np.random.default_rng(0).dirichlet(np.full(27, 0.4)).reshape(3, 3, 3)
DENOISE = dj.oracles.joint(NOISE, TABLE)
DRAWS, COPIES = 200_000, 2_000
ROWS = (  # name, order, steps
    ("raster", dj.order.raster, 3),
    ("any order", dj.order.shuffled, 3),
    ("rolling(0.5)", dj.order.rolling(0.5), 300),
    ("masked", dj.order.together, 3_000),
    ("masked", dj.order.together, 300),
    ("masked", dj.order.together, 3),
    ("all at once", dj.order.together, 1),
)


def main() -> None:
    """One row per order and number of steps."""
    entropy = dj.oracles.entropy(TABLE)
    print(f"entropy {entropy:.4f} nats\n")
    print("| order | steps | bound − entropy, nats | standard error | p of χ², 200,000 draws |")  # noqa: RUF001
    print("|---|---|---|---|---|")
    for name, order, steps in ROWS:
        mean, error = bound(order, steps)
        print(f"| {name} | {steps:,} | {mean - entropy:+.4f} | {error:.4f} | {p_value(order, steps):.2g} |", flush=True)


def bound(order: dj.Order, steps: int) -> tuple[float, float]:
    """Its mean over the joint, and the error of that mean from the draws of terms and orders alone."""
    states = np.stack(np.unravel_index(np.arange(27), TABLE.shape), axis=1)
    x = jnp.asarray(np.tile(states, (COPIES, 1)), jnp.int32)
    bits, errors, _ = dj.likelihood.bits_per_dim(
        dj.keys(0, len(x)), NOISE, order, DENOISE, x, method="bound", steps=steps, draws=min(max(steps, 6), 300)
    )
    weights, nats = np.tile(TABLE.ravel(), COPIES) / COPIES, 3 * np.log(2)
    return float(weights @ np.asarray(bits)) * nats, float(np.sqrt(np.sum((weights * np.asarray(errors)) ** 2))) * nats


def p_value(order: dj.Order, steps: int) -> float:
    """Of the draws' counts under the joint."""
    x = jax.device_get(dj.sample(dj.keys(1, DRAWS), NOISE, order, DENOISE, (3,), steps=steps))
    counts = np.bincount(np.ravel_multi_index(x.T, TABLE.shape), minlength=27)
    return float(stats.chisquare(counts, DRAWS * TABLE.ravel()).pvalue)


if __name__ == "__main__":
    main()
