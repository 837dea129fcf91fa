"""Runs and weights that a stranger made to do harm: refused in one line, at once, with no code run, nothing written."""

import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tensorstore
from strangers import refused

from diffjax import loading, run
from diffjax.nets import MLP
from diffjax.training import manifest
from diffjax.training.checkpoint import Saver
from diffjax.training.keeping import Keep
from diffjax.training.state import create

FACTS = run.Facts((4, 4, 1), 2, ("even", "odd"), 17, (0.5, 0.5), "unit")
MODEL = {
    **{"net": "MLP(width=8, depth=1)", "noise": "Gaussian", "prediction": "v", "schedule": "cosine"},
    **{"order": "together", "data_std": 1.0, "conditional": True},
}
CONFIG = {"model": MODEL, "data": {}, "train": {}, "sample": {}}
STEP = "00000010"


class Harm:
    """Unpickled, it imports a module of that name."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return __import__, ("harm",)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, read once, so that what comes after is not slow for the first time."""
    folder = tmp_path_factory.mktemp("run")
    net = MLP(width=8, depth=1, classes=2)
    state = create(jax.random.key(0), net, optax.adamw(1e-3), (0.9,), jnp.zeros((1, 4, 4, 1)), jnp.zeros(1, jnp.int32))
    saver = Saver(folder / "checkpoints", Keep())
    saver.save(int(STEP), state, {})
    saver.close()
    run.write_config(folder, CONFIG, FACTS)
    assert loading.load(folder)[3].step == int(STEP)
    return folder


@pytest.fixture
def theirs(sound: Path, tmp_path: Path) -> Path:
    (tmp_path / "harm.py").write_text("")
    return shutil.copytree(sound, tmp_path / "run")


def resigned(run: Path) -> None:
    """The manifest again, with hashes that are right: a stranger can do that."""
    folder = run / "checkpoints" / STEP
    (folder / manifest.MANIFEST).unlink()
    manifest.write(folder, {"step": int(STEP)})


