"""Images from files and folders: the same pictures however they are stored, and files that nobody should trust."""

import os
import struct
import zipfile
from io import BytesIO

import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.evaluation import npz
from diffjax.evaluation.frechet_distance import Moments
from diffjax.evaluation.image_sources import fingerprint, image_hashes, open_images, open_reference
from diffjax.reports.image_files import write_png


def all_images(source):
    return np.concatenate(list(source.batches(256)))


IMAGES = np.random.default_rng(0).integers(0, 256, (7, 5, 6, 3), dtype=np.uint8)


def header(shape, descr="|u1", order=False):
    """An npy header that says whatever it is told to."""
    file = BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": order, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_a_reference_batch_is_read_in_batches(save, size, tmp_path):
    save(tmp_path / "x.npz", arr_0=IMAGES, arr_1=np.arange(7), provenance=np.array("{}"))
    found = open_images(tmp_path / "x.npz")
    assert found.shape == IMAGES.shape
    np.testing.assert_array_equal(found.labels, np.arange(7))
    for _ in range(2):  # as often as need be
        parts = list(found.batches(size))
        assert max(map(len, parts)) == min(size, 7)
        np.testing.assert_array_equal(np.concatenate(parts), IMAGES)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_and_a_file_of_the_same_images_are_the_same(channels, tmp_path):
    images = IMAGES[..., :channels]
    for place, image in enumerate(images):
        write_png(tmp_path / "folder" / f"{place}.png", image)
    (tmp_path / "folder" / "notes.txt").write_text("no picture")
    np.savez(tmp_path / "x.npz", arr_0=images)
    folder, file = open_images(tmp_path / "folder"), open_images(tmp_path / "x.npz")
    np.testing.assert_array_equal(all_images(folder), images)
    np.testing.assert_array_equal(all_images(file), images)
    assert fingerprint(folder) == fingerprint(file)
    assert len(list(folder.batches(3))) == 3


def test_every_pixel_and_the_shape_count_in_the_hash():
    turned, changed = IMAGES.reshape(7, 6, 5, 3), IMAGES.copy()
    changed[0, 0, 0, 0] ^= 1
    assert (image_hashes(turned) != image_hashes(IMAGES)).any(1).all()
    assert (image_hashes(changed) != image_hashes(IMAGES)).any(1).tolist() == [True] + [False] * 6


def test_a_reference_is_images_or_statistics(tmp_path):
    np.savez(tmp_path / "images.npz", arr_0=IMAGES, mu=np.zeros(2), sigma=np.eye(2))
    np.savez(tmp_path / "moments.npz", mu=np.zeros(2), sigma=np.eye(2), mu_s=np.zeros(3), sigma_s=np.eye(3))
    assert isinstance(open_reference(tmp_path / "moments.npz"), Moments)
    assert not isinstance(open_reference(tmp_path / "images.npz"), Moments)
    with pytest.raises(UserError, match=r"arr_0.* mu, mu_s, sigma"):
        open_images(tmp_path / "moments.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"arr_0": IMAGES.astype(np.float32)}, "float32.*uint8"),
        ({"arr_0": IMAGES[0]}, r"\(5, 6, 3\)"),
        ({"arr_0": IMAGES[:0]}, r"\(0, 5, 6, 3\)"),
        ({"arr_0": IMAGES[..., :2]}, r"\(7, 5, 6, 2\)"),
        ({"arr_0": IMAGES, "arr_1": np.arange(6)}, "arr_1 "),
        ({"arr_0": IMAGES, "arr_1": np.arange(7.0)}, "arr_1 "),
        ({"arr_0": IMAGES.astype(object)}, "object|numbers"),
        ({"arr_0": np.asfortranarray(IMAGES)}, "ascontiguousarray"),
        ({f"arr_{i}": IMAGES for i in range(65)}, "64 files"),
    ],
)
def test_what_is_no_batch_of_images_is_refused_by_name(arrays, message, tmp_path):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UserError, match=message) as error:
        open_images(tmp_path / "x.npz")
    assert "x.npz" in str(error.value)


@pytest.mark.parametrize(
    "data",
    [
        header((10**9, 5, 6, 3)) + IMAGES.tobytes(),
        header((2**40, 2**40, 2**40, 3)) + IMAGES.tobytes(),
        header((-7, 5, 6, 3)) + IMAGES.tobytes(),
        header((7, 5, 6, 3)) + IMAGES.tobytes()[:-1],
        header((7, 5, 6, 3)) + bytes(10**6),
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 60_000) + b" " * 60_000,
        b"\x80\x04\x95 a pickle",
        b"",
    ],
    ids=["huge", "overflow", "negative", "short", "long", "header", "pickle", "empty"],
)
def test_headers_that_lie_are_found_before_anything_is_held(data, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("arr_0.npy", data)
    with pytest.raises(UserError, match=r"x\.npz: ") as error:
        open_images(tmp_path / "x.npz")
    assert "\n" not in str(error.value)


def test_every_damage_to_a_file_is_a_user_error_or_seen_in_its_images(tmp_path):
    """The archive's own checksum sees what changes a pixel: half cut off, or any one of its bytes."""
    np.savez(tmp_path / "x.npz", arr_0=IMAGES)
    whole, rng = (tmp_path / "x.npz").read_bytes(), np.random.default_rng(0)
    damaged = [whole[: len(whole) // 2], b"", *(flipped(whole, at) for at in rng.integers(0, len(whole), 60))]
    for data in damaged:
        (tmp_path / "x.npz").write_bytes(data)
        try:
            found = all_images(open_images(tmp_path / "x.npz"))
        except UserError:
            continue
        np.testing.assert_array_equal(found, IMAGES)


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def test_what_is_missing_or_no_file_is_named(tmp_path):
    for path in (tmp_path / "gone.npz", tmp_path / "gone"):
        with pytest.raises(UserError, match=str(path)):
            open_images(path)
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(UserError, match=str(tmp_path)):
        open_images(tmp_path / "pipe.npz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=str(tmp_path)):
        open_images(tmp_path / "empty")


def test_pictures_of_different_sizes_are_named(tmp_path):
    write_png(tmp_path / "a.png", IMAGES[0])
    write_png(tmp_path / "b.png", IMAGES[0, :4])
    with pytest.raises(UserError, match=r"b\.png .*6 wide and 4 high.*a\.png .*6 wide and 5 high"):
        open_images(tmp_path)


def test_more_than_may_be_held_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", arr_0=IMAGES)
    with pytest.raises(UserError, match="0 megabytes"):
        npz.read_npz(tmp_path / "x.npz", ("arr_0",), 10)
