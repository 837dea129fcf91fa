"""Digits completed from a part of them, beside two baselines: python benchmarks/completion.py --workdir runs/filling

Of every test image the half, a random half of the pixels or the means of 2×2 blocks are known, and no label. A method
draws `--draws` completions of each: the table has the error of their mean on what was hidden, and how often a
classifier takes the mean, and single completions, for the right digit. Ridge regression and the nearest training image
by what is known get the same. It prints the table for docs/editing.md.

python train.py --config configs/digits_filling.py --workdir runs/filling
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax.numpy as jnp
import numpy as np
from absl import flags
from scoring import accuracy, labels_of
from sklearn.linear_model import RidgeCV

import diffjax as dj
from diffjax.commands import evaluation_subject
from diffjax.commands.command_line import run_command
from diffjax.commands.flags import define_sampling_flags, folder_flag, step_choice
from diffjax.conditions import fill_condition
from diffjax.experiment import specs

define_sampling_flags()
DRAWS = flags.DEFINE_integer("draws", 16, "Completions of each image.")
MOST = flags.DEFINE_integer("most", 360, "Test images.")
METHODS = flags.DEFINE_multi_string("method", ["clamp", "ddnm", "pigdm", "dps"], "Methods of dj.edit.methods.")
BATCH, STEPS = 720, 20
ALPHAS = np.logspace(-2, 3, 11)

Images = np.ndarray  # [n, 8, 8, 1] in [-1, 1]


class Task(NamedTuple):
    """What is known: of pixels where, or of blocks the means."""

    name: str
    known: np.ndarray | None  # bool [n, 8, 8], or None for block means

    def seen(self, x: Images, rows: np.ndarray) -> dj.edit.Observation:
        """Of these images, those of these rows."""
        if self.known is None:
            return dj.edit.downsampled(jnp.asarray(low(x)), 2)
        return dj.edit.inpaint(jnp.asarray(x), jnp.asarray(self.known[rows]))

    def given(self, x: Images) -> np.ndarray:
        """What is known of images, as features, with the mask of the first row."""
        return low(x).reshape(len(x), -1) if self.known is None else x[:, self.known[0]].reshape(len(x), -1)

    def error(self, made: Images, x: Images) -> float:
        """Root mean square over what was hidden, in pixels of [0, 1]."""
        hidden = np.ones(x.shape[:3], bool) if self.known is None else ~self.known
        return float(np.sqrt(np.mean((made - x)[hidden] ** 2))) / 2


def low(x: Images) -> np.ndarray:
    """Means of 2×2 blocks."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4))


def main() -> None:
    """One row per task and method."""
    asked = flags.FLAGS
    model = evaluation_subject.open_subject(folder_flag("workdir"), asked.ema, step_choice(), 1_000_000)
    train, test = (unit(model, name) for name in ("train", "test"))
    test = test[: MOST.value]
    print("| known | method | hidden-pixel error of the mean | right digit: mean | single |\n|---|---|---|---|---|")
    print(f"| everything | — | 0 | {right(model, test):.3f} | |")
    for task in tasks(len(test)):
        for name, draws in (*baselines(task, train, test), *drawn(task, model, test)):
            single = f"{np.mean([right(model, each) for each in draws]):.3f}" if len(draws) > 1 else ""
            mean = draws.mean(axis=0)
            print(
                f"| {task.name} | {name} | {task.error(mean, test):.4f} | {right(model, mean):.3f} | {single} |",
                flush=True,
            )


def tasks(count: int) -> list[Task]:
    """Halves, a random half that is another for each image, and block means."""
    rng = np.random.default_rng(0)
    upper, left = np.zeros((count, 8, 8), bool), np.zeros((count, 8, 8), bool)
    upper[:, :4], left[:, :, :4] = True, True
    scattered = rng.permuted(np.tile(np.arange(64) < 32, (count, 1)), axis=1).reshape(count, 8, 8)
    return [Task("upper half", upper), Task("left half", left), Task("random half", scattered), Task("4x4 means", None)]


def baselines(task: Task, train: Images, test: Images) -> Iterator[tuple[str, np.ndarray]]:
    """Ridge regression of the whole on what is known, and the nearest training image by it; what is known is kept."""
    every = task.known is None or np.all(task.known == task.known[:1])
    parts = [slice(None)] if every else [slice(i, i + 1) for i in range(len(test))]
    found: dict[str, list[np.ndarray]] = {"ridge regression": [], "nearest training image": []}
    for part in parts:
        own = task if task.known is None else Task(task.name, task.known[part])
        given, told = own.given(train), own.given(test[part])
        ridge = RidgeCV(ALPHAS).fit(given, train.reshape(len(train), -1)).predict(told)
        nearest = train[np.argmin(((given[None] - told[:, None]) ** 2).sum(-1), axis=1)]
        found["ridge regression"].append(ridge.reshape(-1, *test.shape[1:]))
        found["nearest training image"].append(nearest)
    for name, pieces in found.items():
        made = np.concatenate(pieces)
        yield name, (made if task.known is None else np.where(task.known[..., None], test, made))[None]


def drawn(task: Task, model: evaluation_subject.EvaluationSubject, test: Images) -> Iterator[tuple[str, np.ndarray]]:
    """The completions of each method that serves the task."""
    for text in METHODS.value:
        method = specs.instantiate(dj.edit.methods, text, "--method")
        if task.known is None and not method.bases:
            continue
        yield text, completions(task, model, test, method)


def completions(
    task: Task, model: evaluation_subject.EvaluationSubject, test: Images, method: dj.edit.Method
) -> np.ndarray:
    """`--draws` completions of each test image, [draws, n, 8, 8, 1]."""
    rows = np.tile(np.arange(len(test)), DRAWS.value)
    made, root = [], dj.keys(flags.FLAGS.seed, len(rows))
    steps = flags.FLAGS["steps"].value or STEPS
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        cond = fill_condition(model.info.net.null_cond, len(some), {})
        seen = task.seen(test[some], some)
        at: dict[str, Any] = {"method": method, "cond": cond, "steps": steps}
        x = dj.edit.solve(root[start : start + BATCH], model.noise, dj.order.together, model.denoise, seen, **at)
        made.append(np.asarray(x))
    return np.concatenate(made).reshape(DRAWS.value, len(test), *test.shape[1:])


def unit(model: evaluation_subject.EvaluationSubject, split: str) -> Images:
    """The images of a split as the model has them."""
    images, facts = model.real[split][0], model.info.facts
    return np.asarray(facts.encoding.encode(None, jnp.asarray(images), facts.levels))


def right(model: evaluation_subject.EvaluationSubject, made: Images) -> float:
    """How often a classifier takes images for the digits of the test images."""
    pixels = (made.reshape(len(made), -1).clip(-1, 1) + 1) / 2
    return accuracy(model, pixels, labels_of(model, "test")[: len(made)])


if __name__ == "__main__":
    run_command(main, __doc__ or "")
