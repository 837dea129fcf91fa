"""Weights that leave a run: as one file, as the start of another run, and as averages that were not kept."""

import os
import re
import shutil

import jax
import numpy as np
import pytest
from conftest import Trained, trained

from diffjax.commands import training_setup
from diffjax.errors import UserError
from diffjax.experiment import trained_model
from diffjax.training import safetensors_io

QUIET = ("--config.train.picture_every_steps=0", "--config.train.validate_images=0")
FORTY = ("--config.train.steps=40", "--config.train.save_every_steps=20")
AVERAGES = ("--config.train.ema_std=(0.05, 0.1)", "--config.train.snapshot_every_steps=4", *FORTY)


@pytest.fixture(scope="module")
def stored(tmp_path_factory, data_dir) -> Trained:
    """Forty steps with two averages of constant share, stored every fourth step, and two checkpoints."""
    folder = tmp_path_factory.mktemp("stored")
    return trained(folder, data_dir, True, *QUIET, *AVERAGES)


@pytest.fixture(scope="module")
def exported(tiny, tmp_path_factory):
    return tmp_path_factory.mktemp("exported") / "tiny.safetensors"


def leaves(weights: trained_model.Weights) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(weights.params)]


def test_a_file_is_read_as_its_run_is(tiny, exported, call, tmp_path) -> None:
    told = call("export.py", "--workdir", tiny.workdir, "--out", exported)
    assert told.code == 0
    assert f"{exported}: weights of {tiny.workdir}, step 2, average 0.999, " in told.err
    of_run, of_file = trained_model.load(tiny.workdir), trained_model.load(exported)
    for one, other in zip(jax.tree.leaves(of_run[0]), jax.tree.leaves(of_file[0]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert of_run[3] == of_file[3]
    samples = []
    for source in (tiny.workdir, exported):
        out = tmp_path / source.name
        assert call("sample.py", "--workdir", source, "--out", out, "--num=4").code == 0
        with np.load(out / "samples.npz") as saved:
            samples.append({name: saved[name] for name in saved.files})
    for name, value in samples[0].items():
        np.testing.assert_array_equal(value, samples[1][name])


def test_a_file_has_one_average_of_one_step(tiny, exported, call, tmp_path) -> None:
    trained_model.export_weights(trained_model.read_weights(tiny.workdir), exported)
    for option in ("--ema=0.9", "--step=1", "--step=best"):
        told = call("sample.py", "--workdir", exported, "--out", tmp_path / "out", option)
        assert told.code == 2
        assert f"{exported}: " in told.err
    assert call("evaluate.py", "--workdir", exported).err.count("--out: ") == 1
    told = call("export.py", "--workdir", tiny.workdir, "--out", tmp_path / "weights.npz")
    assert (told.code, "weights.safetensors" in told.err) == (2, True)
    assert not [*tmp_path.iterdir()]


@pytest.mark.long
def test_a_step_is_chosen_by_number_or_as_the_best(stored, call, tmp_path) -> None:
    assert trained_model.read_weights(stored.workdir, step=20).step == 20
    assert trained_model.read_weights(stored.workdir, step="best").step in (20, 40)
    for step in ("7", "-1", "late", "9" * 30):
        told = call("sample.py", "--workdir", stored.workdir, "--out", tmp_path / "out", f"--step={step}")
        assert told.code == 2
        assert step in told.err
        assert told.err.count("\n") == 1


@pytest.mark.long
def test_an_average_made_afterwards_is_the_one_that_was_not_kept(stored, tmp_path, data_dir) -> None:
    """The same training with std=0.07 kept from the start; averages change no step."""
    kept = trained(tmp_path, data_dir, True, *QUIET, *FORTY, "--config.train.ema_std=(0.07,)")
    expected, found = (leaves(trained_model.read_weights(each.workdir, "std=0.07")) for each in (kept, stored))
    other = leaves(trained_model.read_weights(stored.workdir, "std=0.1"))
    apart, nearest = (
        max(np.abs(one - other).max() for one, other in zip(expected, each, strict=True)) for each in (found, other)
    )
    assert 0 < apart < nearest / 20
    assert "of 9 snapshots" in trained_model.read_weights(stored.workdir, "std=0.07").synthesis
    assert "of 4 snapshots" in trained_model.read_weights(stored.workdir, "std=0.07", 20).synthesis
    assert trained_model.read_weights(stored.workdir, "std=0.05").synthesis == ""


def test_an_average_that_cannot_be_made_is_refused(stored, tiny, tmp_path) -> None:
    with pytest.raises(UserError, match=r"^ema: std=0\.01 .*std=0\.05, std=0\.1"):
        trained_model.read_weights(stored.workdir, "std=0.01")
    with pytest.raises(UserError, match=r"^ema: .*train\.ema_std"):
        trained_model.read_weights(tiny.workdir, "std=0.1")
    run = shutil.copytree(stored.workdir, tmp_path / "run")
    path = run / trained_model.SNAPSHOTS / "00000012.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(UserError, match="00000012"):
        trained_model.read_weights(run, "std=0.07")
    tree, about = safetensors_io.read(run / trained_model.SNAPSHOTS / "00000016.safetensors")
    safetensors_io.write(path, {"std=0.05": tree["std=0.05"]}, about)
    with pytest.raises(UserError, match="00000012"):
        trained_model.read_weights(run, "std=0.07")


def test_a_new_run_begins_with_what_fits(tiny, call, tmp_path, data_dir) -> None:
    """Without classes, the table of classes has no use; everything else is the other run's, bit for bit."""
    options = (*QUIET, "--config.model.conditional=False", f"--config.train.init_from={tiny.workdir}")
    command = ("train.py", "--config", tiny.config, "--workdir", tmp_path / "run", *options)
    told = call(*command, "--config.train.learning_rate=1e-30")
    assert told.code == 0
    assert f"parameters are those of {tiny.workdir}, step 2, 0.999" in told.err
    assert "left: Embedding_0/Embed_0/embedding (11, 8)" in told.err
    assert "fresh" not in told.err
    given, found = trained_model.read_weights(tiny.workdir).params, trained_model.read_weights(tmp_path / "run").params
    np.testing.assert_allclose(found["Dense_0"]["kernel"], given["Dense_0"]["kernel"], atol=1e-6)
    told = call(*command, "--config.train.learning_rate=1e-30", "--config.train.steps=3")
    assert "init_from" not in told.err, "it goes on from its own checkpoint"


def test_a_new_run_of_another_size_is_told_what_is_fresh(tiny) -> None:
    given = training_setup.InitialWeights(trained_model.read_weights(tiny.workdir).params, "there")
    ours = {**given.params, "Dense_0": {"kernel": np.ones((3, 8), np.float32), "bias": np.ones(8, np.float32)}}
    taken, told = training_setup.matching_weights(ours, given)
    assert any(line.startswith("  fresh: Dense_0/kernel (3, 8); there it is (64, 8)") for line in told)
    np.testing.assert_array_equal(taken["Dense_0"]["kernel"], 1)
    np.testing.assert_array_equal(taken["Dense_0"]["bias"], given.params["Dense_0"]["bias"])
    with pytest.raises(UserError, match=r"train\.init_from: "):
        training_setup.matching_weights({"Other": {"kernel": np.ones(3)}}, given)


def test_what_is_no_run_is_no_beginning(tiny, call, tmp_path) -> None:
    (tmp_path / "empty.safetensors").write_text("")
    for source in ("none", "empty.safetensors"):
        command = ("train.py", "--config", tiny.config, "--workdir", tmp_path / "run")
        told = call(*command, f"--config.train.init_from={tmp_path / source}")
        assert told.code == 2
        assert str(tmp_path / source) in told.err
    assert not (tmp_path / "run").exists()


def test_a_run_is_fine_tuned_by_adapters_and_drawn_from(tiny, call, tmp_path) -> None:
    """Base weights are those of the other run to the last bit; what is loaded, and exported, is the bare net."""
    options = (
        *QUIET,
        "--config.model.adapters=lora(rank=2, on='Dense_*')",
        f"--config.train.init_from={tiny.workdir}",
        "--config.train.freeze=('lora/Dense_0/*',)",
    )
    command = ("train.py", "--config", tiny.config, "--workdir", tmp_path / "run", *options)
    checked, told = call(*command, "--check"), call(*command)
    assert told.code == 0, told.err
    for line in (checked.out, told.err):
        assert re.search(r"[\d,]+ of [\d,]+ parameters trained", line)
        assert re.search(r"([\d,]+) of \1 parameters are those of ", line), line
    given, found = trained_model.read_weights(tiny.workdir), trained_model.read_weights(tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, found.params["base"], given.params)
    np.testing.assert_array_equal(found.params["lora"]["Dense_0"]["kernel"]["up"], 0)
    assert np.any(found.params["lora"]["Dense_3"]["kernel"]["up"])
    assert call("sample.py", "--workdir", tmp_path / "run", "--out", tmp_path / "out", "--num=2").code == 0
    assert call("export.py", "--workdir", tmp_path / "run", "--out", tmp_path / "w.safetensors").code == 0
    of_run, of_file = trained_model.load(tmp_path / "run"), trained_model.load(tmp_path / "w.safetensors")
    assert of_run[3].net == trained_model.load(tiny.workdir).info.net
    jax.tree.map(np.testing.assert_array_equal, of_run[0].variables, of_file[0].variables)
    other = call(*command[:-1])
    assert other.code == 2
    assert "config.train.freeze" in other.err


def test_a_run_under_any_name_is_exported_and_drawn_from(call, tiny, tmp_path) -> None:
    workdir = shutil.copytree(tiny.workdir, tmp_path / os.fsdecode(b"[\xff*] \\"))
    assert call("export.py", "--workdir", f"{workdir}/../{workdir.name}", "--out", workdir / "w.safetensors").code == 0
    for source in (workdir, workdir / "w.safetensors"):
        assert call("sample.py", "--workdir", source, "--out", workdir / "drawn", "--num", 2).code == 0
    missing = call("sample.py", "--workdir", f"{workdir}-missing", "--out", tmp_path / "drawn")
    assert missing.code == 2
    assert len(missing.err.splitlines()) == 1


def test_what_killed_writers_left_is_cleared_when_training_starts_again(call, tiny, tmp_path) -> None:
    workdir = shutil.copytree(tiny.workdir, tmp_path / "run")
    left = [workdir / folder / f".a.png.{2**22 + 1}.part" for folder in (".", "pictures", "snapshots")]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    told = call("train.py", "--config", tiny.config, "--workdir", workdir)
    assert told.code == 0
    assert "already at step 2" in told.err
    assert not any(path.exists() for path in left)
