"""The scripts end to end, on a run of two steps: what they write, and that the same asked for twice is the same."""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from diffjax.commands.condition_inputs import sample_labels
from diffjax.data import pixel_representation
from diffjax.experiment import config_files, run_record, trained_model
from diffjax.training import retention

ROOT = Path(__file__).parents[2]


def samples(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "samples.npz", allow_pickle=False) as saved:
        return dict(saved)


def saved_config(workdir: Path) -> dict:
    return json.loads((workdir / "config.json").read_text())["config"]


def test_a_run_holds_what_it_promises(tiny) -> None:
    saved = run_record.read_record(tiny.workdir)
    config, data = saved.config, saved.data
    assert config.model.net == "MLP(width=8, depth=1)"
    assert (data.shape, data.classes, data.levels) == ((8, 8, 1), 10, 17)
    assert sum(data.label_frequencies) == pytest.approx(1)
    assert [path.name for path in retention.checkpoint_folders(tiny.workdir / "checkpoints")] == ["00000002"]
    assert (tiny.workdir / "pictures" / "step_00000002.png").is_file()
    lines = [json.loads(line) for line in (tiny.workdir / "metrics.jsonl").read_text().splitlines()]
    assert {line["step"] for line in lines} == {2}
    assert np.isfinite(lines[0]["loss"])


def test_training_goes_on_where_it_stopped(tiny, tmp_path, call) -> None:
    """With more steps and another learning rate: both are told, both are written, and the same run is at step 4."""
    workdir = shutil.copytree(tiny.workdir, tmp_path / "run")
    more = ["--config.train.steps=4", "--config.train.learning_rate=0.001"]
    told = call("train.py", "--config", tiny.config, "--workdir", workdir, *more)
    assert told.code == 0, told.err
    assert "config.train.learning_rate: 0.002 before, 0.001 from here on" in told.err
    assert "config.train.steps: 2 before, 4 from here on" in told.err
    assert "step 2 to 4" in told.err
    assert saved_config(workdir) == {**saved_config(tiny.workdir), "train": saved_config(workdir)["train"]}
    assert saved_config(workdir)["train"]["steps"] == 4
    assert saved_config(workdir)["train"]["learning_rate"] == 0.001
    assert trained_model.load(workdir).info.step == 4
    assert trained_model.load(workdir, step=2).info.step == 2

    again = call("train.py", "--config", tiny.config, "--workdir", workdir, *more)
    assert again.code == 0
    assert "already at step 4" in again.err


def test_a_workdir_alone_resumes_with_the_config_of_the_run(tiny, tmp_path, call) -> None:
    """With the same overrides, the run is bit for bit the one that the config's file goes on with."""
    with_file, alone = (shutil.copytree(tiny.workdir, tmp_path / name) for name in ("with_file", "alone"))
    more = ["--config.train.steps=4", "--config.train.ema=(0.999,)", "--config.sample.guidance=2"]
    for workdir, config in ((with_file, ["--config", tiny.config]), (alone, [])):
        told = call("train.py", *config, "--workdir", workdir, *more)
        assert told.code == 0, told.err
        assert "step 2 to 4" in told.err
    assert saved_config(alone) == saved_config(with_file)
    assert saved_config(alone)["sample"]["guidance"] == 2
    jax.tree.map(
        np.testing.assert_array_equal, *(trained_model.load(each).denoise.variables for each in (alone, with_file))
    )

    again = call("train.py", f"--workdir={alone}")
    assert again.code == 0, again.err
    assert "already at step 4" in again.err


def test_a_workdir_alone_resumes_a_run_of_an_earlier_version(tiny, tmp_path, call) -> None:
    """A field that its config does not have yet is the default."""
    workdir = shutil.copytree(tiny.workdir, tmp_path / "run")
    saved = json.loads((workdir / "config.json").read_text())
    del saved["config"]["train"]["label_drop"]
    del saved["sha256"]
    (workdir / "config.json").write_text(json.dumps(saved))
    told = call("train.py", "--workdir", workdir, "--check")
    assert told.code == 0, told.err
    assert "label_drop" not in told.out


