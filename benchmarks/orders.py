"""Measured order of accuracy of every deterministic step rule: python benchmarks/orders.py (half a minute)"""

import jax
import jax.numpy as jnp
import numpy as np

import diffjax as dj

MEAN, STD, COUNTS = 0.7, 0.4, (100, 200, 400)
RULES = {"euler": 1, "ddim": 1, "heun": 2, "dpmpp_2m": 2}
SCHEDULES = ("cosine", "flow", "linear_beta")


def main() -> None:
    """One row per rule: what is claimed, and what is measured on each schedule."""
    print("| rule | claimed |", " | ".join(SCHEDULES), "|")
    print("|---" * (2 + len(SCHEDULES)) + "|")
    with jax.enable_x64(True):
        for rule, claimed in RULES.items():
            measured = [f"{order(rule, name):.2f}" for name in SCHEDULES]
            print(f"| {rule} | {claimed} |", " | ".join(measured), "|", flush=True)


def order(rule: str, name: str) -> float:
    """The slope of log error over log steps."""
    noise = dj.Gaussian(getattr(dj.schedule, name), dj.predict.v)
    errors = [error(noise, getattr(dj.steps, rule)(), count) for count in COUNTS]
    return float(-np.polyfit(np.log(COUNTS), np.log(errors), 1)[0])


def error(noise: dj.Gaussian, step: dj.Step, count: int) -> float:
    """The largest distance to the exact solution, along which (x - alpha m) / √(alpha² c² + sigma²) stays."""

    def law(t: float) -> tuple[jax.Array, jax.Array]:
        alpha, sigma = noise.schedule(jnp.asarray(t))
        return alpha * MEAN, jnp.sqrt(alpha**2 * STD**2 + sigma**2)

    (mean, std), (end_mean, end_std) = law(0.95), law(0.05)
    z = jnp.array([[-1.5], [-0.5], [0.3], [2.0]])
    denoise = dj.oracles.gaussian(noise, np.array([MEAN]), np.array([[STD**2]]))
    grid = jnp.linspace(0.95, 0.05, count + 1)
    x = dj.sample(dj.keys(0, 4), noise, dj.order.together, denoise, (1,), grid=grid, step=step, start=mean + std * z)
    return float(jnp.max(jnp.abs(x - (end_mean + end_std * z))))


if __name__ == "__main__":
    main()
