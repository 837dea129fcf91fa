"""Codecs of our own, and stored latents: exact, normalised, and of the pictures that they say."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffjax as dj
from diffjax.data import open_dataset
from diffjax.data.pixel_representation import to_unit
from diffjax.errors import UserError
from diffjax.experiment import codecs
from diffjax.experiment.codec_record import parse_codec_record
from diffjax.experiment.config import Data
from diffjax.experiment.data_spec import build_data_spec, parse_data_spec
from diffjax.experiment.latent_files import StoredLatents, open_latents, picture_fields, write_latents
from diffjax.loss.autoencoding import reconstruction
from diffjax.nets.autoencoder_kl import AutoencoderKL
from diffjax.noise import Gaussian
from diffjax.published.autoencoder_kl import Codec, encode
from diffjax.published.latent_scale import LatentScale

SIDE, COUNT = 8, 40
NET = AutoencoderKL(widths=(8, 8), layers=1, latent_channels=2, groups=4, middle_attention=False)
NOISE, ORDER = Gaussian(dj.schedule.cosine, dj.predict.v), dj.order.together


@pytest.fixture(scope="module")
def codec() -> Codec:
    params = NET.init(jax.random.key(0), jnp.zeros((1, SIDE, SIDE, 3)))["params"]
    return Codec(NET, params, NET.factor, NET.latent_channels, LatentScale(1.0))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Noisy pictures of three classes, with a caption and a number each."""
    path = tmp_path_factory.mktemp("pictures") / "set.npz"
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(COUNT, SIDE, SIDE, 3)).astype(np.uint8)
    label = np.arange(COUNT) % 3
    text = np.array([f"picture {i}" for i in range(COUNT)])
    np.savez(path, image=images, label=label, class_names=np.array(["a", "b", "c"]), text=text, size=label / 2)
    return Data(name=f"array:{path}", image_size=str(SIDE))


@pytest.fixture(scope="module")
def stored(codec: Codec, pictures: Data, tmp_path_factory: pytest.TempPathFactory) -> Data:
    out = tmp_path_factory.mktemp("latents") / "new"
    fields = picture_fields(vars(pictures))
    write_latents(open_dataset(pictures.name), fields, codec, "runs/codec", out, flips=True)
    assert sorted(path.name for path in out.iterdir()) == [
        "latents.json",
        "test.npz",
        "train.npz",
        "validation.npz",
    ]
    return replace(pictures, latents=str(out))


def opened(data: Data) -> StoredLatents:
    return open_latents(Path(data.latents), picture_fields(vars(data)))


