"""Every path that the system takes is one that checkpoints are written to and read from."""

import io
import os
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffjax import errors
from diffjax.nets import MLP
from diffjax.reports import html
from diffjax.training import checkpoint
from diffjax.training.checkpoint import Saver
from diffjax.training.checkpoint_validation import plain_path
from diffjax.training.retention import RetentionPolicy
from diffjax.training.state import State, create

NOT_UTF8 = os.fsdecode(b"\xff\xfe")
NAMES = {
    "plain": "run",
    "spaces": " a run ",
    "pattern": "[run]",
    "range": "[a-z]*",
    "star": "a*b?",
    "braces": "{a,b}",
    "percent": "a%20b 100%",
    "url": "file:a#b?c",
    "backslash": "a\\b",
    "quotes": "'\"$HOME`",
    "line": "a\nb\tc",
    "accents": "é\u2028",
    "bytes": NOT_UTF8,
    "upwards": "elsewhere/../run",
}


@pytest.fixture(scope="module")
def fresh() -> State:
    return create(jax.random.key(0), MLP(width=2, depth=1), optax.sgd(1e-3), (0.9,), jnp.zeros((1, 2)), None)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_what_is_saved_under_any_name_is_read_back(tmp_path, fresh: State, name: str) -> None:
    folder = Path(f"{tmp_path}/{name}/checkpoints")
    saver = Saver(folder, RetentionPolicy(last=1))
    for step in (1, 2):
        saver.save(step, fresh, {"loss": 1.0})
    saver.close()
    restored = checkpoint.restore(folder, fresh)
    assert restored is not None
    for one, other in zip(jax.tree.leaves(restored.params), jax.tree.leaves(fresh.params), strict=True):
        np.testing.assert_array_equal(one, other)
    assert checkpoint.read(folder, None, tuple)[0] == 2
    assert [path.name for path in folder.iterdir()] == ["00000002"]


def test_a_pattern_finds_no_other_folder(tmp_path, fresh: State) -> None:
    """`a*` also fits `ab`, whose checkpoint of the same step has other numbers."""
    other = jax.tree.map(lambda leaf: leaf + 1, fresh.params)
    for name, params in (("a*", fresh.params), ("ab", other), ("a[b]", fresh.params)):
        saver = Saver(tmp_path / name, RetentionPolicy())
        saver.save(1, fresh.replace(params=params), {})
        saver.close()
    for name, params in (("a*", fresh.params), ("ab", other), ("a[b]", fresh.params)):
        restored = checkpoint.restore(tmp_path / name, fresh)
        assert restored is not None
        jax.tree.map(np.testing.assert_array_equal, restored.params, params)


def test_a_link_stands_for_a_folder_only_while_it_is_used(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "[run]").mkdir()
    with plain_path(tmp_path / "[run]") as path:
        assert path.samefile(tmp_path / "[run]")
        assert "[" not in str(path)
    assert [left.name for left in tmp_path.iterdir()] == ["[run]"]


def test_what_needs_no_link_has_none(tmp_path) -> None:
    (tmp_path / "a run").mkdir()
    with plain_path(Path(f"{tmp_path}/a run/../a run")) as path:
        assert path == tmp_path.resolve() / "a run"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_a_warning_of_any_path_is_one_line_on_any_stream(monkeypatch, encoding: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    monkeypatch.setattr(sys, "stderr", stream)
    errors.warn(f"checkpoint {NOT_UTF8}\nβ is not taken")
    assert stream.buffer.getvalue().count(b"\n") == 1  # pyright: ignore[reportAttributeAccessIssue]
    assert b"\\udcff\\udcfe" in stream.buffer.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_a_script_prints_any_path(monkeypatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    errors.escape_unencodable()
    print(NOT_UTF8, flush=True)
    assert stream.buffer.getvalue() == b"\\udcff\\udcfe\n"  # pyright: ignore[reportAttributeAccessIssue]


def test_a_report_of_any_run_is_written(tmp_path) -> None:
    html.write_page(tmp_path / NOT_UTF8, f"Evaluation of {NOT_UTF8}")
    assert b"\\udcff" in (tmp_path / NOT_UTF8).read_bytes()
