"""Weights that Flax wrote, in MessagePack and by Orbax: those of the torch modules that they mirror, bit for bit."""

import json
import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import flax.serialization
import jax
import jax.numpy as jnp
import msgpack
import numpy as np
import orbax.checkpoint as ocp
import pytest

from diffjax.errors import UserError
from diffjax.published.autoencoder_kl import read_codec
from diffjax.published.stored_tensors import WeightFile
from diffjax.published.weight_files import is_weight_file, read_weight_file
from tests.published.golden_files import GOLDEN, read_case
from tests.published.test_hostile_files import damage, read_damaged

CODEC = "kl_old"  # the names of attention are those of Flax's form
TRIALS = 300
Tree = dict[str, object]


def flax_tree(tensors: Mapping[str, np.ndarray]) -> Tree:
    """The parameters as diffusers' Flax models have them: `down_blocks_0/conv1/kernel`, channels last."""
    tree: Tree = {}
    for name, values in tensors.items():
        path = name.replace(".0.", "_0.").replace(".1.", "_1.")
        *modules, leaf = path.split(".")
        if leaf == "weight":
            leaf = "kernel" if values.ndim > 1 else "scale"
        inner = tree
        for module in modules:
            inner = inner.setdefault(module, {})  # type: ignore[assignment]
        inner[leaf] = values.transpose(*range(2, values.ndim), 1, 0) if values.ndim > 1 else values
    return tree


@cache
def codec_file() -> WeightFile:
    return read_case(GOLDEN / f"{CODEC}.npz").file


@cache
def codec_tree() -> Tree:
    return flax_tree({name: tensor.read() for name, tensor in codec_file().tensors.items()})


def write_msgpack(path: Path, tree: Tree) -> Path:
    path.write_bytes(flax.serialization.msgpack_serialize(tree))
    return path


def write_orbax(path: Path, tree: Tree) -> Path:
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, tree)
    return path


FORMS: Mapping[str, Callable[[Path, Tree], Path]] = {"weights.msgpack": write_msgpack, "orbax": write_orbax}


def assert_same(file: WeightFile, expected: WeightFile) -> None:
    assert file.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        assert (file.tensors[name].shape, file.tensors[name].dtype) == (tensor.shape, tensor.dtype)
        np.testing.assert_array_equal(file.tensors[name].read(), tensor.read())


@pytest.mark.parametrize("form", FORMS)
def test_a_tree_has_the_tensors_of_the_torch_modules(form, tmp_path) -> None:
    path = FORMS[form](tmp_path / form, {"params": codec_tree()})
    assert is_weight_file(path)
    assert_same(read_weight_file(path), codec_file())


def test_a_folder_of_diffusers_flax_models_is_a_codec(tmp_path) -> None:
    config = {**codec_file().config, "_class_name": "AutoencoderKL", "scaling_factor": 0.5}
    (tmp_path / "config.json").write_text(json.dumps(config))
    write_msgpack(tmp_path / "diffusion_flax_model.msgpack", codec_tree())
    codec, expected = read_codec(read_weight_file(tmp_path)), read_codec(codec_file())
    assert codec.latents.scale == 0.5
    jax.tree.map(np.testing.assert_array_equal, codec.params, expected.params)


@pytest.mark.parametrize("form", FORMS)
def test_weights_of_a_training_are_chosen_by_name(form, tmp_path) -> None:
    average, last = ({"dense_0": {"kernel": np.full((2, 3), fill, np.float32)}} for fill in (1, 2))
    tree = {"params": last, "ema_params": {"params": average}, "step": np.int32(7), "opt_state": {"mu": last}}
    path = FORMS[form](tmp_path / form, tree)
    for name, fill in {None: 1, "ema_params": 1, "params": 2}.items():
        tensors = read_weight_file(path, name).tensors
        assert {key: tensor.shape for key, tensor in tensors.items()} == {"dense.0.weight": (3, 2)}
        assert (tensors["dense.0.weight"].read() == fill).all()
    assert read_weight_file(path).averages == ("params",)
    with pytest.raises(UserError, match=r"no weights named 'opt'; it has ema_params, params"):
        read_weight_file(path, "opt")


