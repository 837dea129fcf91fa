"""Inception-v3 says what the reference says, of the weights in the user's file, or says what is wrong with the file.

The golden data are torch-fidelity's own answers; `inception_recipe.py` says how they were made, and makes them anew.
"""

import hashlib
import os
import pickle

import flax.linen as nn
import jax
import numpy as np
import pytest
from inception_recipe import EVERY, GOLDEN, RESIZED, SIZES, image, weights
from quickly import few
from safetensors.numpy import save_file

from diffjax.errors import UserError
from diffjax.evaluation import inception, inception_weights
from diffjax.evaluation.features import describe_features, extract_features
from diffjax.evaluation.inception import ANTIALIASED, TENSORFLOW_1

FIRST, SHAPE = "Conv2d_1a_3x3.conv.weight", (32, 3, 3, 3)
ONE = np.zeros(SHAPE, np.float32)


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(GOLDEN))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    tensors = weights(inception_weights.tensor_shapes())
    tensors |= {"fc.bias": np.ones(1008), "Mixed_5b.branch1x1.bn.num_batches_tracked": np.array(0)}
    path = tmp_path_factory.mktemp("weights") / "inception.safetensors"
    np.savez(path.with_suffix(".npz"), **tensors)
    save_file(tensors, path)
    return path


@pytest.fixture(scope="module")
def loaded(path):
    return inception_weights.load_weights(path)


@pytest.fixture(scope="module")
def see(loaded):
    return inception.inception_function(loaded.variables, batch=1)


@pytest.mark.parametrize("name", few(SIZES, "small"))
def test_the_net_sees_what_the_reference_sees(name, see, golden) -> None:
    for part, found in see(image(name, SIZES[name]))._asdict().items():
        expected = golden[f"{name}_{part}"]
        np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-5 * expected.std())


class Levels(nn.Module):
    """In place of the net: the levels that come to it, lowest and highest."""

    def __call__(self, x):
        return inception.InceptionOutput(128 * x.min((1, 2)) + 128, 128 * x.max((1, 2)) + 128)


@pytest.mark.parametrize(("batch", "channels"), [(1, 3), (2, 1), (3, 3), (5, 3)])
def test_every_image_is_seen_once_in_its_place_and_grey_is_rgb_of_one_level(batch, channels, monkeypatch) -> None:
    monkeypatch.setattr(inception, "Inception", Levels)
    images = np.concatenate([image(name, (13, 23)) for name in "abc"])[
        ..., :channels
    ]  # sides of which 299 is a multiple
    seen = inception.inception_function({}, batch=batch)(images)
    for found, expected in ((seen.pool3, images.min((1, 2))), (seen.logits, images.max((1, 2)))):
        np.testing.assert_allclose(found, np.broadcast_to(expected, (3, 3)), atol=1e-4)


@pytest.mark.parametrize("name", RESIZED)
def test_images_are_resized_as_the_reference_does(name, golden) -> None:
    found = np.asarray(TENSORFLOW_1.apply(image(name, RESIZED[name])))
    assert found.shape == (1, 299, 299, 3)
    np.testing.assert_allclose(found[:, ::EVERY, ::EVERY], golden[name], rtol=0, atol=1e-4)  # of 255 levels


def test_the_rule_of_tensorflow_starts_at_the_corner_and_repeats_the_end() -> None:
    slope = np.arange(0, 200, 8, dtype=np.uint8)  # 25 levels
    expected = np.minimum(8 * np.arange(299) * 25 / 299, 192)
    along = np.asarray(TENSORFLOW_1.apply(np.broadcast_to(slope[None, None, :, None], (1, 4, 25, 1))))
    np.testing.assert_allclose(along, np.broadcast_to(expected[None, None, :, None], along.shape), atol=1e-4)
    down = np.asarray(TENSORFLOW_1.apply(np.broadcast_to(slope[None, :, None, None], (1, 25, 4, 1))))
    np.testing.assert_allclose(down, along.transpose(0, 2, 1, 3), atol=1e-4)


@pytest.mark.parametrize("rule", [TENSORFLOW_1, ANTIALIASED])
def test_images_of_the_own_size_stay_as_they_are(rule) -> None:
    np.testing.assert_array_equal(rule.apply(image("own", (299, 299))), image("own", (299, 299)))


def test_only_one_rule_sees_fine_stripes_as_grey() -> None:
    stripes = np.zeros((1, 4 * 299, 8, 3), np.uint8)
    stripes[:, ::4] = 252
    np.testing.assert_allclose(ANTIALIASED.apply(stripes)[:, 9:-9], 63, atol=1)
    np.testing.assert_array_equal(TENSORFLOW_1.apply(stripes), 252)


@pytest.mark.parametrize(
    "images",
    [np.zeros((2, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8), np.zeros((2, 8, 8, 4), np.uint8)]
    + [np.zeros(shape, np.uint8) for shape in ((0, 8, 8, 3), (1, 0, 8, 3))],
)
def test_other_arrays_are_no_images(images) -> None:
    with pytest.raises(UserError, match=r"^images .*uint8 \[n, h, w, c\]"):
        inception.check_images(images)


def test_images_are_looked_at_before_the_net_is_and_a_batch_has_one() -> None:
    with pytest.raises(UserError, match="c 1 or 3"):
        inception.inception_function({})(np.zeros((2, 8, 8, 2), np.uint8))
    with pytest.raises(UserError, match=r"^batch "):
        inception.inception_function({}, batch=0)


def test_both_kinds_of_file_hold_the_same_and_are_known_by_their_hash(path, loaded) -> None:
    other = inception_weights.load_weights(path.with_suffix(".npz"))
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, other.variables)
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() != other.sha256


