"""Runs of format 1, of each kind, written before their parts were renamed: they load, and answer as they did then.

Each archive is a run folder after thirty steps, and answer.npz: an input, and the prediction for the null condition by
the version that wrote the run.
"""

import json
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffjax as dj
from diffjax.errors import UserError
from diffjax.experiment import old_names, run_record

OLD = Path(__file__).parent / "training" / "old"
KINDS = ("unet", "dit", "masked", "head", "text")
IMPORTS = ("text",)  # its config names the example's modules


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with zipfile.ZipFile(OLD / f"{request.param}.zip") as archive:
        archive.extractall(tmp_path)
    return tmp_path


@pytest.mark.parametrize("run", KINDS, indirect=True)
def test_an_old_run_answers_as_it_did(run: Path) -> None:
    asked = np.load(run / "answer.npz")
    denoise, *_, info = dj.load(run, allow_imports=True)
    cond = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(asked["x"])), info.net.null_cond)
    answer = denoise(jnp.asarray(asked["x"]), jnp.asarray(asked["t"]), cond)
    np.testing.assert_allclose(answer, asked["answer"], rtol=1e-4, atol=1e-5 * np.abs(asked["answer"]).max())


@pytest.mark.parametrize("run", KINDS, indirect=True)
def test_what_is_written_of_an_old_run_is_of_today_and_means_the_same(run: Path) -> None:
    before = run_record.read_record(run, allow_imports=True)
    run_record.write_config(run, before)
    after = run_record.read_record(run, allow_imports=True)
    assert after == before
    assert json.loads((run / "config.json").read_text())["format"] == 2
    stated = json.loads((run / "checkpoints" / "00000030" / "manifest.json").read_text())["meaning"]
    assert after.identity.meaning == stated


@pytest.mark.parametrize("run", IMPORTS, indirect=True)
def test_an_old_run_imports_nothing_without_leave(run: Path) -> None:
    with pytest.raises(UserError, match="allow_imports"):
        dj.load(run)


@pytest.mark.parametrize("run", ["dit"], indirect=True)
def test_a_transformer_of_before_has_no_gates(run: Path) -> None:
    net = run_record.read_record(run).config.model.net
    assert net == "DiT(patch=4, width=8, depth=1, heads=2, adaln_zero=False)"


@pytest.mark.parametrize("run", ["unet"], indirect=True)
def test_a_run_of_a_later_version_is_refused(run: Path) -> None:
    path = run / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 3}))
    with pytest.raises(UserError, match=r"config\.json: format 3"):
        dj.load(run)


@pytest.mark.parametrize(
    ("before", "today"),
    [
        ("DiT", "DiT(adaln_zero=False)"),
        ("DiT()", "DiT(adaln_zero=False)"),
        ("DiT(patch=1,)", "DiT(patch=1, adaln_zero=False)"),
        ("UNet(width=8)", "UNet(width=8)"),
        ("examples.nets:DiT(1)", "examples.nets:DiT(1)"),
    ],
)
def test_the_nets_of_format_1(before: str, today: str) -> None:
    document = {"data": {"name": "digits"}, "model": {"net": before}}
    assert old_names.to_current(document, written=1)["model"]["net"] == today
    assert old_names.to_current(document, written=2)["model"]["net"] == before