def test_samples_are_in_the_form_that_evaluators_read(drawn, tiny) -> None:
    saved = samples(drawn)
    assert (saved["arr_0"].shape, saved["arr_0"].dtype) == ((12, 8, 8, 1), np.uint8)
    assert saved["arr_0"].max() > 127 > saved["arr_0"].min()
    assert saved["arr_1"].shape == (12,)
    assert set(saved["arr_1"]) <= set(range(10))
    config = run_record.read_record(tiny.workdir).config
    source = json.loads(str(saved["provenance"]))
    assert source == {
        **vars(config.sample),
        "seed": 0,
        "config": config_files.config_hash(config),
        "step": 2,
        "ema": "0.999",
    }


def test_pictures_beside_the_samples_can_be_opened(drawn) -> None:
    sizes = {}
    for name in ("grid.png", "strip.png", "animation.gif"):
        with Image.open(drawn / name) as picture:
            picture.load()
            sizes[name] = getattr(picture, "n_frames", 1), picture.size
    assert sizes["animation.gif"][0] == 4  # the noise and three steps
    assert all(width > 8 and height > 8 for _, (width, height) in sizes.values())


def test_the_same_seed_gives_the_same_pictures_in_any_batch(drawn, tiny, tmp_path, call) -> None:
    told = call("sample.py", "--workdir", tiny.workdir, "--out", tmp_path, "--num", 11, "--batch", 8)
    assert told.code == 0, told.err
    for name in ("arr_0", "arr_1"):
        np.testing.assert_array_equal(samples(tmp_path)[name], samples(drawn)[name][:11])


def test_one_label_and_another_way_to_sample(drawn, tiny, tmp_path, call) -> None:
    how = ["--label=3", "--seed=7", "--guidance=2", "--sampler=ddim(eta=1.0)", "--grid=log_snr", "--steps=2"]
    told = call("sample.py", "--workdir", tiny.workdir, "--out", tmp_path, "--num", 12, *how)
    assert told.code == 0, told.err
    assert set(samples(tmp_path)["arr_1"]) == {3}
    assert (samples(tmp_path)["arr_0"] != samples(drawn)["arr_0"]).any()
    source = json.loads(str(samples(tmp_path)["provenance"]))
    assert (source["sampler"], source["grid"], source["steps"]) == ("ddim(eta=1.0)", "log_snr", 2)
    assert (source["seed"], source["guidance"]) == (7, 2.0)


def test_labels_have_the_frequencies_of_training() -> None:
    """4,000 draws: six standard errors of a share are at most 0.05, and what never occurs is never drawn."""
    shares = (0.25, 0.0, 0.75)
    drawn = sample_labels(jax.random.key(0), 4_000, shares)
    np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 4_000, shares, atol=0.05)
    assert not (drawn == 1).any()
    np.testing.assert_array_equal(sample_labels(jax.random.key(0), 10, shares), drawn[:10])


def test_an_unconditional_run_has_no_labels(unconditional, tmp_path, call) -> None:
    told = call("sample.py", "--workdir", unconditional.workdir, "--out", tmp_path, "--num", 3)
    assert told.code == 0, told.err
    assert set(samples(tmp_path)) == {"arr_0", "provenance"}


@pytest.mark.long
def test_evaluation_without_classes(unconditional, tmp_path, call) -> None:
    few = ("--num=20", "--most=40", "--bits_of=4")
    told = call("evaluate.py", "--workdir", unconditional.workdir, "--out", tmp_path, *few)
    assert told.code == 0, told.err
    scores = json.loads((tmp_path / "report.json").read_text())["scores"]["pixels"]
    assert "frechet_ratio" in scores
    assert "accuracy" not in scores


def test_evaluation_prints_and_reports(tiny, tmp_path, call) -> None:
    told = call("evaluate.py", "--workdir", tiny.workdir, "--out", tmp_path, "--num=361", "--bits_of=60")
    assert told.code == 0, told.err
    assert "Fréchet distance, ratio" in told.out
    assert "361 samples: dpmpp_2m, 3 steps, seed 0" in told.out
    report = (tmp_path / "report.html").read_text()
    assert "<td>Fréchet distance, ratio</td>" in report
    assert "warning: the denoiser is worse than the best linear one from log-SNR" in told.out
    for name in ("grid.png", "nearest.png", "strip.png", "levels.png", "local.png"):
        assert base64.b64encode((tmp_path / name).read_bytes()).decode() in report
        with Image.open(tmp_path / name) as picture:
            picture.load()
    told = json.loads((tmp_path / "report.json").read_text())
    scores = told["scores"]["pixels"]
    assert scores["frechet_ratio"]["low"] > scores["frechet_ratio"]["real"]["value"] == 1
    assert scores["coverage"]["high"] < scores["coverage"]["real"]["value"]
    assert "accuracy" in scores
    assert told["provenance"]["samples"] == 361
    again = call("evaluate.py", "--compare", tmp_path, shutil.copytree(tmp_path, tmp_path.parent / "again"))
    assert again.code == 0, again.err
    assert "beyond noise" not in again.out
    assert "bits per dimension of test" in again.out