@pytest.fixture(scope="module")
def pool3(path):
    return inception_weights.inception_features(path, batch=1)


def test_features_are_pool3_and_say_of_which_file_and_rule(path, pool3) -> None:
    assert (pool3.name, pool3.resize, pool3.dim) == ("inception-v3 pool3", "tensorflow_1", 2048)
    assert pool3.hash == hashlib.sha256(path.read_bytes()).hexdigest()
    assert describe_features(pool3).startswith("inception-v3 pool3, 2048 values, resize tensorflow_1, sha256 ")


def test_features_are_what_the_net_sees_however_images_are_cut(see, pool3) -> None:
    images = np.concatenate([image(name, (32, 32)) for name in "abc"])
    rows = extract_features(pool3, [images[:2], images[2:]])
    assert (rows.shape, rows.dtype) == ((3, 2048), np.float32)
    np.testing.assert_array_equal(rows, see(images).pool3)


def test_features_of_grey_are_those_of_rgb_of_one_level(pool3) -> None:
    grey = image("grey", (32, 32))[..., :1]
    np.testing.assert_array_equal(pool3.extract(grey), pool3.extract(np.repeat(grey, 3, -1)))


def test_features_follow_the_rule_that_is_named(path, loaded, pool3) -> None:
    some = image("large", (400, 310))
    other = inception_weights.inception_features(path, "antialiased", batch=1)
    assert other.resize == "antialiased"
    found = other.extract(some)
    np.testing.assert_array_equal(
        found, inception.inception_function(loaded.variables, ANTIALIASED, batch=1)(some).pool3
    )
    assert np.abs(found - pool3.extract(some)).max() > 0.01 * found.std()


def test_another_rule_is_refused_before_the_file_is_read() -> None:
    with pytest.raises(UserError, match=r"^resize .*'bicubic'.*tensorflow_1.*antialiased"):
        inception_weights.inception_features("none.npz", "bicubic")


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({}, rf"{FIRST} .*\(32, 3, 3, 3\)"),
        ({FIRST: ONE}, r"Conv2d_1a_3x3\.bn\.\w+ .*\(32,\)"),
        ({FIRST: ONE[:, :2]}, rf"{FIRST} .*\(32, 2, 3, 3\).*\(32, 3, 3, 3\)"),
        ({FIRST: ONE.astype(np.int32)}, f"{FIRST} .*int32"),
        ({FIRST: ONE + np.inf}, f"{FIRST} .*NaN"),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_tensor_that_is_wrong_is_named(tensors, told, suffix, tmp_path) -> None:
    path = tmp_path / f"w{suffix}"
    if suffix == ".npz":
        np.savez(path, **tensors)
    else:
        save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, path)
    with pytest.raises(UserError, match=told):
        inception_weights.load_weights(path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"AuxLogits.fc.weight": ONE}, r"AuxLogits\.fc\.weight "),
        ({"fc.weight": np.zeros((1000, 2048), np.float32)}, r"fc\.weight .*\(1000, 2048\).*\(1008"),
        ({"Mixed_7c.branch_pool.bn.running_var": np.full(192, -1.0)}, r"running_var .*-1\.0"),
    ],
)
def test_weights_of_another_net_are_refused(change, told, path) -> None:
    tensors = {name: np.zeros(shape, np.float16) for name, shape in inception_weights.tensor_shapes().items()}
    with pytest.raises(UserError, match=told):
        inception_weights.check_tensors(path, tensors | change)


def test_a_pickle_is_not_opened_and_the_way_to_convert_it_is_told(tmp_path) -> None:
    with pytest.raises(UserError, match=r"python -c '.*weights_only=True.*' .*/a\.pth .*/a\.safetensors"):
        inception_weights.load_weights(tmp_path / "a.pth")
    for name in ("a.npz", "a.safetensors"):
        (tmp_path / name).write_bytes(pickle.dumps({FIRST: ONE}))
        with pytest.raises(UserError, match=rf"a\.{name[2:]}: "):
            inception_weights.load_weights(tmp_path / name)
    np.savez(tmp_path / "a.npz", **{FIRST: np.array([{}], object)})
    with pytest.raises(UserError, match=r"\.npz: "):
        inception_weights.load_weights(tmp_path / "a.npz")


def test_what_is_no_file_or_never_ends_is_refused(tmp_path, monkeypatch) -> None:
    with pytest.raises(UserError, match=str(tmp_path)):
        inception_weights.load_weights(tmp_path / "none.npz")
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(UserError, match=str(tmp_path)):
        inception_weights.load_weights(tmp_path / "pipe.npz")
    monkeypatch.setattr(inception_weights, "MAX_BYTES", 100_000)
    np.savez_compressed(tmp_path / "bomb.npz", **{FIRST: np.zeros(10**6)})
    with pytest.raises(UserError, match="100,000 bytes"):
        inception_weights.load_weights(tmp_path / "bomb.npz")
    np.savez(tmp_path / "large.npz", **{FIRST: np.zeros(10**6)})
    with pytest.raises(UserError, match="100,000 bytes"):
        inception_weights.load_weights(tmp_path / "large.npz")
