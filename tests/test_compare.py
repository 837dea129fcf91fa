"""The comparison in miniature: tokens and numbers, two steps of training, one or two points of a curve."""

import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from shell import ROOT, called

sys.path.insert(0, str(ROOT / "benchmarks"))

from configs.compare import Compare
from diffjax import nets, order, predict, schedule
from diffjax.commands import image_sampler
from diffjax.denoising import denoiser
from diffjax.errors import UserError
from diffjax.experiment.build import ModelParts
from diffjax.experiment.config import Sample
from diffjax.experiment.data_spec import DataSpec
from diffjax.noise import Gaussian

families, figures, flops, places, results, runs, scores, whole = (
    importlib.import_module(f"comparing.{part}")
    for part in ["families", "figures", "flops", "places", "results", "runs", "scores", "whole"]
)
MINI = Compare(
    "mini",
    families=("any_order", "side_by_side"),
    train_seeds=(0,),
    sample_seeds=(0,),
    samples=24,
    steps=2,
    batch_size=8,
    width=8,
    depth=1,
    evaluations=(1, 2),
    at_a_time=(32,),
    guidances=(2.0,),
    checkpoints=1,
    bits_of=8,
    draws=2,
    at_once=1,
    batch=24,
)


class Killed(Exception):
    """In place of a signal."""


def here(command: Sequence[str], log: Path) -> None:
    """A script in this process."""
    script, *words = command
    if script == runs.TRAIN:
        assert called(script, *words) == 0
    else:
        scores.main(*words)


@pytest.fixture(scope="module", params=[(), pytest.param(("gaussian",), marks=pytest.mark.long)], ids=["two", "three"])
def folder(request, tmp_path_factory, data_dir) -> Path:
    """A comparison that was killed before its last family was measured, and went on."""
    folder = tmp_path_factory.mktemp("compare")
    mini = replace(MINI, families=MINI.families + request.param, data_dir=str(data_dir))

    def killed(command: Sequence[str], log: Path) -> None:
        if command[0] == runs.SCORE and mini.families[-1] in command:
            raise Killed
        here(command, log)

    with pytest.raises(Killed):
        whole.compared(mini, folder, start=killed)
    before = {path: path.read_bytes() for path in folder.rglob("scores/*/*.json")}
    asked: list[str] = []

    def noted(command: Sequence[str], log: Path) -> None:
        asked.append(command[0])
        here(command, log)

    whole.compared(mini, folder, start=noted)
    assert asked == [runs.SCORE], "what is finished is not repeated"
    assert before
    assert all(path.read_bytes() == told for path, told in before.items())
    return folder


def test_all_that_was_planned_is_measured(folder) -> None:
    mini = places.read(folder)
    assert not [family for job in runs.jobs(mini) for family in job.left(mini, folder)]
    found = results.gathered(mini, folder)["families"]
    assert [point["evaluations"] for point in found["any_order"]["points"]] == [2]
    assert [point["guidance"] for point in found["any_order"]["guided"]] == [1, 2]
    assert found["side_by_side"]["guided"] == found["side_by_side"]["bits"] == []
    if "gaussian" in found:
        one, two = (point["flops"] for point in found["gaussian"]["points"])
        assert two == pytest.approx(2 * one)


def test_the_tables_and_pictures_are_written_beside_it(folder) -> None:
    measured = json.loads(json.dumps(results.gathered(places.read(folder), folder)))
    assert json.loads((folder / "compare.json").read_text())["figures"] == measured
    assert "| any-order autoregression | k = 32 | 2 |" in (folder / "compare.md").read_text()
    assert all((folder / "pictures" / name).stat().st_size for name in figures.FILES)


def test_a_comparison_goes_on_only_as_itself(folder) -> None:
    mini = places.read(folder)
    with pytest.raises(UserError, match="width"):
        places.begin(folder, replace(mini, width=16))
    places.begin(folder, replace(mini, sample_seeds=(0, 1)))  # more of the same
    places.begin(folder, mini)


