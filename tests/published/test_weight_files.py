"""Files that other programs wrote (make_files.py): what is read is bit for bit what they saved, and nothing is run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from diffjax.errors import UserError
from diffjax.published.stored_tensors import StoredTensor
from diffjax.published.weight_files import is_weight_file, read_weight_file
from tests.published.pickle_assembler import array_tensor, module_of, old_form, write_state

ROOT = Path(__file__).parents[2]
FILES = Path(__file__).parent / "files"
MODULES = ("module.pkl", "module_3.pkl")
LARGE = 64  # megabytes of a file
MAX_PEAK = 1.2  # of the process while it places a file's tensors, relative to the file


def read_numbers() -> dict[str, dict[str, tuple[str, list[int], bytes]]]:
    """The type, shape and bytes of each tensor by file and name."""
    with np.load(FILES / "numbers.npz") as content:
        about, data = json.loads(content["about"].tobytes()), content["data"].tobytes()
    numbers, start = {}, 0
    for file, tensors in about.items():
        numbers[file] = {}
        for name, (kind, shape, end) in tensors.items():
            numbers[file][name] = kind, shape, data[start:end]
            start = end
    return numbers


NUMBERS = read_numbers()


def describe(tensor: StoredTensor) -> tuple[str, list[int], bytes]:
    values = tensor.read()
    assert (values.shape, values.dtype) == (tensor.shape, tensor.dtype)
    assert values.nbytes == tensor.bytes
    return values.dtype.name, list(values.shape), values.tobytes()


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_come_back_bit_for_bit(name, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    path, _, average = name.partition("/")
    file = read_weight_file(FILES / path, average or None)
    assert {key: describe(tensor) for key, tensor in file.tensors.items()} == NUMBERS[name]
    assert not list(tmp_path.iterdir())


def test_every_file_has_its_numbers() -> None:
    files = {path.name for path in FILES.iterdir()} - {"numbers.npz"}
    assert files == {name.partition("/")[0] for name in NUMBERS}
    assert all(is_weight_file(FILES / name) for name in files)
    assert all(path.stat().st_size <= 20_000 for path in FILES.rglob("*"))


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_known_by_its_class_and_arguments(name) -> None:
    file = read_weight_file(FILES / name)
    assert file.kind == "Precond"
    assert file.config == {"width": 3, "attention": [16, 8], "sigma_data": 0.5}
    assert b"touch()" in (FILES / name).read_bytes()  # the source that is not run


def test_a_folder_has_a_config() -> None:
    for folder in ("single", "sharded", "pickled"):
        file = read_weight_file(FILES / folder)
        assert (file.kind, file.path, file.setting("sample_size", int)) == ("UNet2DModel", FILES / folder, 32)


@pytest.mark.parametrize("name", ["checkpoint.pt", "old_checkpoint.pt"])
def test_weights_of_a_checkpoint_are_chosen_by_name(name) -> None:
    assert read_weight_file(FILES / name).averages == ("model",)
    assert read_weight_file(FILES / name, "model").averages == ("ema",)
    with pytest.raises(UserError, match=r"no weights named 'opt'; it has model, ema"):
        read_weight_file(FILES / name, "opt")


@pytest.mark.parametrize("name", ["state.pt", "types.safetensors", "single", "sharded", "pickled"])
def test_a_file_of_one_set_of_weights_has_no_others(name) -> None:
    with pytest.raises(UserError, match="no weights named 'ema'"):
        read_weight_file(FILES / name, "ema")


def test_a_file_is_read_whatever_its_name(tmp_path) -> None:
    for name in ("state.pt", "old_state.pt", "module.pkl"):
        path = tmp_path / "weights"
        path.write_bytes((FILES / name).read_bytes())
        assert read_weight_file(path).tensors.keys() == NUMBERS[name].keys()


def test_a_file_that_was_replaced_is_read_anew(tmp_path) -> None:
    path = tmp_path / "weights.pt"
    for values in (np.zeros(3, np.float32), np.ones(3, np.float32)):
        write_state(tmp_path / "new.pt", {"a": values}).replace(path)
        np.testing.assert_array_equal(read_weight_file(path).tensors["a"].read(), values)


PEAK = """
import re, sys
from pathlib import Path
from diffjax.published.tensor_mapping import place_tensors, sources_by_name
from diffjax.published.weight_files import read_weight_file

def peak():  # of memory, in megabytes; that of getrusage begins with the peak of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024

side, *paths = sys.argv[1:]
kept = []
for path in paths:
    before = peak()
    file = read_weight_file(path)
    names = [name.replace(".weight", "/kernel") for name in file.tensors]
    shapes = dict.fromkeys(names, (int(side), int(side)))
    kept.append(place_tensors(file, shapes, sources_by_name(names)))
    print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read there")
def test_tensors_are_placed_in_the_memory_that_they_take(tmp_path) -> None:
    """Of a file of each form, in a process of its own, which holds all the parameters to the end."""
    rng, side, count = np.random.default_rng(0), 512, LARGE
    arrays = {f"layer{i}.weight": rng.random((side, side), np.float32) for i in range(count)}
    storages = {name: values.tobytes() for name, values in arrays.items()}
    content = {name: array_tensor(name, values) for name, values in arrays.items()}
    write_state(tmp_path / "first.pt", dict(list(arrays.items())[:4]))  # a process grows once by what it first uses
    write_state(tmp_path / "state.pt", arrays)
    (tmp_path / "old.pt").write_bytes(old_form(content, storages))
    (tmp_path / "module.pkl").write_bytes(module_of(arrays))
    save_file(arrays, tmp_path / "state.safetensors")
    env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "-c", PEAK, str(side), *sorted(tmp_path.iterdir())]  # first.pt is the first
    output = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout
    _, *peaks = map(float, output.split())
    assert len(peaks) == 4
    assert max(peaks) <= MAX_PEAK * LARGE, peaks
    assert sum(peaks) >= 0.9 * len(peaks) * LARGE, peaks  # the parameters themselves
