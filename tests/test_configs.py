"""Every experiment in configs/ loads, holds what its types say, and builds; its docstring says how to run it."""

import ast
import dataclasses
import re
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from diffjax.commands.config_flags import find_config
from diffjax.data import condition_parts
from diffjax.data.examples import Feature
from diffjax.experiment import build, config_files, data_spec, meaning, specs
from diffjax.experiment.config import Config
from diffjax.experiment.picture_defaults import choose_settings, unset_fields
from diffjax.utils.prng import keys

ROOT = Path(__file__).parents[1]
FILES = [*sorted((ROOT / "configs").glob("[!_]*.py")), *sorted((ROOT / "examples").glob("*/config_*.py"))]


@pytest.fixture(params=FILES, ids=[path.stem for path in FILES])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(ROOT))  # as `python train.py` has it
    return request.param


STAND_IN = data_spec.DataSpec((8, 8, 1), 10, (), 17, (), "unit")  # for the data of a config


@pytest.fixture
def config(path: Path):
    """The config, with what a new run would choose of the fields that it leaves open."""
    fields = meaning.flatten_config(runpy.run_path(str(path))["get_config"]())
    choices = choose_settings(STAND_IN, 1_000, 8)
    unset = unset_fields(fields)
    return meaning.unflatten_config({**fields, **{each.path: each.value for each in choices if each.path in unset}})


def test_there_are_some() -> None:
    assert FILES


def test_it_is_a_config_of_the_right_types(config) -> None:
    assert type(config) is Config
    config_files.check_types(config, "config")


def test_it_is_new_every_time(path) -> None:
    """Overrides change a config in place; the next reader must not see them."""
    get_config = runpy.run_path(str(path))["get_config"]
    first = get_config()
    first.train.steps += 1
    assert get_config().train.steps == first.train.steps - 1
    assert get_config() == get_config()


def test_it_builds(config) -> None:
    t, s = config.train, config.sample
    model = dataclasses.replace(config.model, data_std=config.model.data_std or 0.75)  # where it is to be measured
    features = {"text": Feature((), np.dtype(object), text=True)}
    about = condition_parts.PartContext(
        (8, 8, 1), tuple(map(str, range(10))), 17, features
    )  # data that stand in for the config's own
    made = [specs.instantiate(condition_parts, text, "data.parts")(about) for text in config.data.parts]
    heard = tuple(data_spec.PartSpec(part.name, part.shape, part.vocab) for part in made)
    facts = dataclasses.replace(STAND_IN, form=config.data.form, parts=heard)
    if config.model.net.startswith("AutoencoderKL"):
        facts = dataclasses.replace(facts, shape=(8, 8, 3))
    built = build.build_model(model, facts)
    assert (built.net.null_cond is not None) == bool(config.model.conditional or config.model.conditions)
    loss = build.build_loss(built, t)
    made = build.build_optimizer(t)
    cond = jax.tree.map(lambda leaf: leaf[None], built.net.null_cond)
    x = facts.encoding.empty(facts.shape)
    params = jax.eval_shape(built.net.init, jax.random.key(0), x, jnp.zeros((1,) * x.ndim), cond)["params"]
    value = jax.eval_shape(loss, keys(0, 1), Partial(built.net.apply, {"params": params}), x, cond)
    assert value.shape == (1,)
    assert jax.tree.leaves(jax.eval_shape(made.init, params))
    step, grid = build.build_sampler(built.noise, built.order, step=s.sampler, grid=s.grid, count=s.steps)
    assert step.per_position or built.order.width == 1
    assert (grid[0], grid[-1], len(grid)) == (1, 0, s.steps * max(built.order.blocks, 1) + 1)
    assert bool(jnp.all(jnp.diff(grid) < 0))


def test_its_numbers_can_be(config) -> None:
    t = config.train
    for count in (t.steps, t.log_every_steps, t.save_every_steps, t.picture_every_steps, t.keep_checkpoints):
        assert count >= 1
    assert config.data.batch_size % 8 == 0, "a multiple of eight serves one device and a host of eight"
    assert t.ema or t.ema_std
    assert all(0 <= decay < 1 for decay in t.ema)


def test_its_docstring_says_how_to_run_it(path) -> None:
    told = ast.get_docstring(ast.parse(path.read_text())) or ""
    name = path.relative_to(ROOT).as_posix()
    assert re.search(rf"^python train\.py --config {re.escape(name)} --workdir runs/\S+", told, re.MULTILINE)


def test_a_config_that_comes_with_the_package_is_found_by_its_name(tmp_path, monkeypatch) -> None:
    """From any folder; a file of the user's own comes first."""
    monkeypatch.chdir(tmp_path)
    shipped = (ROOT / "configs" / "digits.py").read_text()
    for name in ("digits", "digits.py", "configs/digits.py"):
        assert find_config(name).read_text() == shipped
    assert find_config("no_such") == Path("no_such")
    (tmp_path / "digits").write_text("own")
    assert find_config("digits").read_text() == "own"
