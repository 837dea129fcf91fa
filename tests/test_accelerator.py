"""benchmarks/accelerator.py on a CPU: a case gives its figures, a table has its rows, and a failure ends nothing."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quickly

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import accelerator
from accelerated.cases import Row, cases
from accelerated.models import CUDNN, FULL, TINY, XL, examples, train_program
from report import format_page

from diffjax.nets import dot_product
from diffjax.profiling.flops import count_flops

CASES = dict.fromkeys(case for names, _ in accelerator.PARTS.values() for case in names)
TITLES = {case: title for title, (names, _) in accelerator.PARTS.items() for case in names}


@pytest.mark.usefixtures("untyped")  # JAX makes states of other things than arrays where it lowers
@pytest.mark.parametrize(
    "name",
    quickly.few(CASES, "device", "DiT-XL/2", "transformer", "decoding", "sampling", "convolutions", "operations"),
)
def test_a_case_gives_every_figure_of_its_table_but_those_of_others(name: str) -> None:
    columns = {*accelerator.PARTS[TITLES[name]][1]} - {"of peak", *accelerator.TWIN}
    rows = list(cases(TINY)[name]())
    assert rows
    for row in rows:
        figures = [row[column] for column in columns]
        assert np.isfinite(figures).all()
        assert min(figures) > 0
        assert name == row["case"] or name not in FULL.models


def test_the_cases_are_those_of_the_tables() -> None:
    assert {*CASES} == {*cases(TINY)} == {*cases(FULL)}


def fake(name: str, _: object = ()) -> Iterator[Row]:
    """Rows as of a process: one fails at once, and one after its first row."""
    if name == "decoding":
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
    columns = [column for column in accelerator.PARTS[TITLES[name]][1] if column not in accelerator.TWIN]
    yield {"case": name, "platform": "gpu", **dict.fromkeys(columns, 2.0)}
    if name == "U-Net":
        raise RuntimeError("the second row")
    yield {"case": f"{name} again", **dict.fromkeys(columns, 2.0)}


def test_a_failure_is_a_line_and_the_rest_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    run = accelerator.Run(fake, lambda name, ours: iter([{"ms": 3.0} for _ in ours[:1]]), {}, [])
    tables = {title: run.table(title) for title in accelerator.PARTS}
    assert [line.split(":")[0] for line in run.failures] == ["U-Net", "decoding"]
    assert capsys.readouterr().err.splitlines() == run.failures
    assert all(len(row) == len(table.columns) for table in tables.values() for row in table.rows)
    assert tables[TITLES["decoding"]].rows == [("decoding", *["not measured"] * 4)]
    assert [row[0] for row in tables[TITLES["U-Net"]].rows] == ["U-Net"]
    first, second = tables[TITLES["sampling"]].rows
    assert first[-2:] == ("3", "1.5")
    assert second[-2:] == ("not measured", "not measured")
    assert len(tables[TITLES["DiT-XL/2"]].rows) == 8
    assert "torch, DiT-XL/2" in run.measured
    assert "torch, DiT-XL/2, attention_kernel='cudnn'" not in run.measured
    assert "| U-Net | 2 |" in format_page("accelerator", list(tables.values()))


def test_a_process_gives_its_rows_and_its_error() -> None:
    soon = time.monotonic() + 60
    rows = accelerator.child(soon, sys.executable, "-c", "print('{\"ms\": 1.0}'); raise ValueError('no memory')")
    assert next(rows) == {"ms": 1.0}
    with pytest.raises(RuntimeError, match="no memory"):
        next(rows)
    with pytest.raises(TimeoutError, match="--minutes"):
        next(accelerator.child(time.monotonic() - 1, sys.executable, "-c", ""))


def test_the_parent_leaves_the_device_to_its_children() -> None:
    lines = ("import sys", "sys.path.insert(0, 'benchmarks')", "import accelerator, jax")
    code = "; ".join((*lines, "print(jax._src.xla_bridge.backends_are_initialized())"))
    folder = Path(__file__).parents[1]
    out = subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "False"


def test_model_flops_are_the_published_ones() -> None:
    """118.64 billion products of numbers for an image (Peebles & Xie 2023, table 4)."""
    x, level, label = jnp.zeros((1, 32, 32, 4)), jnp.zeros((1, 1, 1, 1)), jnp.zeros(1, int)
    variables = jax.eval_shape(XL.init, jax.random.key(0), x, level, label)
    assert count_flops(XL.apply, variables, x, level, label).total() / 2 == pytest.approx(118.64e9, rel=1e-3)


DROPOUT = {"cuda": 0.1, "tpu": 0.2}  # of nets whose blocks no other test has traced, on another platform


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("platform", DROPOUT)
@pytest.mark.parametrize("name", quickly.few(TINY.models, "DiT-XL/2", CUDNN, "U-Net"))
def test_a_step_of_training_is_lowered_for_accelerators(
    name: str, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = TINY.models[name]
    if platform == "tpu":
        monkeypatch.setattr(dot_product, "cuda_capability", lambda: 0.0)
    net = model.net.clone(dropout=DROPOUT[platform])

    def parameters(batch: dict[str, Any]) -> Any:
        step, state, flops = train_program(model._replace(net=net), batch)
        assert flops > 0
        return step(state, batch)[0].params

    text = jax.jit(parameters).trace(examples(model)).lower(lowering_platforms=(platform,)).as_text()
    assert "dot_general" in text
    assert ("cudnn$fmhaSoftmaxBackward" in text) == ("cudnn" in name and platform == "cuda")
