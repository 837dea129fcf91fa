"""A sweep draws each setting once: rows are kept by all that they depend on, and are what a plain evaluation gives."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import evaluation as ev
from diffjax import order, predict, reports, schedule
from diffjax.commands import image_sampler, settings_sweep, sweep_values
from diffjax.commands.evaluation_subject import EvaluationSubject
from diffjax.denoising import denoiser
from diffjax.errors import UserError
from diffjax.evaluation.jackknife import Replicates
from diffjax.experiment.config import Config, Sample
from diffjax.experiment.data_spec import DataSpec
from diffjax.experiment.model_info import ModelInfo
from diffjax.nets import MLP
from diffjax.noise import Gaussian

LEVELS, CLASSES, COUNT = 17, 3, 24
FACTS = DataSpec((4, 4, 1), CLASSES, ("a", "b", "c"), LEVELS, (0.4, 0.3, 0.3), "unit")
OTHERS = Sample(sampler="dpmpp_2m", grid="uniform", steps=3)
HOW = settings_sweep.SweepPlan(count=COUNT, seed=3, batch=16)
SAMPLERS = {"sampler": ["ddim", "heun"], "steps": [2]}


def subject(classes=CLASSES) -> EvaluationSubject:
    """An MLP that has learnt nothing, and data of random pixels."""
    rng = np.random.default_rng(0)
    splits = {
        name: (rng.integers(0, LEVELS, (60, 4, 4, 1), dtype=np.uint8), np.arange(60) % CLASSES)
        for name in ("train", "validation", "test")
    }
    noise, net = Gaussian(schedule.cosine, predict.v), MLP(width=8, depth=1, classes=classes)
    example = jnp.zeros((1, 4, 4, 1)), jnp.zeros((1, 1, 1, 1)), jnp.zeros(1, jnp.int32) if classes else None
    denoise = denoiser(noise, net, jax.jit(net.init)(jax.random.key(0), *example))
    info = ModelInfo(net, FACTS, Config(), 7, "0.999")
    return EvaluationSubject(Path("runs/some"), denoise, noise, order.together, info, splits, splits, None)


@pytest.fixture(scope="module")
def model() -> EvaluationSubject:
    return subject()


@pytest.fixture
def drawn(monkeypatch) -> list[int]:
    """One entry for each time that samples were drawn."""
    calls, images = [], image_sampler.sample_images

    def counted(*args):
        calls.append(len(calls))
        return images(*args)

    monkeypatch.setattr(image_sampler, "sample_images", counted)
    return calls


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["steps=5,10, 20"], {"steps": [5, 10, 20]}),
        (["guidance=1,2.5"], {"guidance": [1.0, 2.5]}),
        (["sampler=ddim(eta=1.0),heun,unmask(top_k=2, top_p=0.5)"],
         {"sampler": ["ddim(eta=1.0)", "heun", "unmask(top_k=2, top_p=0.5)"]}),
        (["sampler,steps,guidance"], {"sampler": [], "steps": [], "guidance": []}),
        (["grid=karras(rho=5.0),uniform", "sampler, steps = 4,2 ,guidance"],
         {"grid": ["karras(rho=5.0)", "uniform"], "sampler": [], "steps": [4, 2], "guidance": []}),
    ],
)  # fmt: skip
def test_lists_are_split_at_commas_outside_of_brackets(texts, found) -> None:
    assert sweep_values.parse_lists(texts) == found


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ([], "steps=5,10,20"),
        (["stesp=5"], "sampler, grid, steps, guidance"),
        (["heun"], "'heun'"),
        (["steps,5"], "'5'"),
        (["steps=5,,10"], "steps: "),
        (["steps="], "steps: "),
        (["steps=5,many"], "steps: "),
        (["steps=0"], "steps: "),
        (["guidance=nan"], "'nan'"),
        (["steps=5", "steps=6"], "steps: "),
        (["steps=5,6,5"], "steps: "),
    ],
)
def test_lists_that_cannot_be_read(texts, says) -> None:
    with pytest.raises(UserError, match="--sweep") as error:
        sweep_values.parse_lists(texts)
    assert says in str(error.value)


def test_a_name_alone_means_what_serves_the_model(model) -> None:
    plan = settings_sweep.plan_rows(model, {"sampler": [], "guidance": [2.0, 1.0]}, OTHERS)
    rules = [painter.config.sampler for painter in plan]
    assert rules == [rule for rule in ("ddim", "heun", "dpmpp_2m", "posterior") for _ in range(2)]
    assert [image_sampler.count_evaluations(painter)[0] for painter in plan[:4]] == [6, 3, 12, 6]
    assert [painter.config.steps for painter in settings_sweep.plan_rows(model, {"steps": []}, OTHERS)] == [
        5,
        10,
        20,
        50,
        100,
    ]


@pytest.mark.parametrize(
    ("lists", "says"),
    [
        ({"sampler": ["heun", "confidence"]}, "with sampler confidence, grid uniform, steps 3"),
        ({"grid": ["karras", "karras(rho=0.0)"], "steps": [5, 1]}, "rho"),
        ({"steps": list(range(1, 402)), "guidance": [1.0, 2.0, 3.0]}, "1,203 "),
    ],
)
def test_nothing_is_drawn_where_a_setting_does_not_serve(model, tmp_path, drawn, lists, says) -> None:
    with pytest.raises(UserError, match="--sweep") as error:
        settings_sweep.run_sweep(model, lists, OTHERS, tmp_path / "out", HOW)
    assert says in str(error.value)
    assert not drawn
    assert not (tmp_path / "out").exists()


def test_no_guidance_without_classes() -> None:
    with pytest.raises(UserError, match=r"guidance 1\.5: guidance: "):
        settings_sweep.plan_rows(subject(classes=0), {"guidance": []}, OTHERS)


def same(found: reports.SweepRow, known: reports.SweepRow) -> None:
    """Equal bit for bit."""
    assert (found.settings, found.evaluations) == (known.settings, known.evaluations)
    assert len(found.scores) == len(known.scores) == 5
    for one, other in zip(found.scores, known.scores, strict=True):
        for side in ("samples", "real"):
            jax.tree.map(np.testing.assert_array_equal, getattr(one, side), getattr(other, side))
        assert (one.key, one.name, one.ideal, one.form, one.share) == (
            other.key, other.name, other.ideal, other.form, other.share
        )  # fmt: skip


def test_rows_are_those_of_a_plain_evaluation_and_are_drawn_once(model, tmp_path, drawn, capsys) -> None:
    first = settings_sweep.run_sweep(model, SAMPLERS, OTHERS, tmp_path, HOW)
    for row, rule in zip(first.rows, ("ddim", "heun"), strict=True):
        painter = model.build_sampler(replace(OTHERS, sampler=rule, steps=2))
        images = image_sampler.sample_images(painter, jax.random.key(3), COUNT, 16, model.balanced_conditions(COUNT)[0])
        plain = ev.all_scores(
            images, model.balanced_conditions(COUNT)[1], model.splits, LEVELS, kernels=ev.kernels_for(16)
        )
        same(row, reports.SweepRow(row.settings, 2 * painter.step.evaluations, 0.0, plain))
    drawn.clear()
    capsys.readouterr()
    again = settings_sweep.run_sweep(model, {"sampler": ["heun", "ddim"]}, replace(OTHERS, steps=2), tmp_path, HOW)
    assert capsys.readouterr().err.startswith("2 of 2 ")
    assert not drawn
    for row, known in zip(again.rows, first.rows[::-1], strict=True):
        same(row, known)
        assert row.seconds == known.seconds


CHANGES = {
    "weights": lambda m: replace(m, denoise=jax.tree.map(lambda leaf: leaf + 1, m.denoise)),
    "labels": lambda m: replace(m, splits={name: (x, y % 2) for name, (x, y) in m.splits.items()}),
    "images": lambda m: replace(m, splits={name: (x // 2, y) for name, (x, y) in m.splits.items()}),
    "step": lambda m: replace(m, info=replace(m.info, step=8)),
    "average": lambda m: replace(m, info=replace(m.info, ema="std=0.1")),
}


def test_a_row_has_a_file_for_all_that_it_depends_on(model) -> None:
    kernels, moved = ev.kernels_for(16), replace(model, workdir=Path("elsewhere"))
    about = settings_sweep.sweep_identity(model, kernels, COUNT, 3)
    others = [settings_sweep.sweep_identity(change(model), kernels, COUNT, 3) for change in CHANGES.values()]
    others += [
        settings_sweep.sweep_identity(model, ev.kernels_for(17), COUNT, 3),
        settings_sweep.sweep_identity(model, kernels, COUNT + 1, 3),
    ]
    others += [settings_sweep.sweep_identity(model, kernels, COUNT, 4)]
    files = {reports.row_file("", found, vars(OTHERS)) for found in (about, *others)}
    assert len(files | {reports.row_file("", about, {**vars(OTHERS), "steps": 4})}) == 10
    assert settings_sweep.sweep_identity(moved, kernels, COUNT, 3) == about


@pytest.fixture
def cheap(monkeypatch) -> list[int]:
    """One entry for each time that samples were drawn; none are, and one number is measured of them."""
    calls = []

    def nothing(*args):
        calls.append(len(calls))
        return np.zeros((COUNT, 4, 4, 1), np.uint8)

    def one(*args, **options):
        return [measure(len(calls) / 7)]

    monkeypatch.setattr(image_sampler, "sample_images", nothing)
    monkeypatch.setattr(ev, "all_scores", one)
    return calls


def measure(value=1 / 3) -> ev.Score:
    numbers = Replicates(value, np.arange(3) / 7, np.array([np.nan]))
    return ev.Score("key", "name", "pixels", numbers, numbers, "1", ".2f")


def test_a_sweep_that_was_killed_goes_on(model, tmp_path, cheap, monkeypatch, capsys) -> None:
    lists, write = {"sampler": ["ddim", "euler", "heun"]}, reports.write_row

    def killed(*args):
        path = write(*args)
        if len(cheap) == 2:
            raise KeyboardInterrupt
        return path

    with monkeypatch.context() as patch:
        patch.setattr(reports, "write_row", killed)
        with pytest.raises(KeyboardInterrupt):
            settings_sweep.run_sweep(model, lists, OTHERS, tmp_path, HOW)
    capsys.readouterr()
    found = settings_sweep.run_sweep(model, lists, OTHERS, tmp_path, HOW)
    assert [row.scores[0].samples.value for row in found.rows] == [1 / 7, 2 / 7, 3 / 7]
    told = capsys.readouterr().err
    assert told.startswith("2 of 3 settings were measured before\n")
    assert "\n3 of 3: sampler heun, " in told


def test_a_longer_list_adds_its_rows(model, tmp_path, cheap) -> None:
    settings_sweep.run_sweep(model, {"steps": [2, 3]}, OTHERS, tmp_path, HOW)
    found = settings_sweep.run_sweep(model, {"steps": [1, 2, 3], "guidance": [1.0, 2.0]}, OTHERS, tmp_path, HOW)
    assert [row.scores[0].samples.value * 7 for row in found.rows] == pytest.approx([3, 4, 1, 5, 2, 6])


def test_a_damaged_row_is_computed_anew(model, tmp_path, cheap, capsys) -> None:
    first = settings_sweep.run_sweep(model, SAMPLERS, OTHERS, tmp_path, HOW)
    path = reports.row_file(tmp_path / "sweep", first.about, first.rows[1].settings)
    path.write_text(path.read_text()[:-20])
    capsys.readouterr()
    again = settings_sweep.run_sweep(model, SAMPLERS, OTHERS, tmp_path, HOW)
    told = capsys.readouterr().err
    line = f"diffjax: {path}: cannot be read as a row of a sweep; it is measured again"
    assert told.startswith(f"{line}\n1 of 2 settings were")
    assert [row.scores[0].samples.value for row in again.rows] == [1 / 7, 3 / 7]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: text.replace('"form": ".2f"', '"form": "9999f"'),
        lambda text: text.replace('"value": ', '"value": "1", "was": '),
        lambda text: text.replace("sampler", "simpler"),
        lambda text: "[" * 100_000,
    ],
    ids=["cut", "empty", "form", "value", "other", "deep"],
)
def test_a_damaged_row_is_named(tmp_path, damage) -> None:
    about, settings = {"seed": 3}, {"sampler": "heun"}
    row = reports.SweepRow(settings, 7, 0.1, [measure()] * 5)
    path = reports.write_row(tmp_path, about, row)
    known = reports.read_row(tmp_path, about, settings)
    assert known is not None
    same(known, row)
    path.write_text(damage(path.read_text()))
    with pytest.raises(UserError, match=path.name):
        reports.read_row(tmp_path, about, settings)