def test_parts_of_an_evaluation_are_left_out_by_name(tiny, tmp_path, call) -> None:
    """`--quick` leaves samples and scores; a report says what is not in it, and progress counts what is."""
    few = ("--num=20", "--most=40", "--bits_of=4")
    told = call("evaluate.py", "--workdir", tiny.workdir, "--out", tmp_path, *few, "--quick", "--without=features")
    assert told.code == 0, told.err
    assert [line for line in told.err.splitlines() if line.startswith("[2/2] scores: ")]
    saved = json.loads((tmp_path / "report.json").read_text())
    assert set(saved["scores"]["pixels"]) == {"frechet_ratio", "mmd2", "two_sample", "accuracy", "copies"}
    assert saved["provenance"]["more"]["left out"] == "features, findings, pictures, bits, levels, training, steps"
    written = {path.name for path in tmp_path.iterdir()}
    assert {"grid.png", "report.html", "report.json"} <= written
    assert not written & {"nearest.png", "strip.png", "levels.png", "belief.png", "local.png"}
    wrong = call("evaluate.py", "--workdir", tiny.workdir, "--out", tmp_path / "other", "--without=bits,bit")
    assert wrong.code == 2
    assert "--without" in wrong.err
    assert all(name in wrong.err for name in ("'bit'", "scores", "bits", "levels", "truth"))
    assert not (tmp_path / "other").exists()