def test_numbers_of_every_type_and_arrays_in_pieces_come_back(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", 64)
    kinds = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "uint8", "bool")
    tree: Tree = {kind: np.asarray(jnp.arange(5), jnp.dtype(kind)) for kind in kinds}
    tree |= {"pieces": np.arange(60, dtype=np.float32).reshape(3, 20), "none": np.zeros((0, 3)), "one": np.float32(3)}
    tree |= {"text": "a", "many": {str(i): i - 300 for i in range(70_000)}, "number": 1.5, "list": [True, None]}
    tensors = read_weight_file(write_msgpack(tmp_path / "types.msgpack", tree)).tensors
    arrays = {name: value for name, value in tree.items() if isinstance(value, np.ndarray | np.generic)}
    assert tensors.keys() == arrays.keys()
    for name, value in arrays.items():
        assert (tensors[name].dtype, tensors[name].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(tensors[name].read(), value)


def array_of(*fields: object, kind: int = 1) -> bytes:
    return msgpack.packb({"a": msgpack.ExtType(kind, msgpack.packb(fields))})


NUMBERS = b"\0" * 8
REFUSED = {
    "no tree": (msgpack.packb([1, 2]), "is no tree of arrays"),
    "nothing": (b"", "ends before its tree does"),
    "no arrays": (msgpack.packb({"a": {"b": 1}}), "holds no tensors"),
    "more behind it": (array_of((2,), "float32", NUMBERS) + b"\0", "more behind its tree"),
    "a lying shape": (array_of((3,), "float32", NUMBERS), "shape, type and bytes"),
    "a shape of text": (array_of("ab", "float32", NUMBERS), "shape, type and bytes"),
    "a negative shape": (array_of((-2,), "float32", NUMBERS), "shape, type and bytes"),
    "objects": (array_of((1,), "object", NUMBERS), "numbers of type 'object'"),
    "an extension of another kind": (array_of((2,), "float32", NUMBERS, kind=7), "shape, type and bytes"),
    "a key of no text": (msgpack.packb({3: 4}), "no new name"),
    "a key twice": (b"\x82\xa1a\x01\xa1a\x02", "no new name"),
    "a key that is not UTF-8": (b"\x81\xa1\xff\x01", "no text"),
    "a long key": (msgpack.packb({"a" * 2000: 1}), "a name of 2,000 bytes"),
    "a length beyond the end": (b"\x81\xa1a\xc6\xff\xff\xff\xff", "ends before its numbers do"),
    "many entries": (b"\xdf\xff\xff\xff\xff", "ends before its tree does"),
    "lists without end": (b"\x91" * 100_000, "more values, or dictionaries within others"),
    "a byte that begins nothing": (b"\x81\xa1a\xc1", "0xc1"),
    "pieces that do not fit": (
        msgpack.packb({"a": {"__msgpack_chunked_array__": True, "shape": {"0": 3}, "chunks": {"0": 1}}}),
        "pieces that do not fit",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_is_no_tree_of_arrays_is_refused(case, tmp_path) -> None:
    data, message = REFUSED[case]
    path = tmp_path / "weights.msgpack"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as refused:
        read_weight_file(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)


def test_damage_of_a_tree_ends_in_numbers_or_in_one_line(tmp_path) -> None:
    rng = np.random.default_rng(0)
    tree = {"params": {"a": {"kernel": np.ones((3, 4), np.float32)}, "b": {"scale": np.zeros(5, np.float16)}}}
    whole = flax.serialization.msgpack_serialize(tree)
    path = tmp_path / "weights.msgpack"
    errors = []
    for _ in range(TRIALS):
        path.write_bytes(damage(rng, whole))
        errors.append(read_damaged(path))
    assert 0 < errors.count("") < TRIALS
    assert all(not error or (error.startswith(f"{path}: ") and "\n" not in error) for error in errors)


def test_a_damaged_checkpoint_of_orbax_is_refused(tmp_path) -> None:
    for number, file in enumerate(("_METADATA", "manifest.ocdbt")):
        path = write_orbax(tmp_path / str(number), {"params": {"a": np.ones(3, np.float32)}})
        os.truncate(path / file, (path / file).stat().st_size // 2)
        assert read_damaged(path).startswith(f"{path}: ")