def test_stored_latents_are_the_means_of_the_encoder_normalised(codec, pictures, stored) -> None:
    source = open_dataset(pictures.name)
    dataset, record = opened(stored)
    mean, std = np.asarray(record.mean), np.asarray(record.std)
    for split in ("train", "validation", "test"):
        images, labels = source.arrays(split)
        z, stored_labels = dataset.arrays(split)
        for copy, pixels in enumerate((images, images[:, :, ::-1])[: len(z) // len(images)]):
            rows = slice(copy * len(images), (copy + 1) * len(images))
            expected = np.asarray(encode(codec, jnp.asarray(to_unit(pixels, 256))))
            np.testing.assert_allclose(z[rows] * std + mean, expected, rtol=0, atol=2e-5)
            np.testing.assert_array_equal(stored_labels[rows], labels)
    train, _ = dataset.arrays("train")
    assert len(train) == 2 * len(source.splits["train"])
    np.testing.assert_allclose(train.mean((0, 1, 2), np.float64), 0, atol=1e-5)
    np.testing.assert_allclose(train.std((0, 1, 2), np.float64), 1, atol=1e-5)


def test_classes_captions_and_numbers_stay_beside_their_latents(pictures, stored) -> None:
    source, (dataset, _) = open_dataset(pictures.name), opened(stored)
    assert dataset.class_names == source.class_names
    for split in ("train", "test"):
        count = len(source.splits[split])
        for row in (0, count - 1):
            before = source.splits[split].features(row)
            for copy in range(len(dataset.splits[split]) // count):
                features = dataset.splits[split].features(row + copy * count)
                assert {name: features[name] for name in before} == dict(before)
                assert bool(features["flipped"]) is (copy == 1)


def test_decoded_latents_are_what_the_codec_makes_of_the_pictures(codec, stored, monkeypatch) -> None:
    monkeypatch.setattr(codecs, "load_codec", lambda source, latents: replace(codec, latents=latents))
    dataset, record = opened(stored)
    spec = replace(build_data_spec(dataset, "real"), codec=record)
    assert not spec.of_images
    pictures = codecs.picture_spec(spec, "runs/latents", stored.latents)
    assert (pictures.shape, pictures.of_images, pictures.class_names) == ((SIDE, SIDE, 3), True, ("a", "b", "c"))
    images, _ = open_dataset(stored.name).arrays("train")
    z, _ = dataset.arrays("train")
    assert pictures.latents is not None
    decoded = pictures.latents.decode(z[: len(images)], pictures.shape, pictures.levels)
    expected = np.asarray(NET.apply({"params": codec.params}, jnp.asarray(to_unit(images, 256))))[..., :3]
    expected_levels = ((expected.clip(-1, 1) + 1) * 127.5).round()
    assert abs(decoded - expected_levels).max() <= 1


def test_a_record_of_a_codec_survives_json(codec, stored) -> None:
    dataset, record = opened(stored)
    spec = replace(build_data_spec(dataset, "real"), codec=record)
    document = json.loads(json.dumps(vars(spec)))
    assert parse_data_spec(document) == spec
    moved = replace(spec, codec=record._replace(source="elsewhere"))
    assert moved.matches(spec)
    assert not replace(spec, codec=record._replace(sha256="0" * 64)).matches(spec)
    for field, value in {
        "source": "a\nb",
        "sha256": 3,
        "factor": 0,
        "mean": [],
        "std": [0.0, 1.0],
        "black": "x",
    }.items():
        with pytest.raises((TypeError, ValueError)):
            parse_codec_record([{**record._asdict(), field: value}[name] for name in record._fields])


def test_latents_of_other_pictures_are_refused(stored, tmp_path) -> None:
    for field, value in {"image_size": "16", "fit": "crop()", "name": "photos"}.items():
        with pytest.raises(UserError, match=f"data.latents: .*data.{field}"):
            opened(replace(stored, **{field: value}))
    with pytest.raises(UserError, match=r"data.latents: .*latents.json"):
        opened(replace(stored, latents=str(tmp_path)))
    (tmp_path / "latents.json").write_text('{"codec": 3, "data": {}}')
    with pytest.raises(UserError, match=r"data.latents: .*latents.json"):
        opened(replace(stored, latents=str(tmp_path)))


def test_another_codec_is_refused_and_a_missing_one_named(codec, stored, monkeypatch, tmp_path) -> None:
    dataset, record = opened(stored)
    spec = replace(build_data_spec(dataset, "real"), codec=record)
    with pytest.raises(UserError, match="runs/codec, which is not there"):
        codecs.picture_spec(spec, "runs/latents")
    other = replace(codec, params=jax.tree.map(lambda leaf: leaf + 1, codec.params))
    monkeypatch.setattr(codecs, "load_codec", lambda source, latents: other)
    with pytest.raises(UserError, match=f"the weights of {tmp_path} are others"):
        codecs.picture_spec(spec, "runs/latents", tmp_path)
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"^codec .*: no such run"):
        codecs.load_codec(tmp_path / "none")


def test_pictures_that_no_codec_takes_are_refused(codec, pictures, tmp_path) -> None:
    odd = tmp_path / "odd.npz"
    np.savez(odd, image=np.zeros((4, 9, 8, 3), np.uint8))
    grey = tmp_path / "grey.npz"
    np.savez(grey, image=np.zeros((4, 8, 8), np.uint8))
    for path, field in {odd: "data.image_size", grey: "RGB"}.items():
        with pytest.raises(UserError, match=field):
            write_latents(open_dataset(f"array:{path}"), picture_fields(vars(pictures)), codec, "c", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("divergence", [0.0, 0.1])
def test_the_loss_of_a_codec_is_its_formula(codec, divergence) -> None:
    x = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (3, SIDE, SIDE, 3)), jnp.float32)
    apply = jax.jit(lambda *args: NET.apply({"params": codec.params}, *args))
    losses = reconstruction(NOISE, ORDER, divergence=divergence)(dj.keys(0, 3), apply, x, None)
    mean, log_variance = NET.apply({"params": codec.params}, x, method="encode")
    z = mean
    if divergence:
        keys = dj.utils.prng.fold(dj.keys(0, 3), dj.utils.prng.KeyUse.CORRUPT)
        noise = jax.vmap(lambda key: jax.random.normal(key, mean.shape[1:]))(keys)
        z = mean + np.sqrt(np.exp(log_variance)) * noise
    image = NET.apply({"params": codec.params}, z, method="decode")
    variance = np.exp(np.asarray(log_variance, np.float64))
    nats = 0.5 * (np.asarray(mean) ** 2 + variance - 1 - np.log(variance)).sum((1, 2, 3)) / SIDE**2
    expected = np.square(np.asarray(image) - x).mean((1, 2, 3)) + divergence * nats
    np.testing.assert_allclose(losses, expected, rtol=2e-5)


def test_a_codec_refuses_sides_that_do_not_divide_and_a_negative_weight(codec) -> None:
    with pytest.raises(UserError, match="sides must divide by 2"):
        NET.apply({"params": codec.params}, jnp.zeros((1, 7, 8, 3)))
    with pytest.raises(UserError, match="divergence must be at least 0"):
        reconstruction(NOISE, ORDER, divergence=-1.0)
