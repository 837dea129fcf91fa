"""Published weights from the command line: samples, edits and what is refused in one line."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import diffjax as dj
from tests.published.golden_files import GOLDEN, read_case


def write_case(name: str, path: Path) -> Path:
    """The weights of a golden case as a file."""
    file = read_case(GOLDEN / f"{name}.npz").file
    save_file({tensor: stored.read() for tensor, stored in file.tensors.items()}, path)
    return path


@pytest.fixture(scope="session")
def dit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_case("dit_64", tmp_path_factory.mktemp("published") / "DiT-small.safetensors")


def test_latents_are_drawn_as_numbers(dit, call, tmp_path) -> None:
    told = call("sample.py", "--model", dit, "--label", 3, "--num", 2, "--steps", 2, "--out", tmp_path)
    assert told.code == 0, told.err
    assert "licence CC-BY-NC 4.0" in told.err
    with np.load(tmp_path / "samples.npz") as content:
        assert content["arr_0"].shape == (2, 8, 8, 4)
        assert content["arr_1"].tolist() == [3, 3]
        assert "DiT" in str(content["provenance"])


def test_a_loaded_file_says_what_it_is(dit) -> None:
    denoise, noise, order, info = dj.load(dit)
    assert (info.origin.family, info.data.classes, info.data.shape) == ("DiT", 10, (8, 8, 4))
    keys = dj.keys(0, 2)
    label = np.array([1, 10], np.int32)
    guided = dj.guidance.cfg(denoise, scale=1.5, null=info.net.null_cond)
    x = dj.sample(keys, noise, order, guided, (8, 8, 4), cond=label, steps=2)
    assert np.isfinite(x).all()


def test_the_name_or_family_tells_a_sit(dit) -> None:
    assert dj.load(dit, family="SiT").noise.schedule is dj.schedule.flow
    assert dj.load(dit).noise.parameterization is dj.predict.eps


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("--label", "11"), "--label 11"),
        (("--family", "unet"), "family"),
        (("--workdir", "runs/x"), "--workdir"),
        (("--step", "5"), "--step"),
        (("--ema", "model"), "'model'"),
        (("--codec", "no.pt"), "no.pt"),
        (("--edit", "inpaint", "--image", "x.png"), "--edit"),
        (("--size", "16x16"), "size"),
    ],
)
def test_a_mistake_is_one_line(dit, call, tmp_path, arguments, field) -> None:
    told = call("sample.py", "--model", dit, "--num", 1, "--steps", 2, "--out", tmp_path / "out", *arguments)
    assert told.code == 2
    assert field in told.err
    assert "Traceback" not in told.err
    assert len(told.err.strip().splitlines()) <= 2  # the licence, and the mistake
    assert not (tmp_path / "out").exists()


def test_a_folder_of_anything_else_is_no_model(call, tmp_path) -> None:
    (tmp_path / "pictures").mkdir()
    told = call("sample.py", "--model", tmp_path / "pictures", "--out", tmp_path / "out")
    assert told.code == 2
    assert told.err.count("\n") == 1
    assert "--model" in told.err
    assert "config.json" in told.err
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="session")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A codec of four latent channels, two pixels along the side of each."""
    return write_case("kl_64", tmp_path_factory.mktemp("codec") / "codec.safetensors")


def test_a_codec_makes_pictures_of_latents(dit, codec, call, tmp_path) -> None:
    side = 8 * dj.load(dit, codec=codec).info.data.shape[0] // 8
    command = ("sample.py", "--model", dit, "--codec", codec, "--label", 2, "--num", 2, "--steps", 2)
    told = call(*command, "--trajectory", "--out", tmp_path)
    assert told.code == 0, told.err
    with Image.open(tmp_path / "samples" / "0.png") as image:
        assert image.size == (side, side)
    assert (tmp_path / "strip.png").is_file()