def told(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """The manifest with something else in it, and with its own hash right."""
    path = run / "checkpoints" / STEP / manifest.MANIFEST
    said = json.loads(path.read_text())
    del said["sha256"]
    change(said)
    path.write_text(json.dumps({**said, "sha256": manifest._own_hash(said)}))


def array(run: Path, name: str, shape: list[int], dtype: str = "<f4") -> Any:
    """An array of the checkpoint made anew, of another shape, with nothing in it."""
    spec = {
        "driver": "zarr",
        "kvstore": {"driver": "ocdbt", "base": f"file://{run / 'checkpoints' / STEP / 'state'}/", "path": f"{name}/"},
        "metadata": {"shape": shape, "chunks": shape, "dtype": dtype, "compressor": {"id": "zstd", "level": 1}},
    }
    return tensorstore.open(spec, create=True, delete_existing=True).result()


def state_file(run: Path, name: str) -> Path:
    return run / "checkpoints" / STEP / "state" / name


def a_path_in_the_manifest(run: Path) -> None:
    told(run, lambda said: said["files"].update({"../../../harm.py": said["files"]["state/_METADATA"]}))


def an_absolute_path(run: Path) -> None:
    told(run, lambda said: said["files"].update({"/etc/passwd": said["files"]["state/_METADATA"]}))


def a_link_to_a_file(run: Path) -> None:
    path = state_file(run, "_METADATA")
    shutil.copy(path, run.parent / "elsewhere")
    path.unlink()
    path.symlink_to(run.parent / "elsewhere")


def a_link_to_a_folder(run: Path) -> None:
    state = run / "checkpoints" / STEP / "state"
    state.rename(run.parent / "elsewhere")
    state.symlink_to(run.parent / "elsewhere")


def a_pipe(run: Path) -> None:
    state_file(run, "_METADATA").unlink()
    os.mkfifo(state_file(run, "_METADATA"))


def a_pipe_as_manifest(run: Path) -> None:
    path = run / "checkpoints" / STEP / manifest.MANIFEST
    path.unlink()
    os.mkfifo(path)


def a_device_as_manifest(run: Path) -> None:
    path = run / "checkpoints" / STEP / manifest.MANIFEST
    path.unlink()
    path.symlink_to("/dev/zero")


def a_deep_manifest(run: Path) -> None:
    (run / "checkpoints" / STEP / manifest.MANIFEST).write_text("[" * 100_000)


def a_long_manifest(run: Path) -> None:
    with (run / "checkpoints" / STEP / manifest.MANIFEST).open("wb") as file:
        file.truncate(10**12)


def a_manifest_of_lists(run: Path) -> None:
    told(run, lambda said: said.update(files=[["state/_METADATA", 3]], format=2))


def another_version(run: Path) -> None:
    told(run, lambda said: said.update(format=3))


def a_huge_array(run: Path) -> None:
    array(run, "emas.0.9.Dense_0.kernel", [10**9, 10**5])
    resigned(run)


def an_array_that_inflates(run: Path) -> None:
    """A chunk of a few bytes that is a gigabyte of zeros."""
    array(run, "emas.0.9.Dense_0.bias", [8])
    base = {"driver": "ocdbt", "base": f"file://{run / 'checkpoints' / STEP / 'state'}/"}
    store = tensorstore.KvStore.open(base).result()
    big = tensorstore.open(
        {
            "driver": "zarr",
            "kvstore": "memory://",
            "metadata": {"shape": [2**27], "chunks": [2**27], "dtype": "<f4", "compressor": {"id": "zstd", "level": 1}},
            "store_data_equal_to_fill_value": True,
        },
        create=True,
    ).result()
    big.write(np.zeros(2**27, np.float32)).result()
    store.write("emas.0.9.Dense_0.bias/0", big.kvstore.read("0").result().value).result()
    resigned(run)


def objects_in_an_array(run: Path) -> None:
    base = {"driver": "ocdbt", "base": f"file://{run / 'checkpoints' / STEP / 'state'}/"}
    store = tensorstore.KvStore.open(base).result()
    said = json.loads(store.read("emas.0.9.Dense_0.bias/.zarray").result().value)
    said.update(dtype="|O", filters=[{"id": "pickle"}])
    store.write("emas.0.9.Dense_0.bias/.zarray", json.dumps(said).encode()).result()
    resigned(run)


def a_pickle_as_metadata(run: Path) -> None:
    state_file(run, "_METADATA").write_bytes(pickle.dumps(Harm()))
    resigned(run)


def pickles_for_arrays(run: Path) -> None:
    for path in state_file(run, "d").iterdir():
        path.write_bytes(pickle.dumps(Harm()))
    resigned(run)


def a_pickle_of_an_old_kind_of_checkpoint(run: Path) -> None:
    state_file(run, "checkpoint").write_bytes(pickle.dumps(Harm()))
    resigned(run)


def deep_metadata(run: Path) -> None:
    state_file(run, "_METADATA").write_text("[" * 100_000)
    resigned(run)


def metadata_of_nothing(run: Path) -> None:
    state_file(run, "_METADATA").write_text("{}")
    resigned(run)


def keys_that_are_paths(run: Path) -> None:
    path = state_file(run, "_METADATA")
    path.write_text(path.read_text().replace("Dense_0", "../../../harm"))
    resigned(run)


def values_of_another_kind(run: Path) -> None:
    path = state_file(run, "_METADATA")
    path.write_text(path.read_text().replace("jax.Array", "__main__.Harm"))
    resigned(run)


CHECKPOINTS = {
    a_path_in_the_manifest: r"none of the 1 checkpoints is whole",
    an_absolute_path: "none of the 1 checkpoints is whole",
    a_link_to_a_file: "none of the 1 checkpoints is whole",
    a_link_to_a_folder: "none of the 1 checkpoints is whole",
    a_pipe: "none of the 1 checkpoints is whole",
    a_pipe_as_manifest: "none of the 1 checkpoints is whole",
    a_device_as_manifest: "none of the 1 checkpoints is whole",
    a_deep_manifest: "none of the 1 checkpoints is whole",
    a_long_manifest: "none of the 1 checkpoints is whole",
    a_manifest_of_lists: "none of the 1 checkpoints is whole",
    another_version: "none of the 1 checkpoints is whole",
    a_huge_array: "another net|cannot be read",
    an_array_that_inflates: "cannot be read",
    objects_in_an_array: "cannot be read",
    a_pickle_as_metadata: "cannot be read",
    pickles_for_arrays: "cannot be read",
    a_pickle_of_an_old_kind_of_checkpoint: "cannot be read",
    deep_metadata: "cannot be read",
    metadata_of_nothing: "cannot be read|another net",
    keys_that_are_paths: "cannot be read|another net",
    values_of_another_kind: "cannot be read",
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Orbax leaves its futures unread
@pytest.mark.parametrize("attack", CHECKPOINTS, ids=lambda attack: attack.__name__)
def test_a_checkpoint(theirs: Path, attack: Callable[[Path], None], monkeypatch) -> None:
    attack(theirs)
    monkeypatch.syspath_prepend(str(theirs.parent))
    with refused(CHECKPOINTS[attack], theirs.parent):
        loading.load(theirs)


def test_a_pickle_beside_the_arrays_is_never_looked_at(theirs: Path, monkeypatch) -> None:
    for name in ("state.pkl", "arrays.npy", "ocdbt.process_0/state.pkl"):
        state_file(theirs, name).write_bytes(pickle.dumps(Harm()))
    resigned(theirs)
    monkeypatch.syspath_prepend(str(theirs.parent))
    assert loading.load(theirs)[3].step == int(STEP)
    assert "harm" not in sys.modules


def config(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """config.json with something else in it; what has no hash is believed to be of format 1."""
    said = json.loads((run / "config.json").read_text())
    del said["sha256"]
    change(said)
    (run / "config.json").write_text(json.dumps(said))


def model(**fields: Any) -> Callable[[Path], None]:
    return lambda run: config(run, lambda said: said["config"]["model"].update(fields))


def facts(**fields: Any) -> Callable[[Path], None]:
    return lambda run: config(run, lambda said: said["facts"].update(fields))


def text(words: str) -> Callable[[Path], None]:
    return lambda run: (run / "config.json").write_text(words) and None


def a_pipe_as_config(run: Path) -> None:
    (run / "config.json").unlink()
    os.mkfifo(run / "config.json")


def a_long_config(run: Path) -> None:
    with (run / "config.json").open("wb") as file:
        file.truncate(10**12)


CONFIGS = {
    "code": (model(net="__import__('harm')"), "unknown '__import__'"),
    "attribute": (model(net="MLP.__init__.__globals__"), "cannot read"),
    "another": (model(net="lora(rank=2)"), "model.net"),
    "deep": (model(net="(" * 10_000 + ")" * 10_000), "cannot read"),
    "long": (model(net="MLP(" + "width=8," * 10**6 + ")"), "cannot read|twice"),
    "wide": (model(net="MLP(width=10**12)"), "model.net"),
    "wide, spelt out": (model(net="MLP(width=1000000000000)"), "at most"),
    "adapters": (model(adapters="lora(rank=10000000000)"), "rank"),
    "adapters of a kind": (model(adapters=["lora"]), "no run can be"),
    "nan": (model(data_std=float("nan")), "no run can be"),
    "number": (model(net=3), "no run can be"),
    "pixels": (facts(shape=[10**9, 10**9, 3]), "no run can be"),
    "levels": (facts(levels=2**40), "no run can be"),
    "names": (facts(class_names=["../../harm", "a"], classes=3), "no run can be"),
    "fields": (facts(harm=1), "cannot be read"),
    "list": (text("[]"), "cannot be read"),
    "nested": (text("[" * 100_000), "cannot be read"),
    "nothing": (text(""), "cannot be read"),
    "pipe": (a_pipe_as_config, "cannot be read"),
    "endless": (a_long_config, "larger than"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config(theirs: Path, name: str, monkeypatch) -> None:
    attack, message = CONFIGS[name]
    attack(theirs)
    monkeypatch.syspath_prepend(str(theirs.parent))
    with refused(message, theirs.parent):
        loading.load(theirs)
