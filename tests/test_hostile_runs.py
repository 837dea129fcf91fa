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
import orbax.checkpoint as ocp
import pytest
import tensorstore
from strangers import refused

from diffjax.commands.command_line import quiet_libraries
from diffjax.data.split_rules import SplitRecord
from diffjax.experiment import data_spec, run_record, trained_model
from diffjax.experiment.config import Config, Model, Sample
from diffjax.experiment.run_record import Record
from diffjax.nets import MLP
from diffjax.training import checkpoint, checkpoint_validation, manifest, retention
from diffjax.training.checkpoint import Saver
from diffjax.training.retention import RetentionPolicy
from diffjax.training.state import State, create
from diffjax.utils.files import is_single_line

FACTS = data_spec.DataSpec((4, 4, 1), 2, ("even", "odd"), 17, (0.5, 0.5), "unit")
CONFIG = Config(model=Model(net="MLP(width=8, depth=1)", data_std=1.0), sample=Sample(steps=3))
RECORD = Record(CONFIG, FACTS, "0f" * 16, splits=SplitRecord("by_key", {"train": 3}, {"train": "ab" * 32}))
STEP = "00000010"


class Harm:
    """Unpickled, it imports a module of that name."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return __import__, ("harm",)


@pytest.fixture(scope="module")
def fresh() -> State:
    """What the run's config begins with."""
    net, x = MLP(width=8, depth=1, classes=2), jnp.zeros((1, 4, 4, 1))
    return create(jax.random.key(0), net, optax.adamw(1e-3), (0.9,), x, jnp.zeros(1, jnp.int32))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, fresh: State) -> Path:
    """A run, read once, so that what comes after is not slow for the first time."""
    folder = tmp_path_factory.mktemp("run")
    saver = Saver(folder / "checkpoints", RetentionPolicy(), RECORD.identity.about)
    saver.save(int(STEP), fresh, {"loss": 1.0})
    saver.close()
    run_record.write_config(folder, RECORD)
    assert trained_model.load(folder).info.step == int(STEP)
    assert checkpoint.restore(folder / "checkpoints", fresh) is not None
    return folder


@pytest.fixture(scope="module", autouse=True)
def quiet() -> None:
    """As in the scripts: Orbax reads arrays at once; where one is wrong, the others find its event loop closed."""
    quiet_libraries()


@pytest.fixture
def theirs(sound: Path, tmp_path: Path) -> Path:
    (tmp_path / "harm.py").write_text("")
    return shutil.copytree(sound, tmp_path / "run")


def resigned(run: Path) -> None:
    """The manifest again, with hashes that are right: a stranger can do that."""
    folder = run / "checkpoints" / STEP
    (folder / manifest.MANIFEST).unlink()
    manifest.write_manifest(folder, {"step": int(STEP), **RECORD.identity.about})