def test_edits_go_through_latents(dit, codec, call, tmp_path) -> None:
    side = dj.load(dit, codec=codec).info.data.shape[0]
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    mask = np.zeros((side, side), np.uint8)
    mask[: side // 2, : side // 2] = 255
    Image.fromarray(picture).save(tmp_path / "in.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    command = ("sample.py", "--model", dit, "--codec", codec, "--num", 1, "--steps", 2, "--label", 1)
    for edit, more in (("inpaint", ("--mask", tmp_path / "mask.png")), ("variations", ())):
        out = tmp_path / edit
        told = call(*command, "--edit", edit, "--image", tmp_path / "in.png", *more, "--out", out)
        assert told.code == 0, told.err
        with np.load(out / "samples.npz") as content:
            assert content["arr_0"].shape == (1, side, side, 3)
    told = call(*command, "--edit", "colourise", "--image", tmp_path / "in.png", "--out", tmp_path / "no")
    assert told.code == 2
    assert "--edit colourise" in told.err


def test_check_says_what_drawing_needs_and_draws_nothing(dit, codec, call) -> None:
    told = call("sample.py", "--model", dit, "--codec", codec, "--check", "--steps", 3)
    assert told.code == 0, told.err
    for word in (
        "parameters: ",
        "10 classes",
        "one evaluation: ",
        "memory",
        "schedule=discrete_linear()",
        "net=DiT(depth=2",
    ):
        assert word in told.err


def test_training_goes_on_from_published_weights(dit, call, tmp_path) -> None:
    """The fields that --check tells, and all of the net's parameters are the file's."""
    section = dj.load(dit).info.config.model
    config = tmp_path / "config.py"
    config.write_text(
        "from diffjax.experiment.config import Config, Data, Model, Sample, Train\n\n"
        "def get_config():\n"
        f"    return Config(data=Data(name='array:{tmp_path}/x.npz', form='real', batch_size=8), model=Model(\n"
        f"        net={section.net!r}, schedule={section.schedule!r}, prediction={section.prediction!r},\n"
        f"        inputs={section.inputs!r}, data_std=1.0),\n"
        f"        train=Train(steps=1, loss='hybrid', init_from={str(dit)!r}),\n"
        "        sample=Sample(sampler='ddim', steps=2))\n"
    )
    draws = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=draws.standard_normal((20, 8, 8, 4)).astype(np.float32), label=np.arange(20) % 10)
    command = ("train.py", "--config", config, "--workdir", tmp_path / "run")
    told = call(*command, "--config.train.learning_rate=1e-30")
    assert told.code == 0, told.err
    assert "parameters are those of DiT-small.safetensors" in told.err
    assert "fresh" not in told.err
    x, t, cond = jnp.zeros((1, 8, 8, 4)), jnp.full((1, 1, 1, 1), 0.5), jnp.array([3])
    ours, theirs = (dj.load(source).denoise(x, t, cond) for source in (tmp_path / "run", dit))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("family", ["dit", "sit"])
def test_a_run_is_exported_in_the_published_layout_and_back(family, call, tmp_path) -> None:
    """Bit for bit, but for the outputs of a SiT that nothing uses."""
    source = write_case(f"{family}_64", tmp_path / f"{family}-source.safetensors")
    model = dj.load(source)
    from diffjax.published.dit import published_tensors
    from diffjax.published.family import PublishedModel

    params = model.denoise.variables["params"]
    tensors = published_tensors(PublishedModel(model.info.net, params, model.noise, model.order, (8, 8, 4), 10))
    stored = {name: tensor.read() for name, tensor in read_case(GOLDEN / f"{family}_64.npz").file.tensors.items()}
    assert tensors.keys() == stored.keys()
    for name, tensor in tensors.items():
        if family == "sit" and name.startswith("final_layer.linear"):
            continue
        np.testing.assert_allclose(tensor, stored[name], rtol=0, atol=1e-6 if name == "pos_embed" else 0)
    again = tmp_path / f"{family}-again.safetensors"
    save_file(tensors, again)
    x, t, cond = jnp.ones((1, 8, 8, 4)), jnp.full((1, 1, 1, 1), 0.5), jnp.array([3])
    np.testing.assert_array_equal(dj.load(again).denoise(x, t, cond), model.denoise(x, t, cond))


def test_a_class_conditional_model_is_scored_beside_pictures_without_classes(call, tmp_path) -> None:
    model = write_case("edm_ddpmpp_64", tmp_path / "edm.safetensors")
    draws = np.random.default_rng(0)
    for split in ("train", "validation", "test"):
        (tmp_path / "pictures" / split).mkdir(parents=True)
        for i in range(8):
            pixels = draws.integers(0, 256, (10, 10, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / split / f"{i}.png")
    command = ("evaluate.py", "--model", model, "--num", 8, "--steps", 2, "--out", tmp_path / "report")
    parts = "features,findings,pictures,bits,training,steps"
    told = call(*command, "--data", f"folder:{tmp_path}/pictures", "--without", parts)
    assert told.code == 0, told.err
    assert (tmp_path / "report" / "report.html").is_file()
    told = call(*command)
    assert told.code == 2
    assert "--data" in told.err
