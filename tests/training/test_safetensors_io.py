"""One file of weights: what is read is bit for bit what was written, or it is not read."""

import json
import os
import pickle
import struct

import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.training import safetensors_io

TREE = {
    "Dense_0": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.zeros(3, np.float32)},
    "scale": np.float32(0.5).reshape(()),
    "counts": {"n": np.array([1, 2], np.int32)},
}
ABOUT = {"step": 3, "told": {"of": ["ä", 1.5, None]}}


@pytest.fixture
def path(tmp_path):
    safetensors_io.write(tmp_path / "weights.safetensors", TREE, ABOUT)
    return tmp_path / "weights.safetensors"


def test_it_comes_back_bit_for_bit(path) -> None:
    tree, about = safetensors_io.read(path)
    assert about == ABOUT
    assert tree.keys() == TREE.keys()
    for one, other in ((tree["Dense_0"]["kernel"], TREE["Dense_0"]["kernel"]), (tree["scale"], TREE["scale"])):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        np.testing.assert_array_equal(one, other)


def test_arrays_of_jax_are_taken_as_they_lie(tmp_path) -> None:
    safetensors_io.write(tmp_path / "w.safetensors", {"a": jnp.arange(6.0).reshape(2, 3).T}, {})
    np.testing.assert_array_equal(
        safetensors_io.read(tmp_path / "w.safetensors")[0]["a"], np.arange(6.0).reshape(2, 3).T
    )


def test_numbers_of_every_width_come_back(tmp_path) -> None:
    for dtype in (jnp.bfloat16, np.float16, np.float64, np.int8, np.bool_, np.complex64):
        safetensors_io.write(tmp_path / "w.safetensors", {"a": np.arange(3).astype(dtype), "b": np.ones((), dtype)}, {})
        tree, _ = safetensors_io.read(tmp_path / "w.safetensors")
        assert tree["a"].dtype == tree["b"].dtype == dtype
        np.testing.assert_array_equal(tree["a"], np.arange(3).astype(dtype))


def test_a_changed_bit_is_noticed_wherever_it_is(path) -> None:
    whole = path.read_bytes()
    bits = np.random.default_rng(0).integers(0, 8, len(whole))
    for place, bit in enumerate(bits):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :])
        if whole[place : place + 1] == b" ":  # between header and numbers, where nothing is said
            continue
        with pytest.raises(UserError, match=r"weights\.safetensors: "):
            safetensors_io.read(path)


def test_a_cut_file_is_refused(path) -> None:
    whole = path.read_bytes()
    for length in range(0, len(whole), 9):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"\.safetensors: "):
            safetensors_io.read(path)


def test_what_another_program_wrote_is_refused(tmp_path) -> None:
    from safetensors.numpy import save_file

    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": np.zeros(3)}, foreign, {"format": "pt"})
    with pytest.raises(UserError, match="foreign"):
        safetensors_io.read(foreign)
    foreign.write_bytes(pickle.dumps(TREE))
    with pytest.raises(UserError, match=r"\.safetensors: "):
        safetensors_io.read(foreign)
    with pytest.raises(UserError, match=r"\.safetensors: "):
        safetensors_io.read(tmp_path / "none.safetensors")


def test_a_header_that_lies_is_refused_at_once(tmp_path) -> None:
    path = tmp_path / "huge.safetensors"
    for header in (
        {"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "b": {"dtype": "F32", "shape": [2]}},
        {"../../a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]}},
    ):
        told = json.dumps({**header, "__metadata__": {"diffjax": "1"}}).encode()
        path.write_bytes(struct.pack("<Q", len(told)) + told + b"\0" * 8)
        with pytest.raises(UserError, match=r"\.safetensors: "):
            safetensors_io.read(path)
    path.write_bytes(struct.pack("<Q", 2**62) + b"{")
    with pytest.raises(UserError, match=r"\.safetensors: "):
        safetensors_io.read(path)


def test_a_pipe_is_not_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(UserError, match=r"\.safetensors: "):
        safetensors_io.read(tmp_path / "pipe.safetensors")


def test_nothing_is_left_of_a_file_that_could_not_be_written(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="safetensors"):
        safetensors_io.write(tmp_path / "file" / "w.safetensors", TREE, ABOUT)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
