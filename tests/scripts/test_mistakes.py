"""A user's mistake is one line that names the field, flag or file, and exit code 2; nothing is written or computed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SAMPLE = ["--workdir", "{run}", "--out", "{out}"]

FIELDS = [  # what is given for a field of the config, and what the message holds
    ("train.stps=3", ["--config.train.stps", "steps"]),
    ("trian.steps=3", ["--config.trian.steps", "train"]),
    ("train=3", ["--config.train"]),
    ("train.steps=many", ["--config.train.steps"]),
    ("train.steps=-1", ["config.train.steps"]),
    ("train.learning_rate=nan", ["config.train.learning_rate"]),
    ("train.learning_rate=-1", ["train.learning_rate"]),
    ("train.seed=-1", ["config.train.seed"]),
    ("train.cond_drop=2", ["config.train.cond_drop", "[0, 1]"]),
    ("train.ema=(1.5,)", ["ema", "[0, 1)"]),
    ("train.writers=('json',)", ["train.writers", "'json'", "jsonl, tensorboard, wandb"]),
    ("train.writers=(3,)", ["train.writers"]),
    ("train.writers=('jsonl','jsonl')", ["train.writers"]),
    ("train.writers=('jsonl(3)',)", ["train.writers"]),
    ("train.writers=('wandb(projct=1)',)", ["train.writers", "projct", "project, entity"]),
    ("train.writers=('wandb(project=1)',)", ["train.writers", "project"]),
    ("train.weight=snrr", ["train.weight", "'snrr'", "min_snr"]),
    ("train.times=normal", ["train.times", "'normal'", "logit_normal"]),
    ("train.times=logit_normal(std=-1.0)", ["train.times", "std"]),
    ("model.conditional=maybe", ["--config.model.conditional", "maybe"]),
    ("model.net=Unet()", ["model.net", "'Unet'", "DiT, MAR, MLP, Transformer, UNet"]),
    ("model.net=MLP(wdth=8)", ["model.net", "wdth", "width, depth"]),
    ("model.net=MLP(width=2.5)", ["model.net", "width"]),
    ("model.net=MLP(classes=3)", ["model.net", "classes"]),
    ("model.schedule=cosin", ["model.schedule", "'cosin'", "cosine"]),
    ("model.schedule=shift(flow)", ["model.schedule", "factor"]),
    ("model.prediction=noise", ["model.prediction", "'noise'", "velocity"]),
    ("model.prediction=eps", ["eps", "velocity", "linear_beta"]),
    ("model.order=rastr", ["model.order", "'rastr'", "raster"]),
    ("model.order=raster", ["order", "order.together"]),
    ("model.order=rolling(width=-1.0)", ["model.order", "width"]),
    ("model.data_std=0", ["data_std"]),
    ("model.data_std=0.01", ["config.model.data_std", "0.01"]),
    ("train.clip_norm=0", ["train.clip_norm"]),
    ("train.warmup_steps=-1", ["train.warmup_steps"]),
    ("train.weight_decay=-0.1", ["train.weight_decay"]),
    ("train.log_every_steps=-1", ["config.train.log_every_steps"]),
    ("train.save_every_steps=-1", ["config.train.save_every_steps"]),
    ("train.picture_every_steps=-3", ["config.train.picture_every_steps"]),
    ("train.hang_limit_s=nan", ["config.train.hang_limit_s"]),
    ("data.batch_size=-8", ["config.data.batch_size", "8 device(s)"]),
    ("sample.sampler=ddmi", ["sampler", "'ddmi'", "ddim"]),
    ("sample.grid=karras(sigma_max=0.001)", ["grid", "sigma_min", "sigma_max"]),
    ("sample.steps=0", ["steps"]),
    ("data.batch_size=12", ["config.data.batch_size", "8 device(s)"]),
    ("data.name=mnist", ["'mnist'", "download_and_prepare"]),
    ("data.name=mnits", ["'mnits'", "mnist"]),
    ("data.name=folder:/nowhere", ["folder:/nowhere"]),
    ("data.form=token", ["data.form", "'token'", "dequantised, real, tokens, unit"]),
    ("data.form=tokens", ["model.noise", "Gaussian", "data.form"]),
    ("model.noise=Masking", ["model.noise", "Masking", "data.form"]),
    ("model.noise=Maskin", ["model.noise", "'Maskin'", "Gaussian, Masking"]),
    ("model.net=Transformer()", ["model.net", "data.form"]),
    ("train.loss=regresion", ["train.loss", "'regresion'", "bound, causal, hybrid, reconstruction, regression"]),
    ("train.loss=causal", ["train.loss", "causal", "Transformer(causal=True)"]),
    ("data.image_size=16", ["digits", "8 wide and 8 high", "image_size"]),
    ("data.augment=flop()", ["data.augment", "'flop'", "flip, shift, turn"]),
    ("data.augment=shift(pixels=8)", ["data.augment", "shift", "8 wide and 8 high"]),
    ("data.parts=sketsch()", ["data.parts", "'sketsch'", "feature, low_res, reference, sketch"]),
    ("data.parts=low_res(factor=3)", ["data.parts", "low_res", "8 wide and 8 high"]),
    ("train.weight=p2(gamma=-20.0)", ["train.weight"]),
    ("model.net=MLP(dtype='float16')", ["net", "dtype", "bfloat16"]),
    ("model.net=MLP(width=100000000)", ["net", "width", "65,536"]),
    ("model.adapters=lor(rank=2)", ["model.adapters", "'lor'", "lora"]),
    ("model.adapters=lora(rank=0)", ["model.adapters", "rank"]),
    ("model.adapters=lora(on='Attention*')", ["model.adapters", "Attention*", "Dense_0"]),
    ("model.adapters=lora(rank=100)", ["model.adapters", "100"]),
    ("train.freeze=('Embeding*',)", ["train.freeze", "Embeding*", "Embedding_0/"]),
    ("train.freeze=('*',)", ["train.freeze"]),
    ("train.accumulate=3", ["config.train.accumulate", "8"]),
    ("train.accumulate=0", ["config.train.accumulate"]),
    ("train.on_fault=go_on", ["train.on_fault", "'go_on'", "rewind, skip, stop"]),
    ("train.on_fault=skip(limit=0)", ["train.on_fault"]),
    ("train.hang_limit_s=-1", ["train.hang_limit_s"]),
    ("train.keep_checkpoints=0", ["train.keep_checkpoints"]),
    ("train.keep_every_steps=-5", ["train.keep_every_steps"]),
    ("train.keep_best=accuracy", ["config.train.keep_best", "validation_loss", "'accuracy'"]),
    ("train.validate_images=-1", ["config.train.validate_images"]),
    ("train.snapshot_every_steps=100", ["config.train.snapshot_every_steps", "train.ema_std"]),
    ("train.ema_std=(0.5,)", ["train.ema_std", "(0, 0.28]"]),
    ("train.init_from=/nowhere", ["config.train.init_from", "/nowhere"]),
    ("train.init_from={tmp}", ["{tmp}", "config.json"]),
]

CAUSAL_FIELDS = [  # the same, of a config of raster autoregression
    ("model.schedule=cosine", ["model.schedule", "Masking", "'cosine'"]),
    ("model.order=together", ["causal"]),
    ("train.loss=bound", ["causal", "loss.causal"]),
    ("train.loss=causal(hide=1.5)", ["train.loss", "hide", "[0, 1]"]),
    ("train.weight=snr", ["train.weight", "causal(hide=0.1)", "train.loss=regression"]),
    ("model.net=UNet()", ["model.net", "data.form"]),
    ("model.net=Transformer(vocab=5)", ["model.net", "vocab"]),
    ("model.net=Transformer(width=10, heads=4, causal=True)", ["width", "heads"]),
    ("data.form=dequantised", ["model.noise", "Masking"]),
    ("sample.sampler=ddim", ["ddim", "GaussianNoise", "Masking", "posterior"]),
    ("sample.sampler=confidence", ["confidence", "causal"]),
]

FILES = {  # what is wrong with a config: its text, and what the message holds
    "misspelt": ("Config(train=Train(stps=3))", ["wrong.py", "'stps'"]),
    "misspelt_later": ("with_steps(Config())", ["config.train.stesp", "steps"]),
    "ill_typed": ("Config(train=Train(steps='3'))", ["config.train.steps"]),
    "ill_typed_part": ("Config(train=3)", ["config.train"]),
    "ill_typed_tuple": ("Config(train=Train(ema=0.9))", ["config.train.ema"]),
    "syntax": ("Config(", ["wrong.py", "SyntaxError"]),
    "raises": ("{}['key']", ["wrong.py", "KeyError"]),
    "none": ("None", ["wrong.py", "get_config()"]),
}

TRAIN = [  # all arguments, and what the message holds
    ([], ["--config", "configs/digits.py", "--workdir"]),
    (["--workdir", "{out}"], ["--config", "{out}", "config.json", "configs/digits.py"]),
    (["--workdir", "{empty}"], ["--config", "{empty}", "config.json", "configs/digits.py"]),
    (["--workdir", "{run}", "--config.train.seed=1"], ["config.train.seed", "{run}"]),
    (["--workdir", "{run}", "--config.train.stesp=1"], ["--config.train.stesp", "steps"]),
    (["--workdir", "{run}", "--config.train.steps=many"], ["config.train.steps", "many"]),
    (["--config", "{tmp}/nowhere.py", "--workdir", "{out}"], ["nowhere.py", "digits_flow"]),
    (["--config", "{config}"], ["--workdir"]),
    (["--config", "{config}", "--workdir", "{config}/below"], ["--workdir"]),
    (["--config", "{config}", "--workdir", "{config}"], ["--workdir"]),
    (["--config", "{config}", "--workdir", "{out}", "--steps=3"], ["'steps'", "--help"]),
    (["--config", "{config}", "--workdir", "{out}", "steps=3"], ["'steps=3'", "--flag"]),
    (["--config", "{config}", "--workdir", "{out}", "--noconfig.model.condtional"], ["condtional", "conditional"]),
    (["--config", "{config}", "--workdir", "{run}", "--config.train.seed=1"], ["config.train.seed", "{run}"]),
    (["--config", "{config}", "--workdir", "{run}", "--config.train.steps=-1"], ["config.train.steps"]),
]

SAMPLE_AND_EVALUATE = [
    (["--out", "{out}"], ["--workdir"]),
    (["--workdir", "{tmp}/nowhere", "--out", "{out}"], ["nowhere", "train"]),
    (["--workdir", "{empty}", "--out", "{out}"], ["{empty}", "train"]),
    (["--workdir", "{config}", "--out", "{out}"], ["{config}"]),
    (["--workdir", "{run}", "--out", "{config}/below"], ["--out"]),
    (["--workdir", "{run}", "--out", "{config}"], ["--out"]),
    ([*SAMPLE, "--num=0"], ["--num"]),
    ([*SAMPLE, "--num=all"], ["--num"]),
    ([*SAMPLE, "--batch=0"], ["--batch"]),
    ([*SAMPLE, "--steps=0"], ["--steps"]),
    ([*SAMPLE, "--seed=-1"], ["--seed"]),
    ([*SAMPLE, "--seed=18446744073709551616"], ["--seed"]),
    ([*SAMPLE, "--guidance=nan"], ["--guidance"]),
    ([*SAMPLE, "--sampler=ddmi"], ["sampler", "'ddmi'", "ddim"]),
    ([*SAMPLE, "--sampler=ddim(eta=2.0)"], ["sampler", "eta", "[0, 1]"]),
    ([*SAMPLE, "--sampler=ddim(a=2)"], ["sampler", "'a'", "eta"]),
    ([*SAMPLE, "--sampler="], ["sampler"]),
    ([*SAMPLE, "--grid=karras(sigma_max=0.001)"], ["grid", "sigma_min", "sigma_max"]),
    ([*SAMPLE, "--ema=0.5"], ["ema", "'0.5'", "0.999"]),
    ([*SAMPLE, "--smapler=ddim"], ["'smapler'", "sampler"]),
    ([*SAMPLE, "ddim"], ["'ddim'", "--flag"]),
    (["--workdir", "{unconditional}", "--out", "{out}", "--guidance=2"], ["guidance", "classes"]),
]

OF_TOKENS = [  # of a run of raster autoregression
    (["--sampler=dpmpp_2m"], ["dpmpp_2m", "Masking", "posterior"]),
    (["--sampler=confidence(choice=2.0)"], ["confidence", "causal"]),
    (["--sampler=unmask(top_p=0.0)"], ["sampler", "top_p", "(0, 1]"]),
    (["--sampler=unmask(temperature=-1.0)"], ["sampler", "temperature"]),
    (["--grid=at_a_time(k=0)"], ["grid", "k"]),
    (["--grid=karras(rho=0.0)"], ["grid", "rho"]),
]

ONLY_SAMPLE = [
    (["--workdir", "{run}"], ["--out"]),
    ([*SAMPLE, "--label=10"], ["--label 10", "0 … 9"]),
    ([*SAMPLE, "--label=-1"], ["--label -1", "0 … 9"]),
    ([*SAMPLE, "--label=three"], ["--label three", "0 … 9"]),
    (["--workdir", "{unconditional}", "--out", "{out}", "--label=3"], ["--label 3"]),
]


def content(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Every file below a folder but Python's own, and when it was written."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.fixture
def places(tiny, unconditional, tmp_path) -> dict[str, Path]:
    (tmp_path / "empty").mkdir()
    named = {"run": tiny.workdir, "unconditional": unconditional.workdir, "config": tiny.config}
    return {**named, "tmp": tmp_path, "empty": tmp_path / "empty", "out": tmp_path / "out"}


@pytest.fixture
def refused(call, places, monkeypatch) -> Callable[..., None]:
    """`refused(script, argv, says)`: one line that says all of it, exit code 2, and nothing done."""

    def too_late(*_: object, **__: object) -> None:
        raise AssertionError("the mistake was not met before training or sampling")

    def check(script: str, argv: list[str], says: list[str]) -> None:
        monkeypatch.setattr("diffjax.training.loop.fit", too_late)
        monkeypatch.setattr("diffjax.training.data_parallel.pmap_step", too_late)
        monkeypatch.setattr("diffjax.commands.image_sampler.sample_images", too_late)
        before = {name: content(place) for name, place in places.items()}
        told = call(script, *(argument.format(**places) for argument in argv))
        assert told.code == 2, told.err
        assert told.out == ""
        assert len(told.err.splitlines()) == 1, told.err
        assert told.err.startswith(f"{script}: ")
        for words in says:
            assert words.format(**places) in told.err
        assert {name: content(place) for name, place in places.items()} == before
        assert not places["out"].exists()

    return check


@pytest.mark.parametrize(("given", "says"), FIELDS, ids=[given for given, _ in FIELDS])
def test_fields_on_the_command_line(refused, given, says) -> None:
    elsewhere = ["--config.data.dir={tmp}"] if "mnist" in given else []
    refused("train.py", ["--config", "{config}", "--workdir", "{out}", f"--config.{given}", *elsewhere], says)


PAIRS = [  # fields that are right alone and wrong together
    (
        ["train.keep_best=validation_loss", "train.validate_images=0"],
        ["config.train.keep_best", "train.validate_images"],
    ),
    (["model.prediction=eps", "model.schedule=zero_terminal(linear_beta)"], ["eps", "velocity"]),
]


@pytest.mark.parametrize(("given", "says"), PAIRS, ids=[" ".join(given) for given, _ in PAIRS])
def test_fields_that_do_not_go_together(refused, given, says) -> None:
    fields = [f"--config.{field}" for field in given]
    refused("train.py", ["--config", "{config}", "--workdir", "{out}", *fields], says)


def test_there_are_many_ways_to_be_wrong() -> None:
    assert len(FIELDS) >= 80
    assert len(FIELDS) + len(CAUSAL_FIELDS) + len(PAIRS) + len(FILES) + len(TRAIN) >= 100


@pytest.mark.parametrize(("given", "says"), CAUSAL_FIELDS, ids=[given for given, _ in CAUSAL_FIELDS])
def test_fields_of_a_model_of_tokens(refused, causal, given, says) -> None:
    refused("train.py", ["--config", "{config}", "--workdir", "{out}", *causal, f"--config.{given}"], says)


@pytest.mark.parametrize("script", ["sample.py", "evaluate.py"])
@pytest.mark.parametrize(("argv", "says"), OF_TOKENS, ids=[" ".join(argv) for argv, _ in OF_TOKENS])
def test_flags_of_a_model_of_tokens(refused, autoregressive, script, argv, says) -> None:
    refused(script, ["--workdir", str(autoregressive.workdir), "--out", "{out}", *argv], says)


def test_a_likelihood_that_does_not_fit(refused, autoregressive) -> None:
    refused("evaluate.py", [*SAMPLE, "--likelihood=ode"], ["likelihood", "data.form=unit", "data.form=dequantised"])
    refused("evaluate.py", [*SAMPLE, "--likelihood=exact"], ["likelihood", "exact", "model.order=raster"])
    argv = ["--workdir", str(autoregressive.workdir), "--out", "{out}", "--likelihood=ode"]
    refused("evaluate.py", argv, ["likelihood", "ode"])
    argv = ["--workdir", str(autoregressive.workdir), "--out", "{out}", "--likelihood_steps=8"]
    refused("evaluate.py", argv, ["likelihood_steps", "likelihood=ode", "exact"])


@pytest.mark.parametrize(("text", "says"), FILES.values(), ids=FILES)
def test_fields_in_a_file(refused, untyped, tmp_path, text, says) -> None:
    lines = [
        "from diffjax.experiment.config import Config, Train",
        "def with_steps(config):",
        "    config.train.stesp = 3",
        "    return config",
        "def get_config():",
        f"    return {text}",
    ]
    (tmp_path / "wrong.py").write_text("\n".join(lines) + "\n")
    refused("train.py", ["--config", str(tmp_path / "wrong.py"), "--workdir", "{out}"], says)


def test_a_file_without_a_config(refused, tmp_path) -> None:
    (tmp_path / "wrong.py").write_text("steps = 3\n")
    refused("train.py", ["--config", str(tmp_path / "wrong.py"), "--workdir", "{out}"], ["wrong.py", "get_config()"])


@pytest.mark.parametrize(("argv", "says"), TRAIN, ids=[" ".join(argv) or "nothing" for argv, _ in TRAIN])
def test_flags_of_train(refused, argv, says) -> None:
    refused("train.py", argv, says)


@pytest.mark.parametrize("script", ["sample.py", "evaluate.py"])
@pytest.mark.parametrize(("argv", "says"), SAMPLE_AND_EVALUATE, ids=[" ".join(argv) for argv, _ in SAMPLE_AND_EVALUATE])
def test_flags_of_sample_and_evaluate(refused, script, argv, says) -> None:
    refused(script, argv, says)


@pytest.mark.parametrize(("argv", "says"), ONLY_SAMPLE, ids=[" ".join(argv) for argv, _ in ONLY_SAMPLE])
def test_flags_of_sample(refused, argv, says) -> None:
    refused("sample.py", argv, says)


def test_too_few_pictures_to_evaluate(refused) -> None:
    refused("evaluate.py", [*SAMPLE, "--num=2"], ["--num", "3"])


def test_a_field_of_another_run_is_refused_alone(refused) -> None:
    """A field that may change is not announced when another may not."""
    argv = ["--config", "{config}", "--workdir", "{run}", "--config.data.dir=/x", "--config.model.net=MLP(width=16)"]
    refused("train.py", argv, ["config.model.net", "MLP(width=16)", "{run}", "--workdir"])


def test_all_fields_of_another_run_are_refused_at_once(refused) -> None:
    argv = ["--config", "{config}", "--workdir", "{run}", "--config.train.seed=1", "--config.model.net=MLP(width=16)"]
    both = ["config.model.net", "MLP(width=16)", "MLP(width=8, depth=1)", "config.train.seed", "{run}", "--workdir"]
    refused("train.py", argv, both)


@pytest.fixture
def damaged(tiny, places) -> Path:
    """A copy of the run to be damaged."""
    places["run"] = shutil.copytree(tiny.workdir, places["tmp"] / "damaged")
    return places["run"]


@pytest.mark.parametrize("script", ["sample.py", "evaluate.py"])
def test_a_config_of_another_net(refused, damaged, script) -> None:
    saved = json.loads((damaged / "config.json").read_text())
    saved["config"]["model"]["net"] = "MLP(width=16)"
    (damaged / "config.json").write_text(json.dumps(saved))
    refused(script, SAMPLE, ["{run}/config.json"])
    del saved["sha256"]
    (damaged / "config.json").write_text(json.dumps(saved))
    refused(script, SAMPLE, ["{run}/checkpoints/00000002", "meaning", "config.json"])


@pytest.mark.parametrize("script", ["train.py", "sample.py", "evaluate.py"])
def test_a_config_that_cannot_be_read(refused, damaged, script) -> None:
    (damaged / "config.json").write_text("{")
    argv = ["--config", "{config}", "--workdir", "{run}"] if script == "train.py" else SAMPLE
    refused(script, argv, ["{run}/config.json"])
    if script == "train.py":
        refused(script, ["--workdir", "{run}"], ["{run}/config.json"])


def test_a_run_of_a_later_version_is_not_resumed_without_its_fields(refused, damaged) -> None:
    saved = json.loads((damaged / "config.json").read_text())
    saved["config"]["train"]["later"] = 3
    (damaged / "config.json").write_text(json.dumps(saved))
    refused("train.py", ["--workdir", "{run}"], ["{run}/config.json", "config.train.later"])


def test_a_run_without_checkpoints(refused, damaged) -> None:
    shutil.rmtree(damaged / "checkpoints")
    refused("sample.py", SAMPLE, ["{run}/checkpoints", "train"])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
def test_a_picture_that_cannot_be_read(refused, tmp_path, share) -> None:
    """Empty, cut short within its header, and cut short within its pixels."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(10):
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    whole = (folder / "3.png").read_bytes()
    (folder / "3.png").write_bytes(whole[: int(share * len(whole))])
    argv = ["--config", "{config}", "--workdir", "{out}", f"--config.data.name=folder:{folder}"]
    refused("train.py", argv, [f"{folder}/3.png"])
