"""What `fit` returned, saved and loaded: bit for bit, by the net that was trained and by no other."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffjax as dj
from diffjax.nets import lora
from diffjax.training import safetensors_io
from diffjax.utils.tree_paths import leaves_by_name

ROOT = Path(__file__).parents[2]
NOISE = dj.Gaussian(dj.schedule.cosine, dj.predict.v)
NET = dj.nets.MLP(width=8, depth=1, classes=2)
X, LABELS = np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32), np.arange(16) % 2
ONE = jnp.zeros((1, 2))
SAMPLED = """
import sys
import jax, jax.numpy as jnp, numpy as np
import diffjax as dj

noise, net = dj.Gaussian(dj.schedule.cosine, dj.predict.v), dj.nets.MLP(width=8, depth=1, classes=2)
variables = dj.load_variables(sys.argv[1], net, jnp.zeros((1, 2)))
denoise = dj.denoiser(noise, net, variables)
x = dj.sample(dj.keys(0, 8), noise, dj.order.together, denoise, shape=(2,), cond=jnp.arange(8) % 2, steps=3)
np.save(sys.argv[2], x)
"""


def fitted(net: Any = NET, steps: int = 3, ema=(0.5, 0.9)):
    loss = dj.loss.regression(NOISE, dj.order.together)
    return dj.fit(jax.random.key(0), net, loss, [{"x": X, "cond": LABELS}], steps, ema=ema)


@pytest.fixture(scope="module")
def state():
    """Three steps on all eight devices."""
    made = fitted()
    assert len(jax.tree.leaves(made.params)[0].sharding.device_set) == 8
    return made


@pytest.fixture
def path(state, tmp_path) -> Path:
    dj.save(state, tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def same(one, other) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_weights_come_back_bit_for_bit(state, path) -> None:
    same(dj.load_variables(path, NET, ONE), state.ema)
    same(dj.load_variables(str(path), NET, X, LABELS), state.ema)
    same(dj.load_variables(path, NET, jax.ShapeDtypeStruct((1, 2), jnp.float32)), state.ema)


def test_weights_that_are_cut_over_devices_are_saved_whole(state, tmp_path) -> None:
    over = jax.NamedSharding(jax.make_mesh((8,), ("d",)), jax.P("d"))
    cut = jax.tree.map(lambda leaf: jax.device_put(np.asarray(leaf), over) if len(leaf) == 8 else leaf, state.emas)
    assert any(not leaf.is_fully_replicated for leaf in jax.tree.leaves(cut))
    dj.save(replace(state, emas=cut), tmp_path / "net.safetensors")
    same(dj.load_variables(tmp_path / "net.safetensors", NET, ONE), state.ema)


def test_a_new_process_draws_the_same_samples(state, path, tmp_path) -> None:
    command = [sys.executable, "-c", SAMPLED, str(path), str(tmp_path / "x.npy")]
    subprocess.run(command, cwd=ROOT, check=True)
    denoise = dj.denoiser(NOISE, NET, state.ema)
    cond = jnp.arange(8) % 2
    x = dj.sample(dj.keys(0, 8), NOISE, dj.order.together, denoise, shape=(2,), cond=cond, steps=3)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), x)


@pytest.mark.parametrize("name", [0.5, "0.5"])
def test_any_average_can_be_saved(state, tmp_path, name) -> None:
    dj.save(state, tmp_path / "half.safetensors", ema=name)
    same(dj.load_variables(tmp_path / "half.safetensors", NET, ONE), {"params": state.emas["0.5"]})
    assert safetensors_io.read(tmp_path / "half.safetensors")[1]["step"] == 3


def test_missing_folders_are_made_and_an_older_file_is_replaced(state, tmp_path) -> None:
    path = tmp_path / "new" / "folder" / "net.safetensors"
    for name in ("0.5", "0.9"):
        dj.save(state, path, ema=name)
    same(dj.load_variables(path, NET, ONE), {"params": state.emas["0.9"]})
    assert [each.name for each in path.parent.iterdir()] == ["net.safetensors"]


def test_a_net_with_adapters_comes_back(tmp_path) -> None:
    net = lora(NET, rank=1)
    made = fitted(net, steps=1, ema=0.9)
    dj.save(made, tmp_path / "net.safetensors")
    same(dj.load_variables(tmp_path / "net.safetensors", net, ONE), made.ema)


@pytest.mark.parametrize(
    ("net", "x", "names"),
    [
        (NET.clone(width=16), ONE, ["Dense_0/kernel", "[2, 8]", "[2, 16]"]),
        (NET.clone(classes=3), ONE, ["Embed_0/embedding", "[3, 8]", "[4, 8]"]),
        (NET.clone(depth=2), ONE, ["missing in the file"]),
        (NET.clone(classes=0), ONE, ["Embed_0/embedding", "missing in the net"]),
        (NET, jnp.zeros((1, 3)), ["Dense_0/kernel", "[2, 8]", "[3, 8]"]),
    ],
)
def test_another_net_is_refused_by_its_parameters(path, net, x, names) -> None:
    with pytest.raises(dj.UserError) as mistake:
        dj.load_variables(path, net, x)
    told = str(mistake.value)
    assert told.startswith(f"{path}: ")
    assert all(name in told for name in names), told
    assert len(told) < 600


def test_another_dtype_is_refused(state, tmp_path) -> None:
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), state.ema["params"])
    safetensors_io.write(tmp_path / "half.safetensors", params, {"kind": "variables"})
    with pytest.raises(dj.UserError, match=r"float16 .* float32 "):
        dj.load_variables(tmp_path / "half.safetensors", NET, ONE)


def test_what_cannot_be_saved_writes_nothing(state, tmp_path, untyped) -> None:
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "file").write_text("")
    with jax.debug_nans(False):
        bias = jax.tree.map(lambda leaf: leaf * np.nan, state.emas["0.9"])
    broken = replace(state, emas={**state.emas, "0.9": bias})
    cases = [
        (state.ema, tmp_path / "a.safetensors", {}, ["state", "dj.fit"]),
        (state, tmp_path / "a.npz", {}, ["a.npz", ".safetensors"]),
        (state, tmp_path, {}, [".safetensors"]),
        (state, tmp_path / "folder.safetensors", {}, ["folder.safetensors"]),
        (state, tmp_path / "file" / "a.safetensors", {}, ["cannot write a.safetensors"]),
        (state, None, {}, ["path", "None"]),
        (state, tmp_path / "a.safetensors", {"ema": 0.7}, ["ema", "0.7", "0.5, 0.9"]),
        (state, tmp_path / "a.safetensors", {"ema": "newest"}, ["ema", "newest"]),
        (state, tmp_path / "a.safetensors", {"ema": (0.5,)}, ["ema", "0.5"]),
        (broken, tmp_path / "a.safetensors", {}, ["Dense_0/bias", "0.9", "not finite"]),
    ]
    for given, path, more, says in cases:
        with pytest.raises(dj.UserError) as mistake:
            dj.save(given, path, **more)
        assert all(each in str(mistake.value) for each in says), mistake.value
        assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder.safetensors"]


def test_what_cannot_be_loaded_says_what_to_do(state, path, tmp_path, untyped) -> None:
    with pytest.raises(dj.UserError, match=r"net\.safetensors: .*dj\.load_variables"):
        dj.load(path)
    cases = [
        (tmp_path, NET, ONE, ["folder", "dj.load"]),
        (tmp_path / "none.safetensors", NET, ONE, ["none.safetensors"]),
        (path, dj.nets.MLP, ONE, ["MLP(...)"]),
        (path, NET, (2,), ["x", "batch"]),
        (path, NET, jnp.zeros(()), ["x", "batch"]),
        (3, NET, ONE, ["path", "3"]),
    ]
    for given, net, x, says in cases:
        with pytest.raises(dj.UserError) as mistake:
            dj.load_variables(given, net, x)
        assert all(each in str(mistake.value) for each in says), mistake.value
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(dj.UserError, match=r"net\.safetensors: "):
        dj.load_variables(path, NET, ONE)


def test_an_exported_file_gives_its_variables_too(state, path, tmp_path) -> None:
    """What the header says beside the weights does not matter."""
    safetensors_io.write(tmp_path / "exported.safetensors", state.ema["params"], {"config": {}, "step": 3})
    assert (
        leaves_by_name(dj.load_variables(tmp_path / "exported.safetensors", NET, ONE)).keys()
        == leaves_by_name(state.ema).keys()
    )