def test_an_evaluation_that_is_stopped_reports_what_it_has(tiny, tmp_path, call, monkeypatch) -> None:
    def stopped(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("diffjax.commands.likelihood_report.compare_likelihoods", stopped)
    few = ("--num=20", "--most=40", "--without=pictures,features")
    told = call("evaluate.py", "--workdir", tiny.workdir, "--out", tmp_path, *few)
    assert told.code == 130
    assert "interrupted" in told.err
    saved = json.loads((tmp_path / "report.json").read_text())
    assert "frechet_ratio" in saved["scores"]["pixels"]
    assert saved["provenance"]["more"]["left out"] == "features, pictures, bits, levels, training, steps"
    assert not saved["bits_per_dim"]


@pytest.mark.long
@pytest.mark.parametrize("which", ["autoregressive", "masked"])
def test_models_of_tokens_are_drawn_from_as_all_others(which, request, tmp_path, call) -> None:
    workdir = request.getfixturevalue(which).workdir
    for out, more in (("all", []), ("some", ["--batch=8"]), ("guided", ["--guidance=3"])):
        how = ["--out", tmp_path / out, "--num=9", "--trajectory", *more]
        told = call("sample.py", "--workdir", workdir, *how)
        assert told.code == 0, told.err
        assert samples(tmp_path / out)["arr_0"].shape == (9, 8, 8, 1)
    np.testing.assert_array_equal(samples(tmp_path / "some")["arr_0"], samples(tmp_path / "all")["arr_0"])
    with Image.open(tmp_path / "all" / "strip.png") as picture:
        colours = picture.convert("RGB").getcolors(1 << 16)
    assert pixel_representation.HIDDEN_COLOUR in [colour for _, colour in colours]


@pytest.mark.long
def test_tokens_are_revealed_as_asked_for(masked, tmp_path, call) -> None:
    """Seven at a time, the surest first, or some of them again: each another picture from the same keys."""
    drawn = []
    for how in (["--sampler=confidence"], ["--sampler=remask(cap=0.5)"], ["--sampler=unmask(top_k=2)"]):
        told = call("sample.py", "--workdir", masked.workdir, "--out", tmp_path, "--num=4", "--steps=4", *how)
        assert told.code == 0, told.err
        drawn.append(samples(tmp_path)["arr_0"])
    assert len(np.unique(np.stack(drawn), axis=0)) == 3


def test_tokens_in_any_order_come_several_at_a_time(any_order, tmp_path, call) -> None:
    argv = ["--workdir", any_order.workdir, "--out", tmp_path, "--num=3", "--grid=at_a_time(k=7)", "--animate"]
    told = call("sample.py", *argv)
    assert told.code == 0, told.err
    assert samples(tmp_path)["arr_0"].max() > 0
    with Image.open(tmp_path / "animation.gif") as picture:
        assert picture.n_frames == 1 + 10  # 64 positions, seven at each of ten stops but the last


def test_under_blocks_steps_are_those_of_each(continuous, tmp_path, call) -> None:
    argv = ["--workdir", continuous.workdir, "--out", tmp_path, "--num=3"]
    told = call("sample.py", *argv, "--steps=2", "--animate")
    assert told.code == 0, told.err
    with Image.open(tmp_path / "animation.gif") as picture:
        assert 1 < picture.n_frames <= 1 + 4 * 2  # frames that are alike become one
    told = call("sample.py", *argv, "--grid=karras(sigma_min=0.05, last='sigma_min')")
    assert told.code == 2
    assert "sample.py: grid: of 4 blocks each is known when the next begins" in told.err


@pytest.mark.long
def test_under_blocks_a_report_counts_both_parts_of_the_net(continuous, tmp_path, call) -> None:
    told = call("evaluate.py", "--workdir", continuous.workdir, "--out", tmp_path, "--num=3", "--bits_of=8")
    assert told.code == 0, told.err
    assert "4 of the net, 12 of its head per sample" in (tmp_path / "report.html").read_text()
    assert "bits per dimension: variational bound (64 draws" in told.out


@pytest.mark.parametrize(
    ("which", "how"),
    [
        ("autoregressive", "exact"),
        pytest.param("masked", "variational bound (64 draws", marks=pytest.mark.long),
    ],
)
def test_bits_of_train_and_test_stand_side_by_side(which, how, request, tmp_path, call) -> None:
    argv = ["--workdir", request.getfixturevalue(which).workdir, "--out", tmp_path, "--num=3", "--bits_of=8"]
    told = call("evaluate.py", *argv)
    assert told.code == 0, told.err
    assert f"bits per dimension: {how}" in told.out
    saved = json.loads((tmp_path / "report.json").read_text())["bits_per_dim"]
    assert set(saved) == {"this model", "a Gaussian per class", "independent pixels per class"}
    means = [saved["this model"][split]["mean"] for split in ("train", "test")]
    assert means == pytest.approx([np.log2(17)] * 2, abs=1.0)  # it has learnt next to nothing
    assert (tmp_path / "context.png").exists() == (which == "masked")


@pytest.mark.long
def test_evaluation_of_a_few(tiny, tmp_path, call) -> None:
    told = call("evaluate.py", "--workdir", tiny.workdir, "--out", tmp_path, "--num", 3)
    assert told.code == 0, told.err


SAMPLING = ["workdir", "out", "num", "guidance", "sampler", "grid", "steps", "seed", "ema", "batch"]
EDITING = ["edit", "image", "mask", "strength"]
LISTED = {"train.py": ["config", "workdir"], "sample.py": [*SAMPLING, "label", *EDITING], "evaluate.py": SAMPLING}


@pytest.mark.parametrize("script", LISTED)
def test_help_tells_what_the_script_does_and_all_its_flags(script, call) -> None:
    told = call(script, "--help")
    assert (told.code, told.err) == (0, "")
    assert f"python {script} --" in told.out
    assert all(f"  --{name}:" in told.out for name in LISTED[script])


def test_a_shell_sees_one_line_from_any_folder(tmp_path) -> None:
    """A process of its own, without this session's strictness: nothing else is printed, by us or by a library."""
    environment = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "PYTHONPATH")}
    config = ["--config", ROOT / "configs" / "digits.py", "--config.data.dir", tmp_path]
    mistakes = {
        "train.py": [*config, "--workdir", "run", "--config.model.net=Unet()", "--config.data.name=mnist"],
        "sample.py": ["--workdir", "run", "--out", "out"],
    }
    running = {
        script: subprocess.Popen(
            [sys.executable, ROOT / script, *argv], cwd=tmp_path, env=environment, stderr=-1, stdout=-1, text=True
        )
        for script, argv in mistakes.items()
    }
    for script, process in running.items():
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out) == (2, ""), err
        assert len(err.splitlines()) == 1, err
        assert err.startswith(f"{script}: ")
    assert not any(tmp_path.iterdir())
