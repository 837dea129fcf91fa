"""What a training step of configs/digits.py costs in the trainer: python benchmarks/step_time.py"""

import sys
import time
from itertools import pairwise
from pathlib import Path

import jax

sys.path.insert(0, str(Path(__file__).parent.parent))

from configs.digits import get_config
from diffjax.commands.data_examples import standard_deviation, with_data_std
from diffjax.data import batches, open_dataset
from diffjax.experiment import build, data_spec
from diffjax.training.loop import fit
from diffjax.training.optimizers import adamw

WARM, ROUNDS, STEPS = 50, 10, 50


def main() -> None:
    """Rounds of steps, timed at their ends; the fastest and the median round."""
    config = get_config()
    dataset = open_dataset(config.data.name)
    facts, t = data_spec.build_data_spec(dataset, config.data.form), config.train
    model = with_data_std(config.model, standard_deviation(dataset, facts), facts)
    built = build.build_model(model, facts)
    loss = build.build_loss(built, t)
    ticks: list[float] = []

    def tick(step: int, state: object, metrics: dict) -> None:
        jax.block_until_ready(metrics)
        ticks.append(time.perf_counter())

    steps = WARM + ROUNDS * STEPS
    stream = batches(dataset, "train", config.data.batch_size, 0, form=facts.encoding)
    fit(jax.random.key(0), built.net, loss, stream, steps, optimizer=adamw(steps), events=[(STEPS, tick)])
    rounds = sorted((after - before) / STEPS for before, after in pairwise(ticks))
    print(f"{1000 * rounds[0]:.1f} ms fastest, {1000 * rounds[len(rounds) // 2]:.1f} ms median of {len(rounds)} rounds")


if __name__ == "__main__":
    main()