def told(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """The manifest with something else in it, and with its own hash right."""
    path = run / "checkpoints" / STEP / manifest.MANIFEST
    said = json.loads(path.read_text())
    del said["sha256"]
    change(said)
    path.write_text(json.dumps({**said, "sha256": manifest._manifest_hash(said)}))


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


def stored(run: Path) -> Any:
    """All that the arrays of a checkpoint are, by key: what they say of themselves, and their parts."""
    base = f"file://{run / 'checkpoints' / STEP / 'state'}/"
    return tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()


KERNEL = "emas.0.9.Dense_0.kernel"


def saying(**fields: Any) -> Callable[[Path], None]:
    """A kernel of the average says something else of itself."""

    def lie(run: Path) -> None:
        said = json.loads(stored(run).read(f"{KERNEL}/.zarray").result().value)
        stored(run).write(f"{KERNEL}/.zarray", json.dumps({**said, **fields}).encode()).result()
        resigned(run)

    return lie


def an_array_that_says_it_deeply(run: Path) -> None:
    stored(run).write(f"{KERNEL}/.zarray", b"[" * 10**5 + b"]" * 10**5).result()
    resigned(run)


def an_array_that_says_too_much(run: Path) -> None:
    said = stored(run).read(f"{KERNEL}/.zarray").result().value
    stored(run).write(f"{KERNEL}/.zarray", b" " * 10**7 + said).result()
    resigned(run)


def an_index_that_unpacks(run: Path) -> None:
    """Beside the arrays, in the same node, values of zeros: 200 MB of them in 10 kB, as 2 GB would be in 100 kB."""
    held = stored(run)
    items = {key: held.read(key).result().value for key in held.list().result()}
    state = run / "checkpoints" / STEP / "state"
    shutil.rmtree(state / "d")
    (state / "manifest.ocdbt").unlink()
    config = {"max_inline_value_bytes": 2**20, "max_decoded_node_bytes": 2**31}
    made = tensorstore.KvStore.open({"driver": "ocdbt", "base": f"file://{state}/", "config": config}).result()
    with tensorstore.Transaction() as together:
        for key, value in (items | {f"{KERNEL}/{i}".encode(): bytes(2**20) for i in range(200)}).items():
            made.with_transaction(together).write(key, value).result()
    resigned(run)


def named(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Other arrays are named."""

    def rename(run: Path) -> None:
        path = state_file(run, "_METADATA")
        said = json.loads(path.read_text())
        change(said["tree_metadata"])
        path.write_text(json.dumps(said))
        resigned(run)

    return rename


def leaf(*keys: str, kind: int = 2) -> dict[str, Any]:
    parts = [{"key": key, "key_type": kind} for key in keys]
    return {"key_metadata": parts, "value_metadata": {"value_type": "jax.Array", "write_shape": [8]}}


def a_huge_array(run: Path) -> None:
    array(run, KERNEL, [10**9, 10**5])
    resigned(run)


def an_array_that_inflates(run: Path) -> None:
    """A chunk of a few bytes that is a gigabyte of zeros."""
    array(run, "emas.0.9.Dense_0.bias", [8])
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
    stored(run).write("emas.0.9.Dense_0.bias/0", big.kvstore.read("0").result().value).result()
    resigned(run)


def a_pickle_as_metadata(run: Path) -> None:
    state_file(run, "_METADATA").write_bytes(pickle.dumps(Harm()))
    resigned(run)


def pickles_for_arrays(run: Path) -> None:
    for path in state_file(run, "d").iterdir():
        path.write_bytes(pickle.dumps(Harm()))
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


def a_pipe_beside_the_arrays(run: Path) -> None:
    os.mkfifo(state_file(run, "d") / "pipe")
    path = run / "checkpoints" / STEP / manifest.MANIFEST
    said = json.loads(path.read_text())["files"]["state/_METADATA"]
    told(run, lambda all: all["files"].update({"state/d/pipe": said}))


def a_link_to_a_step(run: Path) -> None:
    (run / "checkpoints" / STEP).rename(run.parent / "elsewhere")
    (run / "checkpoints" / STEP).symlink_to(run.parent / "elsewhere")


def a_file_whose_name_steers_a_terminal(run: Path) -> None:
    (run / "checkpoints" / STEP / "a\nb\x1b[2J").write_text("")


NOT_WHOLE, NOT_READ = r"/checkpoints: .*\b1\b", f"/{STEP}: "  # by what is named: the folder, or the checkpoint in it
NOT_THE_CONFIG = rf"config\.json|{STEP}"
CHECKPOINTS = {  # what is done to a checkpoint, and what is said of it
    "a path in the manifest": (a_path_in_the_manifest, NOT_WHOLE),
    "an absolute path": (an_absolute_path, NOT_WHOLE),
    "a link to a file": (a_link_to_a_file, NOT_WHOLE),
    "a link to a folder": (a_link_to_a_folder, NOT_WHOLE),
    "a link to a step": (a_link_to_a_step, "/checkpoints: "),
    "a pipe": (a_pipe, NOT_WHOLE),
    "a pipe beside the arrays": (a_pipe_beside_the_arrays, NOT_WHOLE),
    "a pipe as manifest": (a_pipe_as_manifest, NOT_WHOLE),
    "a device as manifest": (a_device_as_manifest, NOT_WHOLE),
    "a deep manifest": (a_deep_manifest, NOT_WHOLE),
    "a long manifest": (a_long_manifest, NOT_WHOLE),
    "a manifest of lists": (a_manifest_of_lists, NOT_WHOLE),
    "a manifest of another step": (lambda run: told(run, lambda said: said.update(step=11)), NOT_WHOLE),
    "a step that is a book": (lambda run: told(run, lambda said: said.update(step="\x1b[2J" * 10**5)), NOT_WHOLE),
    "a file that is a book": (lambda run: told(run, lambda said: said["files"].update({"\n" * 10**6: 1})), NOT_WHOLE),
    "a file whose name steers a terminal": (a_file_whose_name_steers_a_terminal, NOT_WHOLE),
    "another version": (another_version, NOT_WHOLE),
    "another run": (lambda run: told(run, lambda said: said.update(run="1e" * 16)), NOT_READ),
    "a run that is a book": (lambda run: told(run, lambda said: said.update(run=["\x1b[2J"] * 10**5)), NOT_READ),
    "a run without an identity": (lambda run: told(run, lambda said: said.pop("run")), NOT_READ),
    "another meaning": (lambda run: told(run, lambda said: said.update(meaning="1e" * 32)), "meaning"),
    "a meaning that is a list": (lambda run: told(run, lambda said: said.update(meaning=[3] * 10**5)), "meaning"),
    "a version without end": (lambda run: told(run, lambda said: said.update(format=[3] * 10**5)), NOT_WHOLE),
    "a huge array": (a_huge_array, NOT_THE_CONFIG),
    "a huge array of small parts": (saying(shape=[10**9, 10**9]), NOT_THE_CONFIG),
    "a part larger than its array": (saying(chunks=[10**5, 10**5]), NOT_READ),
    "an array of many parts": (saying(chunks=[1, 1]), NOT_READ),
    "an array of less than nothing": (saying(shape=[-16, 8]), NOT_READ),
    "an array of ninety axes": (saying(shape=[1] * 90, chunks=[1] * 90), NOT_THE_CONFIG),
    "an array of no shape": (saying(shape=3), NOT_READ),
    "an array of objects": (saying(dtype="|O", filters=[{"id": "pickle"}]), NOT_READ),
    "an array of records": (saying(dtype="|V1000000000"), NOT_READ),
    "an array of unknown code": (saying(compressor={"id": "harm"}), NOT_READ),
    "an array that says it deeply": (an_array_that_says_it_deeply, NOT_READ),
    "an array that says too much": (an_array_that_says_too_much, NOT_READ),
    "an array that inflates": (an_array_that_inflates, NOT_READ),
    "an index that unpacks": (an_index_that_unpacks, NOT_READ),
    "arrays without end": (
        named(lambda tree: tree.update((f"{i}", leaf("emas", "0.9", f"{i}")) for i in range(10**5))),
        NOT_READ,
    ),
    "arrays that are not there": (
        named(lambda tree: tree.update((f"{i}", leaf("emas", "0.9", f"{i}")) for i in range(10**4))),
        NOT_READ,
    ),
    "a list of a billion": (named(lambda tree: tree.update(x=leaf("emas", "0.9", "1000000000", kind=1))), NOT_READ),
    "a tree of a thousand floors": (named(lambda tree: tree.update(x=leaf("emas", *["x"] * 1000))), NOT_READ),
    "an array that is a folder": (named(lambda tree: tree.update(x=leaf("emas", "0.9", "Dense_0"))), NOT_READ),
    "no averages": (named(lambda tree: tree.clear()), NOT_READ),
    "a pickle as metadata": (a_pickle_as_metadata, NOT_READ),
    "pickles for arrays": (pickles_for_arrays, NOT_READ),
    "deep metadata": (deep_metadata, NOT_READ),
    "metadata of nothing": (metadata_of_nothing, NOT_READ),
    "keys that are paths": (keys_that_are_paths, NOT_READ),
    "values of another kind": (values_of_another_kind, NOT_READ),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint(theirs: Path, fresh: State, name: str, monkeypatch, capfd) -> None:
    """To be read, and to be gone on from; what is passed over is told in a line, too."""
    attack, message = CHECKPOINTS[name]
    attack(theirs)
    monkeypatch.syspath_prepend(str(theirs.parent))
    with refused(message, theirs.parent):
        trained_model.load(theirs)
    if name == "a link to a step":
        assert checkpoint.restore(theirs / "checkpoints", fresh, RECORD.identity) is None
    else:
        with refused(message, theirs.parent):
            checkpoint.restore(theirs / "checkpoints", fresh, RECORD.identity)
    told = capfd.readouterr().err
    assert is_single_line(told.replace("\n", ""))
    assert len(told) < 1500
    assert len(told.splitlines()) == 2 * (message == NOT_WHOLE)


def test_a_step_asked_for_by_number_is_no_link_either(theirs: Path) -> None:
    a_link_to_a_step(theirs)
    with refused("a link", theirs.parent):
        trained_model.load(theirs, step=int(STEP))


@pytest.mark.parametrize("metrics", [3, [], {"loss": float("nan")}, {"loss": "x"}, {"loss": [1.0]}])
def test_the_best_of_metrics_that_are_none(theirs: Path, metrics: Any) -> None:
    told(theirs, lambda said: said.update(metrics=metrics))
    config(theirs, lambda said: said["config"]["train"].update(keep_best="loss"))
    with refused("checkpoints: .*loss", theirs.parent):
        trained_model.load(theirs, step="best")


def test_what_lies_beside_the_arrays_is_never_looked_at(theirs: Path, fresh: State, monkeypatch) -> None:
    for name in ("checkpoint", "state.pkl", "arrays.npy", "ocdbt.process_0/state.pkl"):
        state_file(theirs, name).write_bytes(pickle.dumps(Harm()))
    resigned(theirs)
    monkeypatch.syspath_prepend(str(theirs.parent))
    assert trained_model.load(theirs).info.step == int(STEP)
    assert checkpoint.restore(theirs / "checkpoints", fresh, RECORD.identity) is not None
    assert "harm" not in sys.modules


@pytest.mark.parametrize("name", ["_METADATA", "_sharding", "array_metadatas/process_0"])
@pytest.mark.parametrize("text", ["[" * 10**5, "[" * 10**5 + "]" * 10**5, "{" * 10**5, '{"a":' * 300 + "1" + "}" * 300])
def test_what_orbax_says_of_arrays_is_not_parsed_where_it_is_nested_too_deeply(theirs: Path, name, text) -> None:
    state_file(theirs, name).write_text(text)
    resigned(theirs)
    with refused(f"{Path(name).name}", theirs.parent):
        trained_model.load(theirs)


def test_nothing_is_cleared_away_through_a_link(theirs: Path) -> None:
    outside = theirs.parent / "outside"
    (outside / "kept").mkdir(parents=True)
    for name in (".00000011.deleted", ".00000012.partial"):
        (theirs / "checkpoints" / name).symlink_to(outside)
    retention.clean_up_partial(theirs / "checkpoints")
    assert (outside / "kept").is_dir()


def test_the_index_of_many_arrays_is_far_from_what_is_refused(tmp_path: Path) -> None:
    """A thousand arrays: their index takes at most an eighth of what may be unpacked."""
    tree = {"emas": {"0.9": {f"Block_{i}": {"Dense_0": {"kernel": np.zeros(8, np.float32)}} for i in range(1000)}}}
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as writer:
        writer.save(tmp_path / "state", args=ocp.args.PyTreeSave(tree))
    found = jax.tree.leaves(checkpoint_validation.array_specs(tmp_path / "state"))
    assert len(found) == 1000
    assert {(leaf.shape, leaf.dtype) for leaf in found} == {((8,), np.dtype(np.float32))}
    blocks = [
        block for file in tmp_path.rglob("*") if file.is_file() for block in checkpoint_validation._block_starts(file)
    ]
    assert 0 < len(blocks) <= checkpoint_validation._MAX_BLOCKS // 8


def config(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """config.json with something else in it; one without a hash is of an early version."""
    said = json.loads((run / "config.json").read_text())
    del said["sha256"]
    change(said)
    (run / "config.json").write_text(json.dumps(said))


def section(name: str, **fields: Any) -> Callable[[Path], None]:
    return lambda run: config(run, lambda said: said["config"][name].update(fields))


def model(**fields: Any) -> Callable[[Path], None]:
    return section("model", **fields)


def facts(**fields: Any) -> Callable[[Path], None]:
    return lambda run: config(run, lambda said: said["facts"].update(fields))


def splits(**fields: Any) -> Callable[[Path], None]:
    return lambda run: config(run, lambda said: said["splits"].update(fields))


def text(words: str) -> Callable[[Path], None]:
    return lambda run: (run / "config.json").write_text(words) and None


def a_pipe_as_config(run: Path) -> None:
    (run / "config.json").unlink()
    os.mkfifo(run / "config.json")


def a_long_config(run: Path) -> None:
    with (run / "config.json").open("wb") as file:
        file.truncate(10**12)


BY_FILE = r"config\.json: "
CONFIGS = {
    "an import": (model(net="harm:Net()"), "model.net .*--allow_imports"),
    "an import within": (model(schedule="shift(harm:flow, 3.0)"), "model.schedule .*--allow_imports"),
    "an import of a form": (facts(form="harm:form"), "data.form .*--allow_imports"),
    "an import of a rule": (splits(rule="harm:rule"), "splits.rule"),
    "imports of no modules": (lambda run: config(run, lambda said: said.update(imports=[[]])), BY_FILE),
    "code": (model(net="__import__('harm')"), "'__import__'"),
    "attribute": (model(net="MLP.__init__.__globals__"), "model.net"),
    "another": (model(net="lora(rank=2)"), "model.net"),
    "deep": (model(net="(" * 10_000 + ")" * 10_000), "model.net"),
    "long": (model(net="MLP(" + "width=8," * 10**6 + ")"), "model.net"),
    "wide": (model(net="MLP(width=10**12)"), "model.net"),
    "wide, spelt out": (model(net="MLP(width=1000000000000)"), "width"),
    "adapters": (model(adapters="lora(rank=10000000000)"), "rank"),
    "adapters of a kind": (model(adapters=["lora"]), "config.model.adapters"),
    "nan": (model(data_std=float("nan")), "config.model.data_std"),
    "number": (model(net=3), "config.model.net"),
    "a number beyond floats": (model(data_std=10**400), "config.model.data_std"),
    "infinity": (model(data_std=float("inf")), "config.model.data_std"),
    "no data_std": (model(data_std=None), BY_FILE),
    "no sampler": (lambda run: config(run, lambda said: said["config"].update(sample={})), BY_FILE),
    "no number of steps": (
        lambda run: config(run, lambda said: said["config"]["sample"].update(steps="3")),
        "config.sample.steps",
    ),
    "no name of data": (
        lambda run: config(run, lambda said: said["config"]["data"].update(name=["x"])),
        "config.data.name",
    ),
    "a metric that is a list": (section("train", keep_best=[]), "config.train.keep_best"),
    "no net": (lambda run: config(run, lambda said: said["config"]["model"].pop("net")), BY_FILE),
    "no facts": (lambda run: config(run, lambda said: said.pop("facts")), BY_FILE),
    "shares below none": (facts(label_frequencies=[2.0, -1.0]), BY_FILE),
    "shares of nothing": (facts(label_frequencies=[0.0, 0.0]), BY_FILE),
    "shares that are no numbers": (facts(label_frequencies=[float("nan"), 1.0]), BY_FILE),
    "a class that steers a terminal": (facts(class_names=["a\x1b[2J", "b"]), BY_FILE),
    "a class of two lines": (facts(class_names=["a\nb", "b"]), BY_FILE),
    "a class that is a book": (facts(class_names=["a" * 10**6, "b"]), BY_FILE),
    "pixels": (facts(shape=[10**9, 10**9, 3]), BY_FILE),
    "levels": (facts(levels=2**40), BY_FILE),
    "names": (facts(class_names=["../../harm", "a"], classes=3), BY_FILE),
    "fields": (facts(harm=1), BY_FILE),
    "an identity that is a list": (lambda run: config(run, lambda said: said.update(run=[1])), BY_FILE),
    "checkpoints adopted without end": (lambda run: config(run, lambda said: said.update(adoptions=[[]])), BY_FILE),
    "an adoption of no step": (lambda run: config(run, lambda said: said.update(adoptions={"9" * 9999: ""})), BY_FILE),
    "a rule that is code": (splits(rule="__import__('harm')"), "splits.rule"),
    "a rule of another module": (splits(rule="Rule"), "splits.rule"),
    "a rule that is a list": (splits(rule=[1]), BY_FILE),
    "pictures below none": (splits(counts={"train": -1}), BY_FILE),
    "a split that steers a terminal": (splits(counts={"\x1b[2J": 1}), BY_FILE),
    "a fingerprint that is a number": (splits(fingerprints={"train": 3}), BY_FILE),
    "list": (text("[]"), BY_FILE),
    "nested": (text("[" * 100_000), BY_FILE),
    "nothing": (text(""), BY_FILE),
    "pipe": (a_pipe_as_config, BY_FILE),
    "endless": (a_long_config, BY_FILE),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config(theirs: Path, name: str, monkeypatch) -> None:
    attack, message = CONFIGS[name]
    attack(theirs)
    monkeypatch.syspath_prepend(str(theirs.parent))
    with refused(message, theirs.parent):
        trained_model.load(theirs)


def test_classes_that_look_like_paths_are_names_and_nothing_else(theirs: Path) -> None:
    facts(class_names=["../../x", "$(touch harm)"])(theirs)
    meant = run_record.read_record(theirs).identity.meaning
    told(theirs, lambda said: said.update(meaning=meant))
    before = set(theirs.parent.rglob("*"))
    assert trained_model.load(theirs).info.data.class_names == ("../../x", "$(touch harm)")
    assert set(theirs.parent.rglob("*")) == before


def test_a_rule_is_never_imported_even_with_leave(theirs: Path, monkeypatch) -> None:
    """Who resumes a run by a config of their own trusts that config, and not the folder's record."""
    splits(rule="harm:rule")(theirs)
    monkeypatch.syspath_prepend(str(theirs.parent))
    with refused("splits.rule", theirs.parent):
        run_record.read_record(theirs, allow_imports=True)