def test_operations_of_a_product_are_those_that_are_known() -> None:
    x, matrix = jnp.ones((8, 64)), jnp.ones((64, 32))
    assert flops.of(lambda x, matrix: x @ matrix, x, matrix) == pytest.approx(2 * 8 * 64 * 32, rel=0.01)
    assert flops.of(jax.grad(lambda matrix: jnp.sum((x @ matrix) ** 2)), matrix) >= 2 * 2 * 8 * 64 * 32


def test_of_a_net_with_a_head_the_large_part_is_counted_once_a_block() -> None:
    """Twice the steps in a block ask the head alone more often; half the blocks ask the rest half as often."""
    noise, facts = Gaussian(schedule.cosine, predict.v), DataSpec((4, 4, 1), 0, (), 17, (), "unit")
    net = nets.MAR(width=32, depth=2, heads=2, head_width=8, head_depth=1)
    denoise = denoiser(noise, net, jax.jit(net.init)(jax.random.key(0), *(jnp.ones((1, 4, 4, 1)),) * 2))

    def spent(blocks: int, steps: int) -> float:
        model = ModelParts(noise, order.blocks(blocks), net)
        config = Sample(sampler="ddim", grid="uniform", steps=steps)
        return flops.of_sample(image_sampler.build_image_sampler(denoise, model, facts, config))

    head = (spent(8, 4) - spent(8, 2)) / 16
    large = spent(8, 2) / 8 - 2 * head
    assert large > 16 * 2 * 12 * 32**2  # the dense layers of both blocks, for 16 pixels, a product and a sum each
    assert 0 < 2 * head < large / 10
    assert spent(4, 2) == pytest.approx(4 * large + 8 * 2 * head, rel=0.1)


def test_errors_are_of_both_kinds_of_seeds() -> None:
    """Of variances 1 between trainings and 0.25 within, by many repetitions."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(4_000, 8, 1)) + 0.5 * rng.normal(size=(4_000, 8, 5))
    found = np.array([results.mean_and_error(each) for each in drawn])
    assert found[:, 0].std() == pytest.approx(np.sqrt((1 + 0.25 / 5) / 8), rel=0.05)
    assert np.sqrt(np.mean(found[:, 1] ** 2)) == pytest.approx(found[:, 0].std(), rel=0.05)
    assert results.mean_and_error([[2.0]]) == (2.0, None)
    assert results.mean_and_error([[1.0, 3.0]]) == (2.0, 1.0)


@pytest.mark.parametrize("name", ["short", "full", "accelerator"])
def test_every_form_can_be(name) -> None:
    made = importlib.import_module(f"configs.compare.{name}").get_config()
    families.check(made)
    assert made.name == name
    for family in families.named(made.families):
        assert len(names := {point.name for point in family.points(made)}) == len(family.points(made))
        assert {point.name for point in families.guided(family, made) if point.guidance == 1} <= names
        assert (ROOT / "configs" / f"{family.config}.py").is_file()


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--config.families=('raster','rastre')", "rastre"),
        ("--config.steps=7", "config.checkpoints"),
        ("--config.steps=many", "steps"),
        ("--config.widht=8", "width"),
        ("--config.train_seeds=()", "config.train_seeds"),
        ("--config.at_a_time=(1,65)", "config.at_a_time"),
        ("--config.heads=7", "config.heads"),
        ("--config.guidances=(1.0,)", "config.guidances"),
        ("--config.families=('side_by_side',)", "any_order"),
    ],
)
def test_a_mistake_is_one_line(flag, says, tmp_path, capfd) -> None:
    argv = ["--config", ROOT / "configs" / "compare" / "short.py", "--workdir", tmp_path / "x", flag]
    assert called("benchmarks/compare.py", *argv) == 2
    told = capfd.readouterr().err
    assert told.count("\n") == 1
    assert says in told
    assert not (tmp_path / "x").exists()
