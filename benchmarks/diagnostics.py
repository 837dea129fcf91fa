"""What the loss of validation, and its split by noise level, cost configs/digits.py: python benchmarks/diagnostics.py

A minute. After each round of steps in the trainer, both ways to validate take turns, as `train.py` calls them: the
split into bands with all that it writes, and beside it the mean loss alone.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, PyTree

sys.path.insert(0, str(Path(__file__).parent.parent))

from configs.digits import get_config
from diffjax.commands.training_plan import TrainingPlan, encode_examples, plan_training
from diffjax.experiment import build
from diffjax.experiment.config import Train
from diffjax.training.loop import fit
from diffjax.training.progress import Log, RunLength
from diffjax.training.step import losses
from diffjax.training.validation import NAME

ROUNDS, STEPS = 21, 20
Validate = Callable[[PyTree], dict[str, float]]


def main() -> None:
    """Medians over all rounds but the first, which compiles; there the bands go first, and bear what both need."""
    config = get_config()
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_training(config, Path(folder))
        steps, plain, bands = measured(plan, config.train, mean_alone(plan, config.train))
    every, total = config.train.save_every_steps, config.train.steps
    step = float(np.median(steps[1:])) / STEPS
    calls = -(-total // every)
    print(f"{len(plain) - 1} rounds of {STEPS} steps, {1000 * step:.1f} ms a step; load {os.getloadavg()[0]:.1f}\n")
    print(
        f"| of {total:,} steps, {calls} calls | a call, ms (quartiles) | share | the first, ms | share of all calls |"
    )
    print("|---|---|---|---|---|")
    for name, found in {"mean loss alone": plain, "with bands": bands, "the bands' part": bands - plain}.items():
        low, call, high = np.quantile(found[1:], (0.25, 0.5, 0.75))
        share, whole = call / (every * step), (found[0] + (calls - 1) * call) / (total * step)
        told = f"{1000 * call:.1f} ({1000 * low:.1f} to {1000 * high:.1f})"
        print(f"| {name} | {told} | {share:.3%} | {1000 * found[0]:.0f} | {whole:.2%} |")


def mean_alone(plan: TrainingPlan, t: Train) -> Validate:
    """`held_out` without bands: the same examples and noise, of which the mean is all that leaves the device."""
    loss = build.build_loss(plan.model, t, drop_conditions=False)
    of = encode_examples(plan.dataset, "validation", t.validate_images, plan.facts, plan.model.net.null_cond)

    def silent(variables: PyTree, x: Any, level: Any, cond: PyTree, keys: Any, *more: Any) -> Any:
        return plan.model.net.apply(variables, x, level, cond, None, *more)

    @jax.jit
    def mean(params: PyTree, keys: Any, x: Any, cond: PyTree) -> Array:
        return losses(SimpleNamespace(apply=silent), loss, params, keys, x, cond).mean()

    return lambda params: {NAME: float(mean(jax.tree.map(lambda leaf: leaf.addressable_shards[0].data, params), *of))}


def measured(plan: TrainingPlan, t: Train, plain: Validate) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seconds of each round: of its steps, of the mean alone, and of the bands."""
    assert plan.validate is not None
    ways, found, turns = (plain, plan.validate), [], count()
    before = time.perf_counter()
    with closing(Log(plan.writers, RunLength(0, ROUNDS * STEPS, t.log_every_steps, 1), quiet=True)) as log:

        def tell(step: int, state: Any, metrics: Any) -> None:
            nonlocal before
            jax.block_until_ready(state)
            row, first = [time.perf_counter() - before, 0.0, 0.0], next(turns) % 2
            for place in (1 - first, first):
                start = time.perf_counter()
                log.log_values(step, ways[place](state.ema["params"]))
                row[1 + place] = time.perf_counter() - start
            found.append(row)
            before = time.perf_counter()

        options = {"optimizer": plan.optimizer, "start": plan.start, "events": [(STEPS, tell)], "watch": log.log_steps}
        fit(plan.start.key, plan.net, plan.loss, plan.stream, ROUNDS * STEPS, **options)
    steps, mean, bands = np.array(found).T
    return steps, mean, bands


if __name__ == "__main__":
    main()
