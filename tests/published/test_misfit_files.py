"""Whole files whose tensors are not those of a model: one line that begins with the path and names the tensor."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from diffjax.errors import UserError
from diffjax.published.models import find_family, load_published
from diffjax.utils.files import is_single_line
from tests.published.golden_files import GOLDEN, read_case, weight_file
from tests.published.pickle_assembler import module_of, write_state

Tensors = dict[str, np.ndarray]
SIGNS = {"x_embedder.proj.weight", "t_embedder.mlp.0.weight", "final_layer.linear.weight"}  # by which a DiT is known
KERNEL, BIAS = "blocks.0.mlp.fc1.weight", "blocks.1.attn.qkv.bias"
REPEATED = "blocks.{}.attn.qkv.weight"


@cache
def dit() -> Tensors:
    """The tensors of a small DiT."""
    return {name: stored.read() for name, stored in read_case(GOLDEN / "dit_64.npz").file.tensors.items()}


def without(name: str) -> Tensors:
    return {other: values for other, values in dit().items() if other != name}


def empty(name: str) -> Tensors:
    return {**dit(), name: dit()[name][:0]}


def single(name: str) -> Tensors:
    return {**dit(), name: np.zeros((), np.float32)}


def whole_numbers(name: str) -> Tensors:
    return {**dit(), name: dit()[name].astype(np.int64)}


@pytest.mark.parametrize("change", [without, empty, single, whole_numbers])
def test_every_tensor_of_a_net_is_looked_at(change: Callable[[str], Tensors]) -> None:
    for name in dit():
        if change is without and name in SIGNS:
            continue
        file = weight_file(change(name), "DiT-test.pt")
        with pytest.raises(UserError, match=rf"^DiT-test\.pt: .*'{name}'") as error:
            find_family(file).read(file)
        assert is_single_line(str(error.value))


FILES = {
    "missing": (without(KERNEL), f"has no tensor '{KERNEL}'"),
    "extra": ({**dit(), "encoder.weight": np.zeros(3, np.float32)}, "no place for, 'encoder.weight'"),
    "another shape": (
        {**dit(), BIAS: np.zeros(191, np.float32)},
        rf"'{BIAS}' of shape \(191,\) does not fit the net's .* of shape \(192,\)",
    ),
    "ints": (whole_numbers(KERNEL), f"'{KERNEL}' has numbers of type int64"),
    "another family": ({"encoder.layer.0.weight": np.zeros((3, 3), np.float32)}, "tensors such as 'encoder.layer.0"),
    "many blocks": ({**dit(), REPEATED.format(9999): np.zeros(3, np.float32)}, "does not fit DiT: .*depth"),
    "blocks that are not there": ({**dit(), REPEATED.format(9): dit()[REPEATED.format(0)]}, "has no tensor 'blocks.2"),
    "a long list": ({f"{'x' * 190}{i}": np.zeros(1, np.float32) for i in range(5)}, "tensors such as 'xxx"),
}


@pytest.mark.parametrize("case", FILES)
@pytest.mark.parametrize("form", ["state.pt", "module.pkl"])
def test_a_file_that_fits_no_model_is_refused(case, form, tmp_path) -> None:
    tensors, message = FILES[case]
    path = tmp_path / form
    write(path, tensors)
    with pytest.raises(UserError, match=rf"^{path}: .*{message}") as error:
        load_published(path)
    assert is_single_line(str(error.value))
    assert len(str(error.value)) < 1500


@pytest.mark.parametrize("form", ["state.pt", "module.pkl"])
def test_a_file_that_fits_is_read(form, tmp_path) -> None:
    write(tmp_path / form, dit())
    params = flatten_dict(load_published(tmp_path / form).model.params, sep="/")
    golden = read_case(GOLDEN / "dit_64.npz").file
    expected = flatten_dict(find_family(golden).read(golden).params, sep="/")
    assert params.keys() == expected.keys()
    assert all(jax.numpy.array_equal(params[name], expected[name]) for name in params)


def write(path: Path, tensors: Tensors) -> None:
    if path.suffix == ".pkl":
        path.write_bytes(module_of(tensors))
    else:
        write_state(path, tensors)
