"""TFDS sets: read without TensorFlow where they are prepared, refused in one useful line where they are not."""

import io
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from test_folder import WHOLE

from diffjax.data import open_dataset
from diffjax.data.split_rules import by_rank
from diffjax.errors import UserError
from diffjax.utils.image_fit import largest_part
from diffjax.utils.image_io import MAX_PIXELS, decode_bytes

COUNT = 40


def picture(i: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 256, (6, 9, channels), np.uint8)


def png(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array.squeeze()).save(file, "png", **options)
    return file.getvalue()


def write(
    root: Path, name: str, features: dict[str, Any], rows: list[dict[str, Any]], splits: dict[str, slice]
) -> None:
    """Prepares a little TFDS set, as array_record, from rows given in memory."""

    class Little(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> tfds.core.DatasetInfo:
            parts = tfds.features.FeaturesDict(features)
            return tfds.core.DatasetInfo(builder=self, features=parts, disable_shuffling=True)

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
            return {split: enumerate(rows[part]) for split, part in splits.items()}

        def _generate_examples(self) -> None: ...

    Little.name = name
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        Little(data_dir=root, file_format="array_record").download_and_prepare()


def test_encoded_images_are_decoded_and_an_older_rule_cuts_missing_splits_off_the_end_of_train(tmp_path: Path):
    features = {
        "image": tfds.features.Image(shape=(6, 9, 3)),
        "label": tfds.features.ClassLabel(names=["cat", "dog"]),
        "note": tfds.features.Text(),
    }
    rows = [{"image": io.BytesIO(png(picture(i))), "label": i % 2, "note": "x"} for i in range(COUNT)]
    write(tmp_path, "little_png", features, rows, {"train": slice(COUNT)})
    little = open_dataset("little_png", tmp_path, rule=by_rank)
    assert (little.shape, little.levels, little.class_names) == ((6, 9, 3), 256, ("cat", "dog"))
    for split, ids in {"train": range(32), "validation": range(32, 36), "test": range(36, 40)}.items():
        images, labels = little.arrays(split)
        np.testing.assert_array_equal(images, np.stack([picture(i) for i in ids]))
        np.testing.assert_array_equal(labels, np.arange(COUNT)[list(ids)] % 2)
    assert open_dataset("little_png", tmp_path, image_size=3, rule=by_rank).arrays("test")[0].shape == (4, 3, 3, 3)


def test_own_splits_are_kept_and_sets_without_classes_have_no_labels(tmp_path: Path):
    features = {"image": tfds.features.Tensor(shape=(6, 9, 1), dtype=np.uint8)}
    rows = [{"image": picture(i, 1)} for i in range(COUNT)]
    write(tmp_path, "little_grey", features, rows, {"train": slice(30), "test": slice(30, COUNT)})
    little = open_dataset("little_grey", tmp_path)
    assert len(little.split("train")) + len(little.split("validation")) == 30
    images, labels = little.arrays("test")
    assert (labels, little.classes) == (None, 0)
    np.testing.assert_array_equal(images, np.stack([picture(i, 1) for i in range(30, 40)]))
    with pytest.raises(UserError, match=r"'little_grey'.*9 wide and 6 high.*image_size"):
        open_dataset("little_grey", tmp_path, image_size=4)


def test_images_of_many_sizes_need_a_size(tmp_path: Path):
    rows = [{"image": io.BytesIO(png(picture(0)[:, : 6 + i]))} for i in range(3)]
    write(tmp_path, "little_mixed", {"image": tfds.features.Image(shape=(None, None, 3))}, rows, {"train": slice(3)})
    with pytest.raises(UserError, match=r"'little_mixed'.*image_size"):
        open_dataset("little_mixed", tmp_path)
    assert open_dataset("little_mixed", tmp_path, image_size=2, rule=WHOLE).arrays("train")[0].shape == (3, 2, 2, 3)


def test_a_record_that_is_no_image_is_named(tmp_path: Path):
    broken = io.BytesIO(png(picture(0))[:-40])
    write(
        tmp_path,
        "little_bad",
        {"image": tfds.features.Image(shape=(6, 9, 3))},
        [{"image": broken}],
        {"train": slice(1)},
    )
    with pytest.raises(UserError, match=r"little_bad.*'train'.*record 0"):
        open_dataset("little_bad", tmp_path, rule=WHOLE).arrays("train")


def test_sets_without_images_are_refused(tmp_path: Path):
    write(tmp_path, "little_text", {"text": tfds.features.Text()}, [{"text": "x"}], {"train": slice(1)})
    with pytest.raises(UserError, match=r"'little_text'.*\(text\)"):
        open_dataset("little_text", tmp_path)
    floats = {"image": tfds.features.Tensor(shape=(2, 2, 1), dtype=np.float32)}
    write(tmp_path, "little_float", floats, [{"image": np.ones((2, 2, 1), np.float32)}], {"train": slice(1)})
    with pytest.raises(UserError, match=r"'little_float'.*float32"):
        open_dataset("little_float", tmp_path)


def test_an_unprepared_set_says_how_to_prepare_it(tmp_path: Path):
    with pytest.raises(UserError) as caught:
        open_dataset("mnist", tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert "'mnist' is not prepared" in message
    assert "pip install 'diffjax[prepare]'" in message
    assert f"tfds.builder('mnist', data_dir='{tmp_path}').download_and_prepare(file_format='array_record')" in message


@pytest.mark.parametrize("name", ["mnits", "no such name", "cifar10/nothing", "mnist:9.9.9", "mnist/x=3", "", "a:b"])
def test_an_unknown_name_is_refused_in_one_line(name: str, tmp_path: Path):
    with pytest.raises(UserError, match=f"^data set {name!r}: ") as caught:
        open_dataset(name, tmp_path)
    assert "\n" not in str(caught.value)


def test_no_split_and_empty_split(digits: Any):
    with pytest.raises(UserError, match=r"'digits'.*'dev'.*test, train, validation"):
        digits.split("dev")


def test_bytes_are_decoded_to_the_channels_asked_for():
    grey, colour = picture(1, 1), picture(1)
    np.testing.assert_array_equal(decode_bytes(png(colour), 3, None, "x"), colour)
    np.testing.assert_array_equal(decode_bytes(png(grey), 1, None, "x"), grey)
    np.testing.assert_array_equal(decode_bytes(png(grey), 3, None, "x"), np.repeat(grey, 3, axis=-1))


def test_fitting_averages_the_centred_square():
    image = np.zeros((4, 8, 1), np.uint8)
    image[:, 2:6] = np.arange(16, dtype=np.uint8).reshape(4, 4, 1) * 10
    image[:, :2] = 255
    expected = image[:, 2:6].reshape(2, 2, 2, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(
        decode_bytes(png(image), 1, lambda height, width, name: largest_part(height, width, (2, 2)), "x")[..., 0],
        expected,
        atol=1,
    )


def test_too_large_and_too_deep_images_are_refused_before_decoding():
    side = int(MAX_PIXELS**0.5) + 1
    with pytest.raises(UserError, match=r"^x: .*64"):
        decode_bytes(png(np.zeros((side, side), np.uint8), compress_level=1), 1, None, "x")
    deep = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.int32)).save(deep, "TIFF")
    with pytest.raises(UserError, match=r"^x: .*16 bits"):
        decode_bytes(deep.getvalue(), 1, None, "x")
    levels = decode_bytes(png(np.full((4, 4), 257 * 9, np.uint16)), 1, None, "x")
    np.testing.assert_array_equal(levels, np.full((4, 4, 1), 9))
